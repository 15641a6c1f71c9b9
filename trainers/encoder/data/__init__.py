"""Rows, batches and sampling of image-text pairs."""
