"""Per-sample gradients and what stands on them, on whole networks, against every other library that computes them."""

RESULTS = "engine-cpu.jsonl"
