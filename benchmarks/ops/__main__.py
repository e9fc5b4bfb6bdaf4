"""All ops, two threads. Run: python -m benchmarks.ops."""

import torch

from benchmarks.ops import fisher, grads, gram, jvp, kron, norms, project, vjp

torch.set_num_threads(2)
for op in (gram, norms, grads, vjp, jvp, fisher, kron, project):
    op.main()
