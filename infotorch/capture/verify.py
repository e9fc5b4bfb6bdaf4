"""A second net under capture: its sums against autograd's, and a sample of the batch against itself alone."""

import torch
from torch import Tensor

from infotorch.capture.captured import Capture
from infotorch.errors import CaptureError, NumericsError

__all__ = ["RTOL", "check_alone", "check_sum"]

RTOL = 1e-4
"""Relative to the root of the summed squares of the samples' gradients, since the sum itself vanishes at an optimum."""


ROUNDING = 16 * torch.finfo(torch.float32).eps
"""Relative to the gradients of all parameters; softmax and norms of some float64 models run in float32."""


def check_sum(cap: Capture, truth: dict[str, Tensor], rtol: float = RTOL) -> None:
    """The samples' gradients add up to autograd's gradient of the batch, parameter by parameter."""
    sums: dict[str, Tensor] = {}
    squares: dict[str, float] = {}
    for pair in cap.pairs.values():
        for n in range(cap.N):
            for name, g in pair.split(pair.grad(n).double()).items():  # [*shape] or [K, *shape]
                _refuse_not_finite(name, g, n)
                sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + (
                    g if cap.seeds is None else g.sum(0)
                )
                squares[name] = squares.get(name, 0.0) + float(g.square().sum())
    whole = sum(squares.values()) ** 0.5
    for name, total in sums.items():
        _compare(name, "autograd's gradient of the batch", total, truth[name], squares[name] ** 0.5, whole, rtol)


def check_alone(cap: Capture, alone: Capture, rtol: float = RTOL) -> None:
    """The last sample's gradients are those it has without the others."""
    mine = {name: g for pair in cap.pairs.values() for name, g in pair.split(pair.grad(cap.N - 1)).items()}
    theirs = {name: g for pair in alone.pairs.values() for name, g in pair.split(pair.grad(0)).items()}
    norms = {name: float(g.double().norm()) for name, g in mine.items()}
    whole = sum(norm**2 for norm in norms.values()) ** 0.5
    for name, g in mine.items():
        other = theirs.get(name, torch.zeros_like(g))
        _compare(name, "those of each sample alone", g, other, norms[name], whole, rtol)


def _refuse_not_finite(name: str, g: Tensor, n: int) -> None:
    """Nothing agrees with nan, whatever the layers do."""
    finite = g.isfinite()
    if not finite.all():
        raise NumericsError(
            f"capture: gradients must be finite; got {float(g[~finite][0])} in that of {name!r} for sample {n}. "
            "Look at this sample's input, and at the weights."
        )


def _compare(name: str, what: str, got: Tensor, truth: Tensor, scale: float, whole: float, rtol: float) -> None:
    """``whole`` is the scale of all parameters: one whose gradient is zero by symmetry has their rounding alone."""
    error = float((got.double() - truth.double()).norm())
    if not error <= rtol * scale + ROUNDING * whole + torch.finfo(truth.dtype).tiny:
        raise CaptureError(
            f"capture: gradients of {name!r} must agree with {what}; got a relative difference of "
            f"{error / scale if scale else error:.1e}. Look for an operation that mixes samples, or leave it "
            "out with params=[...]."
        )
