"""Read, validate, de-duplicate, split, convert and publish: from raw source folders to `org/med-pairs`."""
