"""Alignment of image and text embeddings. This folder is a complete Space."""
