"""Unique information: memory and time, and the published procedure to compare with."""

RESULTS = "unique_information-cpu.jsonl"
