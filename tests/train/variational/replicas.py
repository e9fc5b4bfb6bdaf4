"""One rank of a training under DistributedDataParallel: rank, rendezvous, where the parameters go."""

import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

from infotorch.train import variational
from tests.train.variational.test_model import NOISES, X, Y, network

WORLD = 2


def main(rank, rendezvous, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORLD)
    found = {}
    for noise in NOISES:
        q = variational(network(), prior_var=0.1, noise=noise)
        ddp = DistributedDataParallel(q)
        optimizer = torch.optim.Adam(ddp.parameters(), lr=0.1)
        torch.manual_seed(rank)  # noise of its own
        for _ in range(3):
            optimizer.zero_grad()
            (F.cross_entropy(ddp(X[rank::WORLD]), Y[rank::WORLD], reduction="sum") + q.kl()).backward()
            optimizer.step()
        found[noise] = torch.cat([p.detach().flatten() for p in q.parameters()])
    torch.save(found, f"{out}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
