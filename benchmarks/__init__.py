"""Benchmarks: the engine beside the least database work that keeps its promises, in one run."""
