"""What noise on the gradient of cross-entropy is, and to what it is keyed."""

import math

import pytest
import torch
import torch.nn.functional as F

from infotorch import ops
from infotorch.errors import ConfigError, DataError, ShapeError
from infotorch.ops import LimitNoise
from infotorch.train.gradient_noise import noisy_gradient_loss
from tests.laws import assert_same, assert_same_bits


@pytest.fixture
def batch(rng):
    logits = torch.randn(6, 5, generator=rng, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(5, (6,), generator=rng)


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


def noise(step=0, ids=range(6)):
    return LimitNoise(seed=4, step=step, ids=torch.tensor(list(ids)))


@pytest.mark.parametrize(("kind", "unit"), [("gaussian", 1.0), ("laplace", math.sqrt(0.5))])
def test_the_gradient_is_that_of_cross_entropy_plus_keyed_noise(kind, unit, batch):
    logits, y = batch
    loss = noisy_gradient_loss(logits, y, kind, std=0.3, noise=noise(), reduction="sum")
    assert_same_bits(loss.detach(), F.cross_entropy(logits, y, reduction="none").detach().sum())
    clean = gradient(F.cross_entropy(logits, y, reduction="sum"), logits)
    draws = ops.limit_noise(noise(), 5, kind=kind).double()
    assert_same(gradient(loss, logits), clean + 0.3 * unit * draws)


def test_noise_is_in_units_of_one_sample_and_follows_the_upstream(batch):
    logits, y = batch
    whole = gradient(noisy_gradient_loss(logits, y, std=0.3, noise=noise(), reduction="sum"), logits)
    mean = noisy_gradient_loss(logits, y, std=0.3, noise=noise())
    assert_same(gradient(64 * mean, logits), 64 * whole / 6)


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_the_standard_deviation_is_that_asked_for(kind):
    logits, y = torch.zeros(20_000, 4, requires_grad=True), torch.zeros(20_000, dtype=torch.int64)
    keyed = LimitNoise(seed=1, step=0, ids=torch.arange(20_000))
    loss = noisy_gradient_loss(logits, y, kind, std=0.5, noise=keyed, reduction="sum")
    drawn = gradient(loss, logits) - gradient(F.cross_entropy(logits, y, reduction="sum"), logits)
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - 0.5) < 0.01


def test_noise_follows_the_id_and_the_step(batch):
    logits, y = batch
    order = torch.tensor([5, 2, 0])
    whole = gradient(noisy_gradient_loss(logits, y, std=1.0, noise=noise(), reduction="sum"), logits)
    part = noisy_gradient_loss(logits[order], y[order], std=1.0, noise=noise(ids=order.tolist()), reduction="sum")
    assert_same_bits(gradient(part, logits)[order], whole[order])
    later = noisy_gradient_loss(logits, y, std=1.0, noise=noise(step=1), reduction="sum")
    assert (gradient(later, logits) - whole).abs().min() > 0


def test_without_a_key_torch_s_generator_gives_one(batch):
    logits, y = batch
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(gradient(noisy_gradient_loss(logits, y, std=1.0), logits))
    assert_same_bits(drawn[0], drawn[1])
    assert (drawn[0] - drawn[2]).abs().min() > 0


def test_without_noise_it_is_cross_entropy(batch):
    logits, y = batch
    loss = noisy_gradient_loss(logits, y, std=0.0, noise=noise())
    assert_same_bits(gradient(loss, logits), gradient(F.cross_entropy(logits, y, reduction="none").mean(), logits))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"std": -1.0}, ConfigError, "std must be finite and at least 0; got -1.0"),
        ({"std": math.nan}, ConfigError, "got nan"),
        ({"kind": "normal"}, ConfigError, "kind must be one of 'gaussian', 'laplace'; got 'normal'"),
        ({"reduction": "none"}, ConfigError, "reduction must be one of 'mean', 'sum'; got 'none'"),
        ({"noise": noise(ids=[1])}, ShapeError, r"noise.ids must be \[6\]; got \[1\]"),
        ({"target": torch.full((6,), 5)}, DataError, "got 5 at sample 0"),
        ({"logits": torch.zeros(6)}, ShapeError, r"logits must be \[N, C\]; got \[6\]"),
    ],
)
def test_refusals(change, error, text, batch):
    logits, y = batch
    given = {"logits": logits, "target": y, "std": 1.0, "noise": noise(), **change}
    with pytest.raises(error, match=text):
        noisy_gradient_loss(given.pop("logits"), given.pop("target"), **given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_masked_and_large_logits_have_a_finite_loss(dtype):
    logits = torch.tensor([[2.0, 6e4, -torch.inf], [1.0, -6e4, 3.0]], dtype=dtype, requires_grad=True)
    loss = noisy_gradient_loss(logits, torch.tensor([1, 2]), std=10.0)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all() and logits.grad[0, 2] == 0
