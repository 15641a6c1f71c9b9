"""Decides what of a private source is published: which columns, and hashes in place of IDs and names of files."""
