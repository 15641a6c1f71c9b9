"""Metrics for `evaluate`, each a Space that is complete by itself."""
