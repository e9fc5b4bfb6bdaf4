"""All ops on a pair, two threads, and limit, one thread. Run: python -m benchmarks.ops."""

import torch

from benchmarks.ops import OPS, limit

torch.set_num_threads(2)
for op in OPS:
    op.main()
torch.set_num_threads(1)
limit.main()
