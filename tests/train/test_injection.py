"""What the adapters know of a loss: its gradient in the logits, against that of cross-entropy."""

import math

import pytest
import torch
import torch.nn.functional as F

from infotorch.errors import ConfigError
from infotorch.train.injection import check_cross_entropy, inject, label_gradient
from tests.laws import assert_same_bits

LOSSES = {
    "labels": lambda z, y: F.cross_entropy(z, y, reduction="sum"),
    "positions": lambda z, y: F.cross_entropy(z.movedim(-1, 1), y, reduction="sum"),
    "probabilities": lambda z, y: F.cross_entropy(z, y, reduction="sum"),
    "one logit": lambda z, y: F.binary_cross_entropy_with_logits(z, y.to(z), reduction="sum"),
    "one column": lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y.to(z), reduction="sum"),
}


def problem(kind, rng, dtype=torch.float64):
    shape = {"positions": (5, 3, 4), "one logit": (5,), "one column": (5, 1)}.get(kind, (5, 4))
    z = 3 * torch.randn(shape, generator=rng, dtype=dtype)
    if kind == "probabilities":
        return z, torch.randn(shape, generator=rng, dtype=dtype).softmax(-1)
    if kind.startswith("one"):
        return z, torch.tensor([0, 1, 1, 0, 1])
    y = torch.randint(4, shape[:-1], generator=rng)
    y.view(-1)[2] = -100
    return z, y


@pytest.mark.parametrize("kind", LOSSES)
def test_label_gradient_is_that_of_cross_entropy(kind, rng):
    z, y = problem(kind, rng)
    z.requires_grad_()
    (expected,) = torch.autograd.grad(LOSSES[kind](z, y), z)
    torch.testing.assert_close(label_gradient(z.detach(), y), expected, rtol=1e-12, atol=1e-15)


def test_the_gradient_is_the_prediction_times_the_factor(rng):
    z, predicted = (torch.randn(4, 3, generator=rng) for _ in range(2))
    z.requires_grad_()
    seen = []

    def factor(upstream):
        seen.append(upstream)
        return torch.tensor(0.25)

    out = inject(z, predicted, factor)
    assert_same_bits(out.detach(), z.detach())
    (3 * out).sum().backward()
    assert_same_bits(z.grad, predicted / 4)
    assert_same_bits(seen[0], torch.full((4, 3), 3.0))


@pytest.mark.parametrize(
    ("times", "aside", "says"),
    [
        (1.009, 0.0, None),
        (1.011, 0.0, "a gradient 1.011 times as large"),
        (0.989, 0.0, "a gradient 0.989 times as large"),
        (-1.0, 0.0, "a gradient -1 times as large"),
        (1.0, 0.0099, None),
        (1.0, 0.0102, "a gradient 1% of which is no multiple of s - t"),
        (1.0, math.nan, None),
        (1.0, math.inf, None),
    ],
)
def test_where_a_loss_ceases_to_be_cross_entropy(times, aside, says, rng):
    """1 % in k, 1 % of the norm aside of s - t. What is not finite tells nothing, and spreads as it does without."""
    z, y = problem("labels", rng)
    g, k = label_gradient(z, y), torch.tensor(0.2, dtype=torch.float64)
    other = torch.randn(g.shape, generator=rng, dtype=torch.float64)
    other -= (other * g).sum() / g.square().sum() * g
    G = k * (times * g + aside * other * (g.norm() / other.norm()))
    if says is None:
        check_cross_entropy("here", G, g, k)
        return
    with pytest.raises(ConfigError, match=f"^here: the loss on the hooked logits must be .*; got {says}. Leave mixup"):
        check_cross_entropy("here", G, g, k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_classifier_that_is_sure_of_each_label_has_no_other_loss(dtype, rng):
    """S - t is then rounding and hardly more, of which no multiple can be told; a loss that is far off still is."""
    y = torch.randint(4, (6,), generator=rng)
    z = 17 * F.one_hot(y, 4).to(dtype) + torch.rand(6, 4, generator=rng, dtype=dtype)
    z.requires_grad_()
    (G,) = torch.autograd.grad(F.cross_entropy(z, y), z)
    k = torch.tensor(1 / 6, dtype=dtype)
    check_cross_entropy("here", G, label_gradient(z.detach(), y), k)
    (G,) = torch.autograd.grad(F.cross_entropy(z, y, label_smoothing=0.01), z)
    with pytest.raises(ConfigError, match="is no multiple of s - t"):
        check_cross_entropy("here", G, label_gradient(z.detach(), y), k)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_loss_that_half_numbers_round_is_cross_entropy(dtype, rng):
    for scale in (0.1, 3.0, 10.0):
        z = (scale * torch.randn(64, 77, generator=rng)).to(dtype).requires_grad_()
        y = torch.randint(77, (64,), generator=rng)
        (G,) = torch.autograd.grad(F.cross_entropy(z, y), z)
        check_cross_entropy("here", G, label_gradient(z.detach(), y), torch.tensor(1 / 64))
