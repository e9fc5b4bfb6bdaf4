"""All ops, two threads. Run: python -m benchmarks.ops."""

import torch

from benchmarks.ops import grads, gram, jvp, norms, vjp

torch.set_num_threads(2)
for op in (gram, norms, grads, vjp, jvp):
    op.main()
