"""A Sequential, turned into stages that work on the stacked tensors of many such networks."""

import copy
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.bounds.ensembles.conv_layers import (
    Geometry,
    Spare,
    affine,
    columns_and_ones,
    convolve,
    normalize,
    rectified,
)
from infotorch.errors import ConfigError, NotSupported, ShapeError

__all__ = ["Patches", "Stage", "State", "stages_of"]

ELEMENTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Hardtanh, nn.Hardswish,
    nn.Tanh, nn.Sigmoid, nn.Identity,
)  # fmt: skip
TURNED = "Conv2d, BatchNorm2d, activations, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Linear"


@dataclass(frozen=True)
class State:
    """Tensors of all members by their names in the network, [E, *shape]."""

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    spare: defaultdict[str, Spare] = field(default_factory=lambda: defaultdict(Spare))
    """Memory of the training steps, by layer."""

    def get(self, name: str) -> Tensor | None:
        return self.parameters.get(name, self.buffers.get(name))

    def __getitem__(self, name: str) -> Tensor:
        return self.parameters[name] if name in self.parameters else self.buffers[name]


@dataclass(frozen=True)
class Patches:
    """A batch as the first convolution reads it, with what its batch norm needs to know."""

    columns: Tensor
    """[E, K + 1, Ho, Wo, B], of which the last row is 1."""
    mean: Tensor
    """[E, K]."""
    covariance: Tensor
    """[E, K, K]."""


class Stage(Protocol):
    """One layer, or several at once, on [E, C, H, W, B] or [E, I, B]."""

    def __call__(self, x: Tensor, state: State, training: bool) -> Tensor: ...


@dataclass(frozen=True)
class Conv:
    """A convolution; its bias is left out where batch norm, which takes it out again, comes next."""

    name: str
    geometry: Geometry
    normed: bool = False

    def __call__(self, x: Tensor, state: State, training: bool) -> Tensor:
        bias = None if self.normed else state.get(f"{self.name}.bias")
        spare = state.spare[self.name] if training else None
        return convolve(x, state[f"{self.name}.weight"], bias, self.geometry, spare)


@dataclass(frozen=True)
class Norm:
    """Batch norm of each member's own statistics, and the ReLU behind it."""

    where: str
    name: str
    eps: float
    momentum: float
    conv: str = ""
    """The convolution before, whose bias was left out."""
    relu: bool = False

    def __call__(self, x: Tensor, state: State, training: bool) -> Tensor:
        weight, bias = self.affine(state)
        if training:
            y, mean, var = normalize(x, weight, bias, eps=self.eps, relu=self.relu, spare=state.spare[self.name])
            self.keep(state, mean, var, x[0, 0].numel())
            return y
        scale, shift = self.running(state)
        y = torch.addcmul(shift[:, :, None, None, None], x, scale[:, :, None, None, None])
        return y.relu_() if self.relu else y

    def affine(self, state: State) -> tuple[Tensor, Tensor]:
        running = state[f"{self.name}.running_var"]
        weight, bias = state.get(f"{self.name}.weight"), state.get(f"{self.name}.bias")
        return (
            torch.ones_like(running) if weight is None else weight,
            torch.zeros_like(running) if bias is None else bias,
        )

    def running(self, state: State) -> tuple[Tensor, Tensor]:
        """In eval mode the layer is x * scale + shift, [E, C] both."""
        weight, bias = self.affine(state)
        scale = weight * (state[f"{self.name}.running_var"] + self.eps).rsqrt()
        mean = state[f"{self.name}.running_mean"]
        left_out = state.get(f"{self.conv}.bias") if self.conv else None
        return scale, bias - scale * (mean if left_out is None else mean - left_out)

    @torch.no_grad()
    def keep(self, state: State, mean: Tensor, var: Tensor, count: int) -> None:
        """Follow the statistics of a batch of ``count`` values a channel."""
        if count < 2:
            raise ConfigError(
                f"{self.where}: batch norm needs more than one value a channel; got one in layer {self.name!r}. "
                "Choose a batch_size that leaves no single sample over."
            )
        left_out = state.get(f"{self.conv}.bias") if self.conv else None
        state[f"{self.name}.running_mean"].lerp_(mean if left_out is None else mean + left_out, self.momentum)
        state[f"{self.name}.running_var"].lerp_(var * (count / (count - 1)), self.momentum)


