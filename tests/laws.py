"""How close is close enough, and the comparisons that every room uses."""

import torch
from torch import Tensor

# Relative Frobenius error allowed against a float64 truth, by the dtype under test: that of the inputs.
RTOL = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-3, torch.float16: 1e-3}


def assert_same(got: Tensor, truth: Tensor, dtype: torch.dtype | None = None) -> None:
    """``got`` equals the float64 ``truth`` up to the rounding of ``dtype`` (its own), in relative Frobenius norm."""
    assert got.shape == truth.shape, f"{tuple(got.shape)} is not {tuple(truth.shape)}"
    truth = truth.double()
    error, size = (got.double() - truth).norm(), truth.norm()
    rtol = RTOL[dtype or got.dtype]
    assert error <= rtol * size, f"relative error {error / size:.1e} exceeds {rtol:.0e}"


def assert_same_bits(got: Tensor, other: Tensor) -> None:
    """Not close: equal, byte for byte (so NaN equals NaN and -0. differs from 0.)."""
    assert got.dtype == other.dtype and got.shape == other.shape
    raw, want = (x.detach().flatten().view(torch.uint8) for x in (got, other))  # NumPy has no bfloat16
    assert torch.equal(raw, want)


def assert_golden(got: Tensor, want: Tensor, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    """|got - want| <= rtol |want| + atol max|want|, the maximum over the last axis: the goldens' own rule."""
    assert got.shape == want.shape, f"{tuple(got.shape)} is not {tuple(want.shape)}"
    got, want = got.double(), want.double()
    excess = (got - want).abs() - rtol * want.abs() - atol * want.abs().amax(-1, keepdim=True)
    assert (excess <= 0).all(), f"largest excess {excess.max():.1e} at {int(excess.argmax())}"
