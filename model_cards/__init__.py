"""Writes result files, cards and pages with measured numbers."""