@dataclass(frozen=True)
class First:
    """The first convolution with its batch norm and ReLU: one product, for the norm's statistics are known beforehand.

    The input has no gradient and its patches are short, so their covariance S is cheap (and fixed, where one batch is
    the whole set). A channel with the weights w has the mean w.m and the variance w S w, and the norm is a scale of
    w and a shift: no pass over the layer's output, forward or backward, is spent on it.
    """

    conv: Conv
    norm: Norm

    def patches(self, x: Tensor) -> Patches:
        found = columns_and_ones(x, self.conv.geometry)  # the shift is one more weight
        rows = found[:, :-1].flatten(2)
        mean = rows.mean(-1)
        centred = rows - mean[..., None]
        return Patches(found, mean, centred @ centred.mT / rows.shape[-1])

    def __call__(self, x: Tensor | Patches, state: State, training: bool) -> Tensor:
        weight = state[f"{self.conv.name}.weight"].flatten(2)  # [E, O, K]
        if not isinstance(x, Patches):
            scale, shift = self.norm.running(state)
            spare, patches = None, columns_and_ones(x, self.conv.geometry)
        else:
            mean = (weight @ x.mean[..., None])[..., 0]
            var = ((weight @ x.covariance) * weight).sum(-1)
            gamma, beta = self.norm.affine(state)
            scale = gamma * (var + self.norm.eps).rsqrt()
            shift = beta - scale * mean
            self.norm.keep(state, mean.detach(), var.detach(), x.columns[0, 0].numel())
            spare, patches = state.spare[self.conv.name], x.columns
        return rectified(torch.cat([scale[..., None] * weight, shift[..., None]], -1), patches, spare)


@dataclass(frozen=True)
class Linear:
    name: str

    def __call__(self, x: Tensor, state: State, training: bool) -> Tensor:
        return affine(state[f"{self.name}.weight"], x, state.get(f"{self.name}.bias"))


@dataclass(frozen=True)
class Flatten:
    def __call__(self, x: Tensor, state: State, training: bool) -> Tensor:
        return x.flatten(1, -2)


@dataclass(frozen=True)
class Elementwise:
    layer: nn.Module

    def __call__(self, x: Tensor, state: State, training: bool) -> Tensor:
        return self.layer(x)


@dataclass(frozen=True)
class Pool:
    """A pool over height and width is one over three axes whose kernel is 1 along the samples."""

    layer: nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d

    def __call__(self, x: Tensor, state: State, training: bool) -> Tensor:
        layer = self.layer
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            h, w = (a or b for a, b in zip(_pair(layer.output_size), x.shape[2:4], strict=True))
            return F.adaptive_avg_pool3d(x, (h, w, x.shape[4]))
        kernel, padding = (*_pair(layer.kernel_size), 1), (*_pair(layer.padding), 0)
        stride = (*_pair(layer.stride), 1)
        if isinstance(layer, nn.MaxPool2d):
            return F.max_pool3d(x, kernel, stride, padding, (*_pair(layer.dilation), 1), layer.ceil_mode)
        return F.avg_pool3d(
            x, kernel, stride, padding, layer.ceil_mode, layer.count_include_pad, layer.divisor_override
        )


def _pair(value):  # type: ignore[no-untyped-def]  # torch's own options are ints or pairs, with None among them
    return value if isinstance(value, tuple) else (value, value)


