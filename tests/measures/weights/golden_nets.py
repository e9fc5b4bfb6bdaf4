"""The networks of the golden cases, at the weights that are stored with them."""

import functools
import itertools
import pathlib

import numpy as np
import torch
from torch import nn

from infotorch.task import Task

FOLDER = pathlib.Path(__file__).parents[2] / "golden" / "weights_information"
LOSSES = {"ce": "cross_entropy", "mse": "mse", "bce": "binary_cross_entropy"}
CASES = ("linear_ce", "mlp_tanh_ce", "mlp_relu_mse", "mlp_tanh_bce", "cnn_groups_ce", "emb_ln_attn_ce")


class Mlp(nn.Module):
    def __init__(self, sizes, nonlinearity):
        super().__init__()
        self.fc = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))
        self.nonlinearity = nonlinearity

    def forward(self, x):
        for layer in self.fc[:-1]:
            x = self.nonlinearity(layer(x))
        return self.fc[-1](x)


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
        self.conv2 = nn.Conv2d(4, 3, (3, 2), padding=(1, 0))
        self.head = nn.Linear(18, 3)

    def forward(self, x):
        return self.head(self.conv2(self.conv1(x).relu()).tanh().flatten(1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.norm = nn.Embedding(9, 4), nn.LayerNorm(4, eps=1e-5)
        self.q, self.k, self.v, self.o = (nn.Linear(4, 4) for _ in range(4))
        self.head = nn.Linear(4, 3)

    def forward(self, tokens):
        h = self.norm(self.emb(tokens))
        weights = (self.q(h) @ self.k(h).mT / 4**0.5).softmax(-1)
        return self.head((h + self.o(weights @ self.v(h))).mean(1))


NETS = {
    "linear_ce": lambda: Mlp([4, 3], torch.tanh),
    "mlp_tanh_ce": lambda: Mlp([5, 4, 3], torch.tanh),
    "mlp_relu_mse": lambda: Mlp([4, 6, 2], torch.relu),
    "mlp_tanh_bce": lambda: Mlp([3, 5, 1], torch.tanh),
    "cnn_groups_ce": Cnn,
    "emb_ln_attn_ce": Attention,
}


@functools.cache
def golden(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: torch.as_tensor(file[key]) for key in file.files if file[key].dtype.kind in "fib"} | {
            key: file[key].tolist() for key in file.files if file[key].dtype.kind == "U"
        }


def case(name, dtype=torch.float64):
    """(task, (x, y), golden values) of a network."""
    values = golden(f"curvature_{name}")
    model = NETS[name]().to(dtype).eval()
    assert [key for key, _ in model.named_parameters()] == values["param_names"]
    nn.utils.vector_to_parameters(values["w"].to(dtype), model.parameters())
    x, y = values["x"], values["y"]
    x = x.to(dtype) if x.is_floating_point() else x
    y = y.to(dtype) if y.is_floating_point() or name.endswith("bce") else y
    return Task(model, loss=LOSSES[name.rpartition("_")[2]]), (x, y), values


def rows(values):
    """The table of information as dicts, one for each beta and prior variance."""
    return [dict(zip(values["iw_columns"], row.tolist(), strict=True)) for row in values["iw"]]
