"""Writes to the Hub: one commit on a given parent, a model repository, and the names of its weights."""
