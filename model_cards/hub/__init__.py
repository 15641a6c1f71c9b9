"""Writes to the Hub: one commit on a given parent, model repositories, and digests of their weights."""
