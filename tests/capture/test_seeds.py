"""Seeds whose outer products are the Fisher information, against dense matrices made another way."""

import itertools
import math
import pathlib
import re

import numpy as np
import pytest
import torch
from torch import nn

from infotorch.capture import capture
from infotorch.errors import ConfigError, NotSupported, ShapeError
from infotorch.task import Task
from tests import oracles
from tests.capture.agreement import gradients

GOLDEN = pathlib.Path(__file__).parents[1] / "golden/weights_information"


class Attention(nn.Module):
    """The net of the golden: one head, a residual, the mean over positions."""

    def __init__(self):
        super().__init__()
        self.emb, self.norm = nn.Embedding(9, 4), nn.LayerNorm(4)
        self.q, self.k, self.v, self.o = (nn.Linear(4, 4) for _ in range(4))
        self.head = nn.Linear(4, 3)

    def forward(self, ids):
        h = self.norm(self.emb(ids))
        weights = (self.q(h) @ self.k(h).mT / 2).softmax(-1)
        return self.head((h + self.o(weights @ self.v(h))).mean(1))


def mlp(*sizes, act):
    layers = [m for i, o in itertools.pairwise(sizes) for m in (nn.Linear(i, o), act())]
    return nn.Sequential(*layers[:-1])


def cnn():
    first = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
    second = nn.Conv2d(4, 3, (3, 2), padding=(1, 0))
    return nn.Sequential(first, nn.ReLU(), second, nn.Tanh(), nn.Flatten(), nn.Linear(18, 3))


NETS = {
    "linear_ce": (lambda: nn.Linear(4, 3), "cross_entropy", 2),
    "mlp_tanh_ce": (lambda: mlp(5, 4, 3, act=nn.Tanh), "cross_entropy", 2),
    "mlp_relu_mse": (lambda: mlp(4, 6, 2, act=nn.ReLU), "mse", 2),
    "mlp_tanh_bce": (lambda: mlp(3, 5, 1, act=nn.Tanh), "binary_cross_entropy", 1),
    "cnn_groups_ce": (cnn, "cross_entropy", 2),
    "emb_ln_attn_ce": (Attention, "cross_entropy", 2),
}


def golden(name):
    """(task, x, K, arrays) with the golden's weights."""
    make, loss, K = NETS[name]
    arrays = {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / f"curvature_{name}.npz").items()
              if value.dtype.kind != "U"}  # fmt: skip
    model = make().double().eval()
    nn.utils.vector_to_parameters(arrays["w"], model.parameters())
    return Task(model, loss=loss), arrays["x"], K, arrays


def flat(cap):
    """[N, K, P]."""
    rows = gradients(cap)
    return torch.cat([rows[name].flatten(2) for name in cap.names], 2)


def fisher(cap):
    G = flat(cap)
    return torch.einsum("nkp,nkq->pq", G, G)


@pytest.mark.parametrize("name", NETS)
def test_columns_sum_to_the_exact_fisher(name):
    task, x, K, arrays = golden(name)
    with capture(task, x, seeds="fisher", verify=True) as cap:
        assert cap.K == K
        torch.testing.assert_close(fisher(cap), arrays["fisher"], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", NETS)
def test_drawn_labels_sum_to_it_on_average(name):
    """The deviation of the trace is that of a mean over draws, and shrinks with them."""
    task, x, _, arrays = golden(name)
    traces = []
    for seed in range(8):
        with capture(task, x, seeds=("mc", 16, seed), check=False) as cap:
            traces.append(float(flat(cap).square().sum()))
    traces = torch.tensor(traces)
    error = float(traces.mean() - arrays["fisher_trace"]) / (float(traces.std()) / math.sqrt(8))
    assert abs(error) < 4, f"{error:.1f} standard errors"
    assert traces.std() < 0.2 * arrays["fisher_trace"]


@pytest.mark.parametrize("kind", ["mc", "sketch"])
def test_draws_are_those_of_their_seed(kind):
    task, x, _, _ = golden("mlp_tanh_ce")
    one, again, other = (flat(capture(task, x, seeds=(kind, 2, seed), verify=True)) for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("name", NETS)
def test_sketches_are_unbiased(name):
    """The diagonal of many passes' Fisher information, within 4 standard errors of the exact one."""
    task, x, _, arrays = golden(name)
    G = flat(capture(task, x, seeds=("sketch", 200, 0))) * 200**0.5  # [N, K, P]
    diagonals = G.square().sum(0)  # of each pass
    error = (diagonals.mean(0) - arrays["fisher_diag"]).abs()
    assert bool((error <= 4.5 * diagonals.std(0) / 200**0.5 + 1e-12).all())


def test_positions_of_a_sketch_have_signs_of_their_own(rng):
    task, x, y = tokens(rng)
    exact = fisher(capture(task, (x, y), seeds="fisher"))
    many = fisher(capture(task, (x, y), seeds=("sketch", 1000, 0)))
    assert float((many - exact).norm() / exact.norm()) < 0.1
    y[0, 1] = y[2] = -100
    G = flat(capture(task, (x, y), seeds=("sketch", 2, 0)))
    assert not G[2].any() and G[0].any()


def tokens(rng, T=3, C=4):
    model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, C)).double().eval()
    x = torch.randn(3, T, 2, dtype=torch.float64, generator=rng)
    y = torch.randint(0, C, (3, T), generator=rng)
    return Task(model), x, y


