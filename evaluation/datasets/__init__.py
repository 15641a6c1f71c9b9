"""Reads datasets of this project and of others as the same two layouts: `pairs` and `chat`."""
