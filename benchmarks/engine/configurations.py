"""Small models of one layer kind each, in the configurations that people use; float64, 4 samples."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.engine.nets import LoRA, Problem

N = 4


class Flat(nn.Module):
    """A layer between a Linear and the outputs [N, D], so that gradients pass through it both ways."""

    def __init__(self, first: nn.Module, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(first, *layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(1)


class Reads(nn.Module):
    """A module whose forward is a function of itself and the input."""

    def __init__(self, read: Callable[[Any, Tensor], Tensor], **children: Any) -> None:
        super().__init__()
        self.read = read
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self, x).flatten(1)


class Recurrent(nn.Module):
    """The outputs of a recurrent layer without its last states."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0].flatten(1)


def _tied() -> nn.Module:
    model = Reads(
        lambda m, ids: m.head(torch.tanh(m.tokens(ids))), tokens=nn.Embedding(9, 5), head=nn.Linear(5, 9, bias=False)
    )
    model.head.weight = model.tokens.weight
    return model


def _shared() -> nn.Module:
    model = Flat(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5))
    model.layers[2].weight = model.layers[0].weight
    return model


def _twice() -> nn.Module:
    return Reads(lambda m, x: m.layer(torch.tanh(m.layer(x))), layer=nn.Linear(5, 5))


def _frozen_weight() -> nn.Module:
    model = Flat(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    model.layers[0].weight.requires_grad_(False)
    return model


def _partly_frozen() -> nn.Module:
    model = Flat(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    model.layers[0].requires_grad_(False)
    return model


def _seen(norm: nn.Module) -> nn.Module:
    """Running statistics and an affine map that are not those of the start."""
    for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
        nn.init.uniform_(tensor, 0.5, 1.5)
    return norm


def _attention(m: Any, x: Tensor) -> Tensor:
    return m.attention(x, x, x, need_weights=False)[0]


def _positions(length: int) -> nn.Module:
    return Reads(
        lambda m, ids: m.head(torch.tanh(m.tokens(ids) + m.places(torch.arange(ids.shape[1])))),
        tokens=nn.Embedding(9, 5),
        places=nn.Embedding(length, 5),
        head=nn.Linear(5, 2),
    )


def _checkpointed(m: Any, x: Tensor) -> Tensor:
    return m.last(checkpoint(m.inner, x, use_reentrant=False))


def _class_token(m: Any, x: Tensor) -> Tensor:
    return m.layer(torch.cat([m.token.expand(len(x), -1, -1), x], 1))


def _reparametrized() -> nn.Module:
    return Flat(torch.nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)))


