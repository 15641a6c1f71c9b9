"""Benchmarks: ours beside the best alternative, in one run; results/ holds what they wrote."""
