"""Unique information from features of samples, in place of their kernel: memory and time grow linearly in N."""
