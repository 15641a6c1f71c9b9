"""Evaluates models on datasets: scoring, metrics, results and leaderboards."""
