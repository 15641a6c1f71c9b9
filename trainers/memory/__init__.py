"""Estimates the memory of a training by running one update on tensors without content."""
