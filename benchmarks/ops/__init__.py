"""Cases and baselines of every op; ``OPS`` are those on a pair, each with a ``race`` of one layer."""

from benchmarks.ops import fisher, grads, gram, jvp, kron, norms, project, vjp

OPS = [gram, norms, grads, vjp, jvp, fisher, kron, project]