def stages_of(where: str, network: nn.Module, sample: Tensor) -> tuple[tuple[Stage, ...], int]:
    """The stages of ``network``, and its number of classes as ``sample`` [1, *shape] shows it.

    Raises:
        NotSupported: A layer has no stage; the text names it.
        ShapeError: A layer can't read what comes before, or the network doesn't return one row of logits a sample.
    """
    stages: list[Stage] = []
    with torch.no_grad():
        for name, layer in _layers(where, network):
            stage = _stage(where, name, layer, sample)
            try:
                sample = copy.deepcopy(layer).to(sample).eval()(sample)
            except RuntimeError as error:
                raise ShapeError(
                    f"{where}: layer {name!r} must fit what comes before it; got {list(sample.shape)} ({error}). "
                    "Correct the network, or the shape of x."
                ) from error
            before = stages[-1] if stages else None
            if isinstance(stage, Norm) and isinstance(before, Conv):
                stages[-1] = replace(before, normed=True)
                stage = replace(stage, conv=before.name)
            elif isinstance(layer, nn.ReLU) and isinstance(before, Norm):
                stages[-1] = replace(before, relu=True)
                continue
            stages.append(stage)
    if sample.ndim != 2:
        raise ShapeError(f"{where}: network must return [B, C]; got {list(sample.shape)}. End it in a Linear layer.")
    if len(stages) > 1 and isinstance(conv := stages[0], Conv) and isinstance(norm := stages[1], Norm) and norm.relu:
        kh, kw = conv.geometry.kernel
        if conv.geometry.channels * kh * kw <= dict(network.named_parameters())[f"{conv.name}.weight"].shape[0]:
            stages[:2] = [First(conv, norm)]  # S costs no more than the convolution
    return tuple(stages), sample.shape[1]


def _layers(where: str, network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers by their names, in the order in which they are called: an activation may come several times."""
    if not _is_sequence(network):
        raise NotSupported(
            f"{where}: network must be a Sequential, without a forward of its own; got {type(network).__name__}. "
            "Use vmap_ensemble for other modules."
        )
    once = {name for named in (network.named_parameters(), network.named_buffers()) for name, _ in named}
    for path, layer in network.named_modules(remove_duplicate=False):
        for name, _ in (*layer.named_parameters(path, recurse=False), *layer.named_buffers(path, recurse=False)):
            if name not in once:
                raise NotSupported(
                    f"{where}: parameters and buffers must be of one layer; got {name!r}, which an earlier layer has "
                    "too. Use vmap_ensemble."
                )
        if not _is_sequence(layer):
            yield path, layer


def _is_sequence(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Sequential) and type(layer).forward is nn.Sequential.forward


def _stage(where: str, name: str, layer: nn.Module, x: Tensor) -> Stage:
    # Exact types: a subclass may compute something else.
    refused = ""
    match layer:
        case nn.Conv2d() if type(layer) is nn.Conv2d:
            if layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
                h, w = (*x.shape[2:], 0, 0)[:2]
                return Conv(
                    name,
                    Geometry(
                        channels=layer.in_channels, size=(h, w), kernel=_pair(layer.kernel_size),
                        stride=_pair(layer.stride), padding=_pair(layer.padding), dilation=_pair(layer.dilation),
                    ),
                )  # fmt: skip
            refused = "with groups=1, zero padding and its size in numbers"
        case nn.BatchNorm2d() if type(layer) is nn.BatchNorm2d:
            if layer.track_running_stats and layer.momentum is not None:
                return Norm(where, name, layer.eps, layer.momentum)
            refused = "with running statistics and a momentum"
        case nn.Linear() if type(layer) is nn.Linear:
            if x.ndim == 2:
                return Linear(name)
            refused = "behind a Flatten"
        case nn.Flatten() if type(layer) is nn.Flatten:
            if layer.start_dim == 1 and layer.end_dim in (-1, x.ndim - 1):
                return Flatten()
            refused = "of all but the batch"
        case nn.MaxPool2d() if type(layer) is nn.MaxPool2d:
            if not layer.return_indices:
                return Pool(layer)
            refused = "without return_indices"
        case nn.AvgPool2d() | nn.AdaptiveAvgPool2d() if type(layer) in (nn.AvgPool2d, nn.AdaptiveAvgPool2d):
            return Pool(layer)
        case _ if type(layer) in ELEMENTWISE:
            layer = copy.deepcopy(layer)
            vars(layer).update({"inplace": False} if "inplace" in vars(layer) else {})  # what comes in is needed again
            return Elementwise(layer)
    if refused:
        raise NotSupported(
            f"{where}: a {type(layer).__name__} must come {refused}; got layer {name!r}, {layer}. Use vmap_ensemble."
        )
    raise NotSupported(
        f"{where}: layers must be among {TURNED}; got {type(layer).__name__} in layer {name!r}. "
        "Leave it out, or use vmap_ensemble."
    )