@pytest.mark.parametrize("ignored", [False, True])
def test_positions_are_separate_factors(ignored, rng):
    """J^T H J with H block-diagonal in positions; those whose label is ignored have no part in it."""
    task, x, y = tokens(rng)
    if ignored:
        y[0, 1] = y[2] = -100
    cap = capture(task, (x, y), seeds="fisher", verify=True)
    J = oracles.jacobian(task.model, x).unflatten(1, (3, 4))  # [N, T, C, P]
    p = cap.outputs.softmax(-1)
    H = (p.diag_embed() - p[..., :, None] * p[..., None, :]) * (y != -100)[..., None, None]
    assert cap.K == 9
    torch.testing.assert_close(fisher(cap), torch.einsum("ntcp,ntcd,ntdq->pq", J, H, J), rtol=1e-10, atol=1e-13)
    drawn = flat(capture(task, (x, y), seeds=("mc", 3, 0), verify=True))
    assert drawn.shape[:2] == (3, 3) and drawn[2].any() != ignored


def test_squared_error_of_many_axes_has_unit_columns(rng):
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh()).double().eval()
    x = torch.randn(3, 4, 2, dtype=torch.float64, generator=rng)
    task = Task(model, loss="mse")
    assert torch.equal(flat(capture(task, x, seeds="fisher")), flat(capture(task, x, seeds="logits")))


def test_backward_passes_are_bounded(rng):
    task, x, y = tokens(rng, T=64, C=66)
    message = (
        'seeds="fisher" must take at most 4096 backward passes; got 4160, 65 for each of 64 positions. Pass seeds=('
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        capture(task, (x, y), seeds="fisher")


@pytest.mark.parametrize("seeds", [("mc", 0, 1), ("mc", 2.5, 1), ("draws", 2, 1), ("mc", 2), 3, ["mc", 2, 1]], ids=str)
def test_other_seeds_are_refused(seeds, rng):
    task, x, _ = tokens(rng)
    with pytest.raises(
        ConfigError, match=re.escape(f'("sketch", passes, seed) or a tensor; got {seeds!r}. Give whole')
    ):
        capture(task, x, seeds=seeds)


@pytest.mark.parametrize(
    "seeds, message",
    [
        ("fisher", "the loss's output Hessian must be known; got the function"),
        (("mc", 2, 0), "labels can be drawn from a built-in loss; got UserLoss"),
        (("sketch", 2, 0), "the loss's output Hessian must be known; got the function"),
    ],
)
def test_a_function_has_no_fisher(seeds, message, rng):
    task = Task(tokens(rng)[0].model, loss=lambda outputs, y: outputs.flatten(1).sum(1))
    with pytest.raises(NotSupported, match=message):
        capture(task, torch.ones(3, 2, dtype=torch.float64), seeds=seeds)


def test_curvature_of_the_wrong_shape_is_refused():
    class Own:
        def value(self, outputs, y):
            return outputs.sum(1)

        def hessian_sqrt(self, outputs, y):
            return torch.eye(3)

    task = Task(nn.Linear(2, 3).eval(), loss=Own())
    with pytest.raises(ShapeError, match=re.escape("hessian_sqrt must be [4, 3, 'R'] for outputs [4, 3]; got [3, 3]")):
        capture(task, torch.ones(4, 2), seeds="fisher")


def test_one_class_has_no_curvature():
    with pytest.raises(ConfigError, match=r"must have curvature in its outputs; got one class, \[4, 1\]"):
        capture(Task(nn.Linear(2, 1).eval()), torch.ones(4, 2), seeds="fisher")
