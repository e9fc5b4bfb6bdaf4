"""Which parameters of a network get noise, and by what rule; what a layer makes of other weights and inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "CONVOLUTIONS",
    "Granularity",
    "Noise",
    "NoisyLayer",
    "applied",
    "channel_axis",
    "noisy_layers",
    "num_units",
    "over_units",
]

Granularity = Literal["weight", "filter", "kron"]
Noise = Literal["weight", "local", "flipout"]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
assert get_args(Granularity)[0] == get_args(Noise)[0] == "weight"


@dataclass(frozen=True, kw_only=True)
class NoisyLayer:
    """The parameters of one module that get noise."""

    path: str
    """Of the module; empty for the network itself."""
    names: tuple[str, ...]
    """Of the module's own parameters, in its order."""
    granularity: Granularity
    """What shares a variance. Layers without Kronecker factors keep one a weight."""
    noise: Noise
    """How it is drawn in training. Layers without a rule for their outputs keep one draw of their weights a pass."""

    def full(self, name: str) -> str:
        """The parameter's name in the network."""
        return f"{self.path}.{name}" if self.path else name


def noisy_layers(network: nn.Module, granularity: Granularity, noise: Noise) -> tuple[NoisyLayer, ...]:
    """Every module with parameters of its own that require grad, in the order of ``named_parameters()``.

    A tied parameter belongs to the first module that has it, and keeps weight noise: its uses share one draw.
    """
    uses: dict[int, int] = {}
    for _, p in network.named_parameters(remove_duplicate=False):
        uses[id(p)] = uses.get(id(p), 0) + 1
    seen: set[int] = set()
    found = []
    for path, module in network.named_modules():
        own = {name: p for name, p in module._parameters.items() if p is not None and p.requires_grad and p.numel()}
        names = tuple(name for name, p in own.items() if id(p) not in seen)
        seen |= {id(p) for p in own.values()}
        if not names:
            continue
        alone = names[0] == "weight" and all(uses[id(own[name])] == 1 for name in names)
        ruled = alone and type(module) in (nn.Linear, *CONVOLUTIONS)  # a subclass may have another forward
        factors = ruled and getattr(module, "groups", 1) == 1
        found.append(
            NoisyLayer(
                path=path,
                names=names,
                granularity="weight" if granularity == "kron" and not factors else granularity,
                noise=noise if ruled else "weight",
            )
        )
    return tuple(found)


def applied(module: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear or convolutional layer with another weight and bias."""
    if isinstance(module, nn.Linear):
        return F.linear(x, weight, bias)
    assert isinstance(module, CONVOLUTIONS)
    return module._conv_forward(x, weight, bias)  # pads as the layer does


def channel_axis(module: nn.Module) -> int:
    """Of a layer's inputs and outputs, from behind: -1 for Linear, -3 for Conv2d."""
    return -1 if isinstance(module, nn.Linear) else -1 - len(getattr(module, "kernel_size", ()))


def num_units(module: nn.Module, name: str) -> int:
    """How many output units a parameter is of: entries of its first axis but for transposed convolutions."""
    p = module._parameters[name]
    assert p is not None
    if isinstance(module, TRANSPOSED) and name == "weight":
        return module.out_channels
    return len(p) if p.dim() else 1


def over_units(module: nn.Module, name: str, values: Tensor) -> Tensor:
    """One value a unit, [U], spread over the parameter's shape."""
    p = module._parameters[name]
    assert p is not None
    if isinstance(module, TRANSPOSED) and name == "weight":
        G, rest = module.groups, p.shape[2:]
        spread = values.view(G, 1, -1).expand(G, len(p) // G, -1).reshape(p.shape[:2])  # [I, O / G]
        return spread.reshape(*p.shape[:2], *[1] * len(rest)).expand(p.shape)
    return values.view(_behind(p.shape)).expand(p.shape)


def _behind(shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[0], *[1] * (len(shape) - 1)) if shape else ()
