"""Draws a synthetic sample of every source for trials and tests."""
