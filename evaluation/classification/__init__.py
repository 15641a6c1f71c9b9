"""Classifies the images of labeled sources with an encoder: by prompts, and by probes on its frozen embeddings."""
