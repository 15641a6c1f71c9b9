"""Fit the encoder on pairs and the decoder on chats."""
