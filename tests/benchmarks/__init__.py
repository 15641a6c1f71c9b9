"""Benchmarks of this project and of its best alternatives, measured in the same run; `results/` holds the records."""
