"""Refuses files and numbers that no honest measurement has written."""
