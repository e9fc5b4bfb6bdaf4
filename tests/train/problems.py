"""Small networks and batches to train on."""

import torch
from torch import nn

from tests.train.golden import load


def linear(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0]).to(weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def mlp(seed=0, *, inputs=6, C=4, dropout=0.0, norm=False, dtype=torch.float64):
    """Two layers, their weights drawn from ``seed``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        middle = [nn.BatchNorm1d(8)] if norm else []
        return nn.Sequential(nn.Linear(inputs, 8), *middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, C)).to(dtype)


def networks(**options):
    return mlp(0, **options), mlp(1, **options)


def samples(rng, N=24, C=4, inputs=6, dtype=torch.float64):
    """Inputs, labels and ids."""
    x = torch.randn(N, inputs, generator=rng, dtype=dtype)
    return x, torch.randint(C, (N,), generator=rng), torch.arange(N)


def batches(x, y, ids, size=8):
    return [(x[rows], y[rows], ids[rows]) for rows in torch.arange(len(x)).split(size)]


def weights(*nets):
    return [p.detach().clone() for net in nets for p in net.parameters()]


class Trajectory:
    """A golden trajectory: its networks, its optimizers, and its batches."""

    def __init__(self, name, dtype=torch.float64):
        self.case = case = load(f"train_{name}")
        to = lambda x: x.to(dtype)  # noqa: E731  # one word, used thrice
        self.classifier = linear(to(case["W0"]), to(case["b0"]))
        self.aux = linear(to(case["A0"]), to(case["c0"]))
        make = torch.optim.SGD if case["opt"] == "sgd" else torch.optim.Adam
        lr, B, N = float(case["lr"]), int(case["batch"]), len(case["y"])
        rows = [torch.arange(B) + B * (k % (N // B)) for k in range(int(case["steps"]))]
        self.batches = [(to(case["X"])[r], case["y"][r], r) for r in rows]
        self.options = {
            "q": case["q"],
            "beta": float(case["beta"]),
            "lam": float(case["lam"]) if case["sample"] else None,
            "seed": int(case["noise_seed"]),
            "reduction": {"sum": "reference"}.get(case["reduction"], case["reduction"]),
            "optimizer": make(self.classifier.parameters(), lr),
            "aux_optimizer": make(self.aux.parameters(), lr),
        }

    def end(self):
        """Golden and own weights at the end, in pairs."""
        return [
            (self.case["W"], self.classifier.weight),
            (self.case["b"], self.classifier.bias),
            (self.case["A"], self.aux.weight),
            (self.case["c"], self.aux.bias),
        ]


TRAJECTORIES = [
    f"{q}_{reduction}_{opt}{sampled}"
    for q in ("gaussian", "laplace", "ce")
    for reduction in ("mean", "sum")
    for opt in ("sgd", "adam")
    for sampled in ("", "_s")
    if not sampled or (reduction == "mean" and q != "ce")
]
