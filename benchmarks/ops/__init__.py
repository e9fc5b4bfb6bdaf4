"""Cases and baselines of every op."""

from benchmarks.ops import grads, gram, norms, vjp

OPS = [gram, norms, grads, vjp]
