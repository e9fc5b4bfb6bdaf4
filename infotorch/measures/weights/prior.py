"""The Gaussian that weights are described relative to: its mean, and its variance, given or found."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from infotorch.blocks.layout import flattened, layer_of
from infotorch.errors import ConfigError, NumericsError, ShapeError, check_choice, plain_number, unknown
from infotorch.measures.weights.spectrum import Spectrum
from infotorch.task import Task

__all__ = ["GRID_SCALE", "GRID_STEPS", "Chosen", "Prior", "PriorVariance", "chosen", "prior_of"]

WHERE = "weights_information"
PriorVariance = float | Mapping[str, float] | Literal["evidence", "grid"]

GRID_SCALE = 10.0
"""The grid is GRID_SCALE exp(-j / GRID_STEPS) for j = 1, 2, ...: fixed before any data."""
GRID_STEPS = 10.0
GRID_LENGTH = 500
"""Variances down to 2e-21."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """N(mean, scale * diag(relative)); the scale is open where it is to be found."""

    mean: Tensor
    """float64 [P]."""
    asked: float | dict[str, float] | str
    relative: Tensor
    """Variance of each weight in units of the scale, float64 [P]; ones but for variances by layer."""

    @property
    def uniform(self) -> bool:
        return not isinstance(self.asked, dict)

    def distance(self, w: Tensor) -> float:
        """The squared distance of w [P] from the mean, in units of ``relative``."""
        return float(((w - self.mean).square() / self.relative).sum())


def prior_of(task: Task, variance: Any, mean: Any, device: torch.device) -> Prior:
    """The prior over the task's parameters.

    Raises:
        ConfigError: A variance is not above 0 or not finite, a word or layer is unknown, or a layer has none.
        ShapeError: The mean has other sizes than the parameters.
    """
    shapes = task.shapes
    sizes = [shape.numel() for shape in shapes.values()]
    relative = torch.ones(sum(sizes), dtype=torch.float64, device=device)
    if isinstance(variance, str):
        check_choice(WHERE, "prior_var, where it is no number,", variance, ["evidence", "grid"])
        asked: float | dict[str, float] | str = variance
    elif isinstance(variance, Mapping):
        asked = {layer: _variance(f"prior_var[{layer!r}]", one) for layer, one in variance.items()}
        paths = {name: _key(name, asked) for name in shapes}
        unused = [layer for layer in asked if layer not in paths.values()]
        if unused:
            raise unknown(WHERE, "a layer of prior_var", unused[0], dict.fromkeys(map(layer_of, shapes)))
        values = [asked[path] for path in paths.values()]
        relative = torch.cat([relative.new_full((n,), v) for n, v in zip(sizes, values, strict=True)])
    else:
        asked = _variance("prior_var", variance)
    return Prior(mean=_mean(mean, shapes, device), asked=asked, relative=relative)


def _variance(what: str, value: Any) -> float:
    value = plain_number(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise ConfigError(
            f"{WHERE}: {what} must be > 0 and finite; got {value!r}. Pass the variance of the prior, such "
            'as 1.0, or "evidence" to have it found.'
        )
    return float(value)


def _key(name: str, variances: Mapping[str, float]) -> str:
    """The longest module path among the keys that the parameter lies below."""
    path = layer_of(name)
    above = [key for key in variances if key in (path, "") or path.startswith(f"{key}.")]
    if not above:
        raise ConfigError(
            f"{WHERE}: prior_var must have every layer; got none for {path!r}. Add it, or pass one number for all."
        )
    return max(above, key=len)


def _mean(mean: Any, shapes: Mapping[str, torch.Size], device: torch.device) -> Tensor:
    P = sum(shape.numel() for shape in shapes.values())
    if mean is None:
        return torch.zeros(P, dtype=torch.float64, device=device)
    if isinstance(mean, np.ndarray):
        mean = torch.from_numpy(mean)
    if isinstance(mean, Mapping):
        for name, shape in shapes.items():
            got = list(mean[name].shape) if name in mean else "none"
            if got != list(shape):
                raise ShapeError(
                    f"{WHERE}: prior_mean[{name!r}] must be {list(shape)}; got {got}. Pass the state_dict of the "
                    "initial weights, or a flat tensor [P]."
                )
        mean = flattened({name: mean[name].detach() for name in shapes}, shapes)
    if not isinstance(mean, Tensor) or mean.shape != (P,):
        got = list(mean.shape) if isinstance(mean, Tensor) else type(mean).__name__
        raise ShapeError(
            f"{WHERE}: prior_mean must be [P] with P = {P}, or a dict of the parameters; got {got}. "
            "Lay the parameters end to end in named_parameters order."
        )
    flat = mean.detach().to(device, torch.float64)
    if not bool(flat.isfinite().all()):
        raise NumericsError(f"{WHERE}: prior_mean must be finite; got NaN or infinity. Look at the weights it is from.")
    return flat


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The scale of the prior's variance, and what choosing it costs in a bound."""

    scale: float
    union_cost: float = 0.0
    """Nats that a union bound over the grid adds to the KL."""


def chosen(prior: Prior, spectrum: Callable[[], Spectrum], distance: float, beta: float) -> Chosen:
    r"""The scale of the prior; the curvature's ``spectrum`` is asked for where that must be found.

    ``"evidence"`` solves the fixed point :math:`\lambda^2 = (\|w - w_0\|^2 + \operatorname{tr}\Sigma^*) / k`, which is
    :math:`\lambda^2 d_\text{eff}(\lambda^2) = \|w - w_0\|^2`, where :math:`C_\beta` is least. ``"grid"`` takes the
    :math:`\lambda_j^2` of least :math:`C_\beta` with :math:`2 \log j + \log(\pi^2/6)` added to the KL (Dziugaite and
    Roy, arXiv:1703.11008).

    Raises:
        NumericsError: No variance solves it: w is the prior's mean, or the curvature is zero.
    """
    if isinstance(prior.asked, dict):
        return Chosen(scale=1.0)
    if isinstance(prior.asked, float):
        return Chosen(scale=prior.asked)
    if prior.asked == "evidence":
        return Chosen(scale=_fixed_point(spectrum(), distance, beta))
    nodes = spectrum()

    def cost(j: int) -> float:
        scale = _grid(j)
        return 0.5 * (distance / scale + nodes.logdet(scale / beta)) + _union_cost(j)

    best = min(range(1, GRID_LENGTH + 1), key=cost)
    return Chosen(scale=_grid(best), union_cost=_union_cost(best))


def _grid(j: int) -> float:
    return GRID_SCALE * math.exp(-j / GRID_STEPS)


def _union_cost(j: int) -> float:
    return 2 * math.log(j) + math.log(math.pi**2 / 6)


def _fixed_point(spectrum: Spectrum, distance: float, beta: float) -> float:
    largest = float(spectrum.theta.max()) if spectrum.theta.numel() else 0.0
    if not distance > 0 or not largest > 0:
        what = "the weights at the prior's mean" if not distance > 0 else "no curvature at all"
        raise NumericsError(
            f'{WHERE}: prior_var="evidence" must have weights off the prior\'s mean and curvature; got {what}. '
            "Pass a number."
        )

    def excess(log_scale: float) -> float:  # increasing
        scale = math.exp(log_scale)
        return math.log(scale * spectrum.d_eff(scale / beta) / distance)

    # d_eff lies between t / (1 + t) of the largest node and the trace
    low = high = math.log(beta / largest)
    while excess(low) > 0:
        low -= 2.0
    while excess(high) < 0:
        high += 2.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return math.exp((low + high) / 2)
