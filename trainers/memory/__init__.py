"""Estimates the memory of a training run from one update on tensors that have a shape but no content."""
