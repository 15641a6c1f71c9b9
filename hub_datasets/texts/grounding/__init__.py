"""Finds what a text says that its image cannot show, and applies `--ungrounded`."""
