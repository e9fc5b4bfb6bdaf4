import math

import pytest
import torch
from torch import nn

from infotorch import Task
from infotorch.bounds.theory.leave_one_out import leave_one_out
from infotorch.errors import ConfigError, DataError, NotSupported, NumericsError
from tests.oracles import jacobian

N, I, C = 9, 4, 3


def linear_model(rng, C=C, bias=True):
    model = nn.Linear(I, C, bias=bias).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    return model


def data(rng, C=C):
    return torch.randn(N, I, generator=rng).double(), torch.randn(N, C, generator=rng).double()


def ridge_solutions(model, x, y, l2):
    """[N, I + 1, C]: least squares without each sample, with decay toward the model's own weights."""
    a = torch.cat([x, torch.ones(len(x), 1).double()], 1)
    start = torch.cat([model.weight.detach().mT, model.bias.detach()[None]])
    solutions = []
    for u in range(len(x)):
        kept = torch.arange(len(x)) != u
        A = a[kept].mT @ a[kept] / kept.sum() + l2 * torch.eye(I + 1).double()
        solutions.append(start + torch.linalg.solve(A, a[kept].mT @ (y[kept] - a[kept] @ start) / kept.sum()))
    return torch.stack(solutions), a


def divergences(w, noise_var):
    """Mean KL between all ordered pairs of N(w_u, noise_var I), [N, ...] each."""
    return torch.cdist(w.flatten(1), w.flatten(1)).square().mean() / (2 * noise_var)


@pytest.mark.parametrize("space", ["weights", "functions"])
def test_linear_model_retrained_without_each_sample(space, rng):
    model, (x, y), l2, noise_var = linear_model(rng), data(rng), 0.2, 4.0
    w, a = ridge_solutions(model, x, y, l2)
    moved = w if space == "weights" else a @ w
    got = leave_one_out(Task(model, loss="mse"), (x, y), noise_var=noise_var, l2=l2, space=space)
    mean = (moved - moved.mean(0)).square().sum() / N / (2 * noise_var)
    assert got.parts["divergence"] == pytest.approx(mean.item(), rel=1e-9)
    # the Gaussian around the mean is half as far as the posteriors are from each other: convexity's bound, halved
    assert got.parts["divergence"] == pytest.approx(divergences(moved, noise_var).item() / 2, rel=1e-6)
    assert got.parts["information"] == got.parts["divergence"] < math.log(N)
    assert got.value == pytest.approx(N / (N - 1) * math.sqrt(mean / 2), rel=1e-9)
    assert got.kind == "estimate" and "linearized" in got.name


@pytest.mark.parametrize("noise_var", [0.003, 0.03, 1.0])
def test_the_mixture_tells_less_than_the_divergence(noise_var, rng):
    """One weight: I(W; U) by the trapezoid rule on the mixture of N Gaussians."""
    model, l2 = nn.Linear(1, 1, bias=False).double().eval(), 0.1
    x, y = torch.randn(N, 1, generator=rng).double(), 3 * torch.randn(N, 1, generator=rng).double()
    w0 = model.weight.item()
    w = []
    for u in range(N):
        kept = torch.arange(N) != u
        a, r = x[kept, 0], y[kept, 0] - w0 * x[kept, 0]
        w.append(w0 + (a @ r / (N - 1)) / (a @ a / (N - 1) + l2))
    w, s = torch.stack(w), math.sqrt(noise_var)
    grid = torch.linspace(w.min() - 10 * s, w.max() + 10 * s, 100_001).double()
    each = torch.distributions.Normal(w[:, None], s).log_prob(grid)  # [N, grid]
    mixture = torch.logsumexp(each, 0) - math.log(N)
    truth = torch.trapezoid(each.exp() * (each - mixture), grid).mean().item()
    got = leave_one_out(Task(model, loss="mse"), (x, y), noise_var=noise_var, l2=l2).parts
    assert 0 < truth <= got["information"] <= got["divergence"] < divergences(w[:, None], noise_var).item()
    if noise_var == 1.0:  # posteriors that overlap: the Gaussian around the mean is nearly the mixture
        assert truth == pytest.approx(got["information"], rel=0.05)


def test_the_ceiling_is_the_entropy_of_the_sample_left_out(rng):
    got = leave_one_out(Task(linear_model(rng), loss="mse"), data(rng), noise_var=1e-9, l2=0.1)
    assert got.parts["information"] == got.parts["ceiling"] == math.log(N) < got.parts["divergence"]
    assert got.value == pytest.approx(N / (N - 1) * math.sqrt(math.log(N) / 2), rel=1e-12)


