"""Two processes on one data set, against one: what they train, count and save."""

import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from infotorch.errors import DivergenceError, StoreError
from infotorch.train.trainer import LimitTrainer
from tests.train.problems import mlp, samples, weights

STEPS, PER_RANK, WORLD = 10, 6, 2
OPTIONS = {
    "mean": {},
    "sum": {"reduction": "sum"},
    "reference": {"reduction": "reference"},
    "sampled": {"lam": 5.0, "seed": 3},
    "laplace": {"q": "laplace", "lam": 20.0},
    "accumulated": {"lam": 5.0, "grad_accum": 3, "clip_norm": 0.2},
    "warm": {"warm_up": 1},
}


def data(N=26):
    """Samples of which every fourth label is missing in one rank's half alone, so that ranks count differently."""
    x, y, ids = samples(torch.Generator().manual_seed(4), N=N)
    return x, torch.where((ids % 8 == 0) & (ids < 20), -100, y), ids


def batch(step, rank=None):
    """The samples of a global step, or one rank's half of them."""
    x, y, ids = data()
    rows = (torch.arange(PER_RANK * WORLD) + step * PER_RANK * WORLD) % len(x)
    if rank is not None:
        rows = rows[rank * PER_RANK : (rank + 1) * PER_RANK]
    return x[rows], y[rows], ids[rows]


def trainer(wrap=lambda net: net, **options):
    nets = [wrap(mlp(seed)) for seed in (0, 1)]
    optimizers = [torch.optim.SGD(net.parameters(), 0.1, momentum=0.9) for net in nets]
    return LimitTrainer(*nets, optimizer=optimizers[0], aux_optimizer=optimizers[1], **options)


def steps(here, rank=None):
    told = []
    for step in range(STEPS):
        told.append(here.step(batch(step, rank)))
        if step == 4:
            here.end_epoch()
    here.end_epoch()
    return {
        "weights": weights(*here.networks.values()),
        "told": told,
        "history": here.history,
        "ids": torch.from_numpy(here.epoch_scores.ids),
        "ema": torch.from_numpy(here.epoch_scores.values),
    }


def fitting(here, rank=None):
    """An epoch over 25 samples, so that a distributed sampler repeats one, measured with all that fit measures."""
    x, y, ids = data(25)
    dataset = TensorDataset(x, y, ids)
    sampler = None if rank is None else DistributedSampler(dataset, WORLD, rank, shuffle=False)
    loader = DataLoader(dataset, 32, sampler=sampler)
    # Before the one step the weights are equal, whatever the repeat then does to them.
    for group in (*here.optimizer.param_groups, *here.aux_optimizer.param_groups):
        group["lr"] = 0.0
    whole = [(x, y)]  # on every rank
    result = here.fit(loader, whole, true_labels=y.clamp(min=1), test_loader=loader)
    return {
        "info": repr(result.info.__class__(**{**vars(result.info), "label": None, "aux_gap_nats": None})),
        "transfer_nats": result.info.label.transfer_nats,
        "labels": result.info.label.num_labels,
        "val": [result.history[0][name] for name in ("val_acc", "val_stderr", "test_acc")],
        "ids": torch.from_numpy(result.scores.ids),
        "ema": torch.from_numpy(result.scores["limit_ema"].values),
        "distance": torch.from_numpy(result.scores["limit_distance"].values),
    }


def resumed(path, rank):
    """Five steps, a checkpoint, and five more from it."""
    here = trainer(DistributedDataParallel, lam=5.0)
    for step in range(5):
        here.step(batch(step, rank))
    here.save(path)
    again = trainer(DistributedDataParallel, lam=5.0)
    again.load(path)
    for each in (here, again):
        for step in range(5, STEPS):
            each.step(batch(step, rank))
        each.end_epoch()
    equal = all(map(torch.equal, weights(*here.networks.values()), weights(*again.networks.values())))
    scores = here.epoch_scores.values.tobytes() == again.epoch_scores.values.tobytes()
    return equal and scores and len(here.epoch_scores.ids) > 15


def refused(folder, rank):
    """Every rank learns of what befell one: a full disk, a wrong label, a number that isn't finite."""
    here, texts = trainer(DistributedDataParallel), []
    try:
        here.save(f"{folder}/no/such/folder")
    except StoreError as error:
        texts.append(str(error))
    x, y, ids = batch(0, rank)
    try:
        here.step((x, torch.full_like(y, 7) if rank == 1 else y, ids))
    except ValueError as error:
        texts.append(str(error))
    if rank == 1:
        with torch.no_grad():
            here.classifier.module[3].bias[0] = torch.nan
    try:
        here.step((x, y, ids))
    except DivergenceError as error:
        texts.append(str(error))
    return texts


def main(rank, address, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=WORLD)
    found = {name: steps(trainer(DistributedDataParallel, **options), rank) for name, options in OPTIONS.items()}
    found["fitting"] = fitting(trainer(DistributedDataParallel, lam=5.0, epochs=1), rank)
    found["resumed"] = resumed(f"{out}.checkpoint", rank)
    found["refused"] = refused(out, rank)
    texts = []
    for make in (lambda: trainer(), lambda: trainer(DistributedDataParallel, lam=5.0).step(batch(0, rank)[:2])):
        try:
            make()
        except ValueError as error:
            texts.append(str(error))
    found["misused"] = texts
    torch.save(found, f"{out}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
