"""From image bytes to pixels: decoding, resizing, tiles, augmentation, and the cache of decoded images."""
