"""Benchmarks of generalization bounds."""
