"""Cases and baselines of every op."""

from benchmarks.ops import fisher, grads, gram, jvp, kron, norms, project, vjp

OPS = [gram, norms, grads, vjp, jvp, fisher, kron, project]
