"""Two processes that distil as one does: python -m tests.train.distillation.distributed RANK RENDEZVOUS OUT."""

import gc
import math
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from infotorch.errors import DivergenceError
from infotorch.train import TeacherPath, distill
from tests.train.distillation.golden import batches, sgd, teachers
from tests.train.problems import mlp, weights

WORLD = 2


def data(rank=None):
    """Batches of eight, or one rank's half of each."""
    whole = batches(torch.Generator().manual_seed(0))
    half = slice(None) if rank is None else slice(4 * rank, 4 * rank + 4)
    return [tuple(part[half] for part in batch) for batch in whole]


def run(rank=None, file=None, steps_to_live=None, data_of=data):
    """Seven steps in two parts each; weights, and what is told."""
    student = mlp() if rank is None else DistributedDataParallel(mlp())

    def die(moment):
        if moment.step == steps_to_live:
            raise KeyboardInterrupt

    result = distill(
        student, data_of(rank), sgd(student), teacher=TeacherPath(teachers()), alpha=0.5, tau=2.0, steps=7,
        grad_accum=2, clip_norm=2.0, checkpoint=file, checkpoint_every=None if file is None else 2, callbacks=[die],
    )  # fmt: skip
    return weights(student), result.history


def main(rank, address, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=WORLD)
    found = {"whole": run(rank)}
    try:
        run(rank, f"{out}.checkpoint", 5)
    except KeyboardInterrupt:
        found["resumed"] = run(rank, f"{out}.checkpoint")

    def broken(rank):
        batches = data(rank)
        if rank == 1:
            batches[1][0][0, 0] = math.nan
        return batches

    try:
        run(rank, data_of=broken)
    except DivergenceError as error:
        found["text"] = str(error)
    try:
        distill(mlp(), data(rank), sgd(mlp()), teacher=mlp(9), steps=1)
    except ValueError as error:
        found["bare"] = str(error)
    torch.save(found, f"{out}.{rank}")
    gc.collect()  # networks that are wrapped for the group go before it
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
