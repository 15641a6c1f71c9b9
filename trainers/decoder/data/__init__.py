"""Rows, tokens, labels and batches of chats."""
