import pathlib

import numpy as np
import pytest
import torch

from infotorch.errors import ShapeError
from infotorch.task import softmax_factor
from tests.task.refusal import refused

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden/weights_information/softmax_factor.npz")


@pytest.mark.parametrize("i", range(3))
def test_golden(i):
    L = softmax_factor(torch.from_numpy(GOLDEN[f"p{i}"]))
    torch.testing.assert_close(L, torch.from_numpy(GOLDEN[f"L{i}"]), rtol=0, atol=1e-14)


def test_golden_that_is_nearly_one_hot():
    """Its tails are differences from 1 and have the rounding of 1; sums from the end have every digit."""
    p, golden = (torch.from_numpy(GOLDEN[key]) for key in ("p3", "L3"))
    L, want = softmax_factor(p), p.diag_embed() - p[:, None] * p
    torch.testing.assert_close(L, golden, rtol=torch.finfo(p.dtype).eps / float(p[1:].sum()), atol=0)
    torch.testing.assert_close((L @ L.mT)[1:], want[1:], rtol=0, atol=1e-23)
    assert ((golden @ golden.mT)[1:] - want[1:]).abs().max() > 1e-18


@pytest.mark.parametrize("shape", [(1,), (4, 1), (5, 2), (2, 3, 7)])
def test_times_its_transpose_is_the_curvature_of_the_softmax(shape, rng):
    p = torch.randn(shape, dtype=torch.float64, generator=rng).mul(5).softmax(-1)
    L = softmax_factor(p)
    assert L.shape == (*shape, shape[-1] - 1)
    assert not L.triu(1).any()
    torch.testing.assert_close(L @ L.mT, p.diag_embed() - p[..., :, None] * p[..., None, :], rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_hot_probabilities_have_no_curvature(place, dtype):
    p = torch.eye(3, dtype=dtype)[place]
    assert torch.equal(softmax_factor(p), torch.zeros(3, 2, dtype=dtype))


def test_small_probabilities_keep_their_digits():
    """Tails by subtraction from 1 would be zero here."""
    p = torch.tensor([1.0, 3e-30, 1e-30])
    L = softmax_factor(p)
    torch.testing.assert_close(
        L[1:] / 1e-15, torch.tensor([[-1.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]), rtol=1e-5, atol=0
    )


def test_no_classes_are_refused():
    refused(
        ShapeError, "softmax_factor: p must be [..., C]; got [3, 0]. Pass", lambda: softmax_factor(torch.ones(3, 0))
    )
