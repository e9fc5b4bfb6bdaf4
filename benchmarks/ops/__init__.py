"""Cases and baselines of every op."""

from benchmarks.ops import grads, gram, jvp, norms, vjp

OPS = [gram, norms, grads, vjp, jvp]