def _line(*sizes: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(N, *sizes)


def _ids(length: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(9, (N, length))


CONFIGURATIONS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "Linear": (lambda: Flat(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), _line(5)),
    "Linear, two leading sizes": (lambda: Flat(nn.Linear(5, 4)), _line(2, 3, 5)),
    "Linear, weight frozen, bias free": (_frozen_weight, _line(5)),
    "Linear, first layer frozen": (_partly_frozen, _line(5)),
    "Linear, then ReLU(inplace)": (lambda: Flat(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)), _line(5)),
    "LoRA on Linear": (lambda: Flat(LoRA(nn.Linear(5, 4), 2)), _line(3, 5)),
    "Conv1d, stride 2": (lambda: Flat(nn.Conv1d(2, 3, 3, 2, 1)), _line(2, 7)),
    "Conv1d, circular": (lambda: Flat(nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular")), _line(2, 7)),
    'Conv1d, "same", even kernel': (lambda: Flat(nn.Conv1d(2, 3, 4, padding="same")), _line(2, 7)),
    "Conv2d": (lambda: Flat(nn.Conv2d(2, 3, 3, 1, 1)), _line(2, 5, 6)),
    "Conv2d, stride, dilation": (lambda: Flat(nn.Conv2d(2, 3, 3, 2, 2, 2)), _line(2, 7, 8)),
    "Conv2d, groups": (lambda: Flat(nn.Conv2d(4, 6, 3, 1, 1, groups=2)), _line(4, 5, 6)),
    "Conv2d, depthwise": (lambda: Flat(nn.Conv2d(4, 4, 3, 1, 1, groups=4)), _line(4, 5, 6)),
    'Conv2d, "same"': (lambda: Flat(nn.Conv2d(2, 3, 3, padding="same")), _line(2, 5, 6)),
    'Conv2d, "same", even kernel': (lambda: Flat(nn.Conv2d(2, 3, (4, 2), padding="same")), _line(2, 5, 6)),
    "Conv2d, circular": (lambda: Flat(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")), _line(2, 5, 6)),
    "Conv2d, reflect": (lambda: Flat(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")), _line(2, 5, 6)),
    "Conv2d, replicate": (lambda: Flat(nn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate")), _line(2, 5, 6)),
    "Conv2d, then ReLU(inplace)": (
        lambda: Flat(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 2)), _line(2, 5, 6),
    ),
    "Conv3d": (lambda: Flat(nn.Conv3d(2, 3, 2, 2, 1)), _line(2, 4, 3, 4)),
    "Conv3d, groups, circular": (
        lambda: Flat(nn.Conv3d(2, 4, 3, padding=1, groups=2, padding_mode="circular")), _line(2, 3, 3, 4),
    ),
    "ConvTranspose1d": (lambda: Flat(nn.ConvTranspose1d(2, 3, 3, 2, 1)), _line(2, 5)),
    "ConvTranspose2d, output padding": (lambda: Flat(nn.ConvTranspose2d(2, 3, 3, 2, 1, 1)), _line(2, 4, 5)),
    "ConvTranspose2d, groups": (lambda: Flat(nn.ConvTranspose2d(4, 6, 3, 1, 1, groups=2)), _line(4, 4, 5)),
    "ConvTranspose3d": (lambda: Flat(nn.ConvTranspose3d(2, 3, 2, 2)), _line(2, 2, 3, 2)),
    "Embedding": (lambda: Flat(nn.Embedding(9, 5), nn.Linear(5, 2)), _ids(6)),
    "Embedding, padding_idx": (lambda: Flat(nn.Embedding(9, 5, padding_idx=2), nn.Linear(5, 2)), _ids(6)),
    "EmbeddingBag, mean": (lambda: Flat(nn.EmbeddingBag(9, 5, mode="mean"), nn.Linear(5, 2)), _ids(6)),
    "Embedding tied to the head": (_tied, _ids(6)),
    "position embedding, broadcast": (lambda: _positions(6), _ids(6)),
    "position embedding, T = N": (lambda: _positions(N), _ids(N)),
    "module used twice": (_twice, _line(5)),
    "one weight in two modules": (_shared, _line(5)),
    "functional use of a layer's weight": (
        lambda: Reads(lambda m, x: F.linear(m.layer(x), m.layer.weight), layer=nn.Linear(5, 5)), _line(5),
    ),
    "bare parameter, a scale": (
        lambda: Reads(lambda m, x: m.layer(x) * m.scale, layer=nn.Linear(5, 4), scale=nn.Parameter(torch.rand(4))),
        _line(5),
    ),
    "bare parameter, a class token": (
        lambda: Reads(_class_token, layer=nn.Linear(5, 4), token=nn.Parameter(torch.randn(1, 1, 5))), _line(3, 5),
    ),
    "BatchNorm2d, eval": (lambda: Flat(nn.Conv2d(2, 3, 2), _seen(nn.BatchNorm2d(3))), _line(2, 4, 5)),
    "BatchNorm1d, train": (lambda: Flat(nn.Linear(5, 5), nn.BatchNorm1d(5)), _line(5)),
    "LayerNorm": (lambda: Flat(nn.Linear(5, 5), nn.LayerNorm(5), nn.Tanh()), _line(3, 5)),
    "RMSNorm": (lambda: Flat(nn.Linear(5, 5), nn.RMSNorm(5), nn.Tanh()), _line(3, 5)),
    "GroupNorm": (lambda: Flat(nn.Conv2d(2, 4, 2), nn.GroupNorm(2, 4), nn.Tanh()), _line(2, 4, 5)),
    "InstanceNorm2d, affine": (
        lambda: Flat(nn.Conv2d(2, 3, 2), nn.InstanceNorm2d(3, affine=True), nn.Tanh()), _line(2, 4, 5),
    ),
    "PReLU, one slope": (lambda: Flat(nn.Linear(5, 4), nn.PReLU()), _line(5)),
    "PReLU, a slope a channel": (lambda: Flat(nn.Conv2d(2, 3, 2), nn.PReLU(3)), _line(2, 4, 5)),
    "Bilinear": (lambda: Reads(lambda m, x: m.layer(x[:, 0], x[:, 1]), layer=nn.Bilinear(5, 5, 3)), _line(2, 5)),
    "RNN": (lambda: Recurrent(nn.RNN(5, 4, batch_first=True)), _line(3, 5)),
    "LSTM, two layers": (lambda: Recurrent(nn.LSTM(5, 4, num_layers=2, batch_first=True)), _line(3, 5)),
    "GRU, bidirectional": (lambda: Recurrent(nn.GRU(5, 4, bidirectional=True, batch_first=True)), _line(3, 5)),
    "MultiheadAttention": (
        lambda: Reads(_attention, attention=nn.MultiheadAttention(6, 2, batch_first=True)), _line(3, 6),
    ),
    "checkpointing, not reentrant": (
        lambda: Reads(_checkpointed, inner=nn.Sequential(nn.Linear(5, 4), nn.Tanh()), last=nn.Linear(4, 3)), _line(5),
    ),
    "weight_norm": (_reparametrized, _line(5)),
}  # fmt: skip


def build(name: str) -> Problem:
    """The configuration's model and batch, with the same numbers each time; the loss is the summed squared error."""
    torch.manual_seed(0)
    make, draw = CONFIGURATIONS[name]
    torch.set_default_dtype(torch.float64)
    try:
        model, x = make(), draw()
        model.eval()
        for module in model.modules():
            module.training = name.endswith("train") and isinstance(module, nn.BatchNorm1d)
        with torch.no_grad():
            y = torch.randn_like(model(x))
    finally:
        torch.set_default_dtype(torch.float32)
    return Problem(name=name, model=model, x=x, y=y, objective=nn.MSELoss(reduction="sum"))
