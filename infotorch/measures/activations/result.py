"""What is known of the layers, in the order in which they run."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from infotorch.errors import ConfigError, check_choice
from infotorch.table import Kind

__all__ = ["ActivationsInformation", "LayerInformation", "TangentInformation"]

WHERE = "activations_information"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TangentInformation:
    """What a layer's noisy output tells of a change of the input along one direction nu."""

    index: Tensor
    """I nu^T F nu / (|nu|^2 tr F), float64 [N]: 0 invariant, 1 no preference, at most I; NaN where it is undefined,
    since the layer tells nothing of the input at all (F is zero, as of dead units), or nu is zero."""
    I_tau: Tensor
    """1/2 log(1 + tau^2 nu^T F nu), float64 [N], nats: of a change by a normal multiple of deviation tau of nu."""

    def __repr__(self) -> str:
        index = "none" if self.mean_index is None else f"{self.mean_index:.3g}"
        return f"TangentInformation(N = {len(self.index)}: mean index {index}, I_tau {_mean(self.I_tau):.4g} nats)"

    @property
    def undefined(self) -> int:
        """Samples without an index."""
        return int(self.index.isnan().sum())

    @property
    def mean_index(self) -> float | None:
        """Over the samples that have an index; None where none has."""
        return None if self.undefined == len(self.index) else float(self.index.nanmean())


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LayerInformation:
    """What a layer's noisy output z tells of its input x, of every sample."""

    I_tau: Tensor
    """Local information 1/2 log|I + tau^2 F|, float64 [N], nats: of a jitter N(0, tau^2) of x, through ``rank``
    directions of z."""
    trace: Tensor
    """tr F_{z|x}, float64 [N], over squared units of x."""
    rank: Tensor
    """Directions of z with noise, int64 [N]."""
    dropped: Tensor
    """Units of z without noise, left out, int64 [N]: dead, or with no selected weight below them."""
    noiseless: Tensor
    """Directions of z that follow x without noise, left out too, int64 [N]; through one the information is infinite."""
    logdet: Tensor
    """log|F_{z|x}|, float64 [N]; minus infinity where F is singular."""
    width: int
    """Numbers in z of one sample, d_z."""
    inputs: int
    """Numbers in x of one sample, d_x."""
    rows: Tensor | None
    """Which of z were read, increasing; None for all."""
    tangents: Mapping[str, TangentInformation] = field(default_factory=dict)
    """By name."""

    def __repr__(self) -> str:
        means = f"I_tau {_mean(self.I_tau):.4g} nats, trace {_mean(self.trace):.4g}, rank {_mean(self.rank):.4g}"
        return (
            f"LayerInformation(N = {len(self.trace)}, {self.read}/{self.width} outputs read; means: {means}, dropped "
            f"{_mean(self.dropped):.4g})"
        )

    @property
    def read(self) -> int:
        """Numbers of z that were read."""
        return self.width if self.rows is None else len(self.rows)

    @property
    def fraction(self) -> float:
        """Of z that was read."""
        return self.read / self.width

    def shannon(self, entropy: float) -> float:
        r"""Effective information :math:`H(x) - E\,\tfrac12\log((2\pi e)^d/|F|)` in nats, of x's differential entropy.

        Raises:
            ConfigError: z has fewer numbers than x, or F is singular at some sample: then it would be minus infinity.
        """
        if self.read < self.inputs:
            raise ConfigError(
                f"{WHERE}: Shannon form needs dim z >= dim x; got {self.read} < {self.inputs}. "
                "use the local information I_tau"
            )
        singular = ~self.logdet.isfinite()
        if singular.any():
            raise ConfigError(
                f"{WHERE}: Shannon form needs F of full rank at every sample; got a singular one at sample "
                f"{int(singular.nonzero()[0])}. use the local information I_tau"
            )
        return entropy + 0.5 * (float(self.logdet.mean()) - self.inputs * (1 + math.log(2 * math.pi)))