def test_cross_entropy_is_one_newton_step_without_each_sample(rng):
    torch.manual_seed(0)  # weights of layers
    model = nn.Sequential(nn.Linear(I, 3), nn.Tanh(), nn.Linear(3, C)).double().eval()
    x, _ = data(rng)
    y, l2, noise_var = torch.randint(C, (N,), generator=rng), 0.3, 2.0
    J = jacobian(model, x)  # [N, C, P]
    p = model(x).detach().softmax(1)
    g = p - nn.functional.one_hot(y, C)
    H = p.diag_embed() - p[:, :, None] * p[:, None, :]
    moves = []
    for u in range(N):
        kept = torch.arange(N) != u
        curvature = torch.einsum("ncp,ncd,ndq->pq", J[kept], H[kept], J[kept]) / (N - 1)
        curvature += l2 * torch.eye(J.shape[2]).double()
        moves.append(-torch.linalg.solve(curvature, torch.einsum("ncp,nc->p", J[kept], g[kept]) / (N - 1)))
    want = divergences(torch.stack(moves), noise_var).item() / 2
    got = leave_one_out(Task(model), (x, y), noise_var=noise_var, l2=l2, loss="cross_entropy_ggn")
    assert got.parts["divergence"] == pytest.approx(want, rel=1e-6)


def test_time_is_that_of_the_mean_loss(rng):
    """Gradient flow on the mean loss over the others, without decay: w + exp(-A t) (w0 - w)."""
    model, (x, y), time = linear_model(rng), data(rng), 0.5
    ends, start = [], torch.cat([model.weight.detach().mT, model.bias.detach()[None]])
    for u in range(N):
        kept = torch.arange(N) != u
        a = torch.cat([x[kept], torch.ones(N - 1, 1).double()], 1)
        A = a.mT @ a / (N - 1)
        w = torch.linalg.solve(A, a.mT @ y[kept] / (N - 1))
        ends.append(w + torch.linalg.matrix_exp(-A * time) @ (start - w))
    got = leave_one_out(Task(model, loss="mse"), (x, y), noise_var=1.0, time=time)
    assert got.parts["divergence"] == pytest.approx(divergences(torch.stack(ends), 1.0).item() / 2, rel=1e-6)
    assert leave_one_out(Task(model, loss="mse"), (x, y), noise_var=1.0, time=0.0).value == 0.0


def test_a_sample_that_everybody_else_repeats_tells_nothing(rng):
    x, y = data(rng)
    same = x[:1].expand(N, -1), y[:1].expand(N, -1)
    got = leave_one_out(Task(linear_model(rng), loss="mse"), same, noise_var=1.0, l2=0.1)
    assert 0 <= got.value < 1e-6


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"noise_var": 0.0}, ConfigError, "leave_one_out: noise_var must be finite and above 0; got 0.0."),
        ({"noise_var": math.inf}, ConfigError, "noise_var must be finite and above 0; got inf."),
        ({"l2": -1.0}, ConfigError, "l2 must be finite and at least 0; got -1.0."),
        ({"time": math.nan}, ConfigError, "time must be at least 0; got nan."),
        ({"space": "weight"}, ConfigError, r"got 'weight'. Did you mean 'weights'\?"),
        ({"loss": "hinge"}, ConfigError, "loss must be one of 'mse', 'cross_entropy_ggn'; got 'hinge'."),
        ({"loss": "cross_entropy_ggn"}, ConfigError, "one Newton step, with l2 above 0 and no time; got l2=0.0"),
        ({"loss": "cross_entropy_ggn", "l2": 1.0, "time": 2.0}, ConfigError, "got l2=1.0 and time=2.0."),
        ({"loss": "cross_entropy_ggn", "l2": 1.0, "space": "functions"}, NotSupported, "must go with loss='mse'"),
        ({}, NumericsError, "must be positive definite at t=inf"),
        ({"l2": 1.0, "memory_limit": 2**20}, ConfigError, "leave_one_out: the exact form needs .*Give fewer samples;"),
    ],
)  # fmt: skip
def test_refusals(options, error, message, rng):
    with pytest.raises(error, match=message):
        leave_one_out(Task(linear_model(rng), loss="mse"), data(rng), **{"noise_var": 1.0, **options})


def test_one_sample_is_refused(rng):
    x, y = data(rng)
    with pytest.raises(DataError, match=r"leave_one_out: needs at least 2 samples, n \+ 1; got 1."):
        leave_one_out(Task(linear_model(rng), loss="mse"), (x[:1], y[:1]), noise_var=1.0, l2=1.0)
