"""All ops, two threads. Run: python -m benchmarks.ops."""

import torch

from benchmarks.ops import OPS

torch.set_num_threads(2)
for op in OPS:
    op.main()