@dataclass(frozen=True, kw_only=True, eq=False)
class ActivationsInformation(Mapping[str, LayerInformation]):
    """By layer, in the order in which they run; ``result["conv1"]``. Printed, a table of means over samples."""

    layers: Mapping[str, LayerInformation]
    """By module path."""
    tau: float
    """Deviation of the jitter, in units of x."""
    covariance_term: bool
    """Whether F has the part of the noise's own dependence on x."""
    loss: float | None
    """Mean loss at the model's weights, nats a sample for cross-entropy; None without labels."""
    noisy_loss: float | None
    """Mean loss of the noisy predictor, over samples and draws from the posterior; None without labels or draws."""
    noisy_loss_stderr: float | None
    """Its standard error over draws; None for fewer than two."""
    draws: int
    """Of the posterior's weights, for the noisy loss."""
    kind: Kind = "estimate"
    """What the numbers may be taken for: they are those of the linearized network with Gaussian weights."""

    def __getitem__(self, path: str) -> LayerInformation:
        check_choice(WHERE, "layer", path, self.layers)
        return self.layers[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        first = next(iter(self.layers.values()))
        part = "mean and covariance part" if self.covariance_term else "mean part"
        wide = min(24, max(7, *(len(path) for path in self.layers)))
        names = {path: _short(path or "(model)", wide).ljust(wide) for path in self.layers}
        lines = [
            f"Information in activations, tau={self.tau:g}, N={len(first.trace)}, {part}; means",
            f"{'layer':<{wide}} {'read/d_z':>13} {'rank':>7} {'dropped':>8} {'tr F':>10} {'I_tau nats':>11}",
        ]
        for path, one in self.layers.items():
            means = f"{_mean(one.rank):>7.1f} {_mean(one.dropped):>8.1f} {_mean(one.trace):>10.3g}"
            mark = " *" if one.noiseless.any() else ""
            lines.append(f"{names[path]} {f'{one.read}/{one.width}':>13} {means} {_mean(one.I_tau):>11.4g}{mark}")
        for name in first.tangents:
            lines.append(f"along {_short(name, 30)}: index (0 invariant, 1 no preference), I_tau nats")
            for path, one in self.layers.items():
                along = one.tangents[name]
                index = "none" if along.mean_index is None else f"{along.mean_index:.3g}"
                mark = f" (none at {along.undefined} of {len(along.index)})" if along.undefined else ""
                lines.append(f"  {names[path]} {index:>10} {_mean(along.I_tau):>10.4g}{mark}")
            if any(one.tangents[name].undefined for one in self.layers.values()):
                lines.append("  none: the layer tells nothing of x there, as a dead one, or the change is zero")
        if any(one.noiseless.any() for one in self.layers.values()):
            lines.append("* z follows x in directions without noise too, which are left out")
        if self.noisy_loss is not None:
            error = "" if self.noisy_loss_stderr is None else f" +- {self.noisy_loss_stderr:.2g}"
            lines.append(f"loss a sample: {self.loss:.4g}; of the noisy predictor: {self.noisy_loss:.4g}{error}")
            lines.append("a layer's invariance means little where the noisy predictor fails")
        return "\n".join(lines)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else "…" + name[1 - width :]


def joined(pieces: list[LayerInformation]) -> LayerInformation:
    """One layer's samples, end to end."""
    first = pieces[0]
    columns = {name: torch.cat([getattr(piece, name) for piece in pieces]) for name in COLUMNS}
    tangents = {
        name: TangentInformation(
            index=torch.cat([piece.tangents[name].index for piece in pieces]),
            I_tau=torch.cat([piece.tangents[name].I_tau for piece in pieces]),
        )
        for name in first.tangents
    }
    return LayerInformation(**columns, width=first.width, inputs=first.inputs, rows=first.rows, tangents=tangents)


COLUMNS = ("I_tau", "trace", "rank", "dropped", "noiseless", "logdet")
