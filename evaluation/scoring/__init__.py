"""Scores encoders by retrieval and decoders by their answers."""
