"""Patches a stock Mllama: exact and cheaper cross-attention, image states, vision tower and loss."""
