"""Reads, validates, de-duplicates, splits, converts and publishes raw source folders as `org/med-pairs`."""
