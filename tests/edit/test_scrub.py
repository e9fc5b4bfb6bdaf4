"""Scrubbed weights against retraining, their noise against its formula, and everything that is refused."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import infotorch
from infotorch import edit
from infotorch.errors import ConfigError, DataError, NotSupported, NumericsError, ShapeError
from infotorch.task import Task
from tests.edit.problems import classified, flat, golden, ridge_regression

GOLDEN = {"rtol": 1e-9, "atol": 1e-12}


@pytest.mark.parametrize(("structure", "ending"), [("full", ""), ("diagonal", "_diag")])
def test_noise_of_the_golden(structure, ending):
    g = golden()
    task, retain, forget, mu = ridge_regression()
    found = edit.scrub(task, retain, forget=forget, noise=float(g["scrub_c"]), ridge=mu, structure=structure)
    torch.testing.assert_close(found.cov, g[f"scrub_cov{ending}"], **GOLDEN)
    torch.testing.assert_close(found.newton, g["scrub_newton"], **GOLDEN)
    assert found.bound == pytest.approx(float(g[f"scrub_kl_noise_only{ending}"]), rel=1e-9)
    assert found.residual == pytest.approx(found.bound, rel=1e-9)  # the mean is the weights, the gradient the step's
    assert torch.equal(found.mean, g["scrub_w_all"])


@pytest.mark.parametrize("structure", ["full", "diagonal"])
def test_newton_is_retraining_for_a_quadratic_loss(structure):
    task, retain, _, mu = ridge_regression()
    found = edit.scrub(task, retain, method="newton", noise=0.0, ridge=mu, structure=structure)
    torch.testing.assert_close(found.weights, golden()["scrub_w_retain"], **GOLDEN)
    assert found.bound == 0
    assert not found.cov.any()


def test_ridge_in_the_data_is_ridge_in_the_loss():
    """Samples sqrt(mu) e_i with target 0 are the penalty, so no option has to name it."""
    task, (x, y), _, mu = ridge_regression()
    rows = torch.cat([x, math.sqrt(mu) * torch.eye(6, dtype=x.dtype)]), torch.cat([y, y.new_zeros(6, 1)])
    found = edit.scrub(task, rows, method="newton", noise=0.03)
    torch.testing.assert_close(found.mean, golden()["scrub_w_retain"], **GOLDEN)
    torch.testing.assert_close(found.cov, golden()["scrub_cov"], **GOLDEN)


def test_a_ridge_pulls_to_the_initial_weights():
    task, (x, y), _, mu = ridge_regression()
    start = torch.linspace(-1, 1, 6, dtype=torch.float64)
    H = x.mT @ x + mu * torch.eye(6, dtype=x.dtype)
    want = torch.linalg.solve(H, x.mT @ y[:, 0] + mu * start)
    for given in (start, {"weight": start[None], "more": torch.zeros(3)}):
        found = edit.scrub(task, (x, y), method="newton", noise=0, ridge=mu, initial=given)
        torch.testing.assert_close(found.weights, want, **GOLDEN)


def test_covariance_minimises_the_lagrangian(rng):
    task, (x, y), _, mu = ridge_regression()
    c = 0.03
    S = edit.scrub(task, (x, y), noise=c, ridge=mu).cov
    H = x.mT @ x + mu * torch.eye(6, dtype=x.dtype)

    def lagrangian(S):
        return float((H @ S).trace() + c * torch.linalg.inv(S).trace()) / 2

    assert lagrangian(S) == pytest.approx(float(golden()["scrub_lagrangian"]), rel=1e-9)
    torch.testing.assert_close(S @ H @ S, c * torch.eye(6, dtype=x.dtype), **GOLDEN)
    for _ in range(20):
        A = 0.1 * torch.randn(6, 6, generator=rng, dtype=x.dtype) + torch.eye(6, dtype=x.dtype)
        assert lagrangian(A @ S @ A.mT) > lagrangian(S)


def test_draws_have_the_divergence_of_the_formula():
    """The mean log ratio of the densities around the trained and the retrained weights, over draws of the first."""
    task, retain, _, mu = ridge_regression()
    K = 200
    found = [edit.scrub(task, retain, noise=0.03, ridge=mu, seed=k) for k in range(K)]
    draws, one = torch.stack([each.weights for each in found]), found[0]
    S = golden()["scrub_cov"]

    def log_density(mean):
        return -0.5 * ((draws - mean) @ torch.linalg.inv(S) * (draws - mean)).sum(1)

    ratio = float((log_density(one.mean) - log_density(golden()["scrub_w_retain"])).mean())
    assert abs(ratio - one.bound) < 4 * math.sqrt(2 * one.bound / K)
    # An entry of a covariance of K draws has a variance of at most 2 S_ii S_jj / K.
    assert float((draws.mT.cov() - S).abs().max()) < 4 * math.sqrt(2 / K) * float(S.diagonal().max())


def test_power_is_that_of_the_covariance():
    task, (x, y), _, mu = ridge_regression()
    H = x.mT @ x + mu * torch.eye(6, dtype=x.dtype)
    found = edit.scrub(task, (x, y), noise=0.04, ridge=mu, power=-1)
    torch.testing.assert_close(found.cov, 0.2 * torch.linalg.inv(H), **GOLDEN)
    delta = found.mean - found.newton
    assert found.bound == pytest.approx(float(delta @ torch.linalg.solve(found.cov, delta)) / 2)


def test_query_bound_of_the_golden_and_below_the_bound():
    task, retain, (x, _), mu = ridge_regression()
    found = edit.scrub(task, retain, noise=0.03, ridge=mu)
    torch.testing.assert_close(found.query_bound(task, x), golden()["scrub_kl_per_query"], **GOLDEN)
    task, x, y = classified()
    for structure in ("full", "diagonal"):
        found = edit.scrub(task, (x, y), noise=1e-3, damping=0.1, structure=structure)
        queries = found.query_bound(task, x)
        assert bool((queries > 0).all()) and float(queries.max()) < found.bound
    with pytest.raises(NumericsError, match="there must be noise; got noise=0"):
        edit.scrub(task, (x, y), noise=0, damping=0.1).query_bound(task, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_diagonal_structure_takes_the_same_newton_step(dtype):
    task, x, y = classified(dtype=dtype)
    full, diagonal = (
        edit.scrub(task, (x, y), method="newton", noise=0.01, damping=0.05, structure=structure)
        for structure in ("full", "diagonal")
    )
    step = float((full.mean - flat(task.model)).norm())
    assert float((full.mean - diagonal.mean).norm()) < (1e-3 if dtype == torch.float32 else 1e-8) * step
    want = 0.1 / torch.sqrt(edit_fisher_diagonal(task, x) + 0.05)
    torch.testing.assert_close(diagonal.cov, want, rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=0)


def edit_fisher_diagonal(task, x):
    """By enumerating labels, without infotorch."""
    total = torch.zeros(sum(p.numel() for p in task.model.parameters()), dtype=torch.float64)
    for n in range(len(x)):
        log_p = task.model(x[n : n + 1]).log_softmax(1)[0]
        for each in log_p:
            g = torch.autograd.grad(each, list(task.model.parameters()), retain_graph=True)
            total += each.exp().item() * torch.cat([p.flatten() for p in g]).double().square()
    return total


def test_newton_step_by_a_dense_matrix_of_autograd():
    task, x, y = classified()
    model, shapes = task.model, task.shapes

    def outputs(w):
        parts = w.split([s.numel() for s in shapes.values()])
        own = {name: part.view(s) for (name, s), part in zip(shapes.items(), parts, strict=True)}
        return torch.func.functional_call(model, own, (x,))

    w = flat(model)
    J = torch.func.jacrev(outputs)(w)  # [N, C, P]
    p = outputs(w).softmax(1)
    F = torch.einsum("ncp,ncd,ndq->pq", J, torch.diag_embed(p) - p[:, :, None] * p[:, None], J)
    g = torch.func.grad(lambda w: nn.functional.cross_entropy(outputs(w), y, reduction="sum"))(w)
    found = edit.scrub(task, (x, y), method="newton", noise=0, damping=0.3)
    want = w - torch.linalg.solve(F + 0.3 * torch.eye(len(w), dtype=w.dtype), g)
    torch.testing.assert_close(found.weights, want, rtol=1e-9, atol=1e-11)


def test_residual_is_zero_at_the_minimum_alone():
    task, retain, _, mu = ridge_regression()
    found = edit.scrub(task, retain, method="newton", noise=0.03, ridge=mu)
    assert found.residual < 1e-20
    task, x, y = classified()
    assert edit.scrub(task, (x, y), method="newton", noise=0.03, damping=0.1).residual > 1


@pytest.mark.parametrize("structure", ["full", "diagonal"])
def test_the_bound_holds_where_the_loss_is_quadratic_alone(structure):
    """For noise alone too, whose residual is the bound whatever the loss is: the check is at the Newton step."""
    task, retain, _, mu = ridge_regression()
    options = {"noise": 0.03, "structure": structure}
    for method in ("fisher", "newton"):
        found = edit.scrub(task, retain, method=method, ridge=mu, **options)
        assert found.quadratic_error < 1e-12 and found.holds and found.kind == "estimate"
    assert found.bound == 0 and "bound about 0 nats" in repr(found)
    task, x, y = classified()
    for method in ("fisher", "newton"):
        found = edit.scrub(task, (x, y), method=method, damping=0.1, **options)
        at = edit.with_weights(task, found.newton)
        nn.functional.cross_entropy(at.model(x), y, reduction="sum").backward()
        g = torch.cat([p.grad.flatten() for p in at.model.parameters()])
        H = infotorch.fisher(task, (x, y)).dense() + 0.1 * torch.eye(len(g), dtype=g.dtype)
        left, cov = torch.linalg.solve(H, g), found.cov if structure == "full" else found.cov.diag()
        want = 0.5 * left @ torch.linalg.solve(cov, left)
        assert found.quadratic_error == pytest.approx(float(want), rel=1e-5)
        assert found.quadratic_error > 1 and not found.holds and found.kind == "diagnostic"
        assert "bound does not hold, for the loss is not quadratic" in repr(found) and len(repr(found)) < 300


def test_frozen_weights_are_counted():
    task, x, y = classified()
    found = edit.scrub(Task(task.model, params=["2.*"]), (x, y), noise=0.1, damping=0.1)
    assert len(found.weights) + found.frozen == sum(p.numel() for p in task.model.parameters())
    assert found.frozen == sum(p.numel() for p in task.model[0].parameters()) and f"{found.frozen} more" in repr(found)


def test_a_step_to_weights_without_a_finite_gradient_is_told_not_raised():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1e-19)
    task = Task(model.eval(), loss="mse")
    found = edit.scrub(task, (torch.full((2, 1), 1e-19), torch.full((2, 1), 1e25)), noise=1.0)
    assert found.quadratic_error == math.inf and not found.holds


def test_a_seed_is_a_draw_and_the_model_is_untouched():
    task, x, y = classified()
    before = copy.deepcopy(task.model.state_dict())
    options = {"method": "newton", "noise": 0.1, "damping": 0.1}
    one, same, other = (edit.scrub(task, (x, y), seed=s, **options) for s in (0, 0, 1))
    assert torch.equal(one.weights, same.weights) and not torch.equal(one.weights, other.weights)
    assert one.weights.dtype == torch.float64 and one.weights.shape == (flat(task.model).numel(),)
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in task.model.parameters())


def test_a_loader_is_the_sum_of_its_batches():
    task, x, y = classified()
    loader = DataLoader(TensorDataset(x, y), batch_size=6, shuffle=True)
    for structure in ("full", "diagonal"):
        options = {"method": "newton", "noise": 0.1, "damping": 0.1, "structure": structure}
        one, other = (edit.scrub(task, data, **options) for data in ((x, y), loader))
        torch.testing.assert_close(one.weights, other.weights, rtol=1e-8, atol=1e-10)


def test_only_the_selected_parameters_are_edited():
    task, x, y = classified()
    head = Task(task.model, params=["2.*"])
    found = edit.scrub(head, (x, y), method="newton", noise=0.1, damping=0.1)
    assert found.weights.shape == (5 * 3 + 3,)
    moved = edit.with_weights(head, found.weights).model.state_dict()
    assert torch.equal(moved["0.weight"], task.model.state_dict()["0.weight"])


def test_frozen_core_with_a_linear_head_is_retrained_exactly():
    """2012.13431: squared error of a linear head is quadratic, however deep the core is."""
    task, x, _ = classified()
    y = torch.randn(20, 3, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    head = Task(task.model, loss="mse", params=["2.*"])
    features = torch.cat([task.model[1](task.model[0](x)), x.new_ones(20, 1)], 1)[5:].detach()
    want = torch.linalg.lstsq(features, y[5:]).solution  # [6, 3]
    for structure in ("full", "diagonal"):
        found = edit.scrub(head, (x[5:], y[5:]), method="newton", noise=0.01, structure=structure)
        torch.testing.assert_close(found.mean, torch.cat([want[:-1].mT.flatten(), want[-1]]), rtol=1e-8, atol=1e-8)
        assert found.residual < 1e-12


# What is refused.
def bad(**options):
    task, x, y = classified()
    given = {"task": task, "retain": (x[5:], y[5:]), "noise": 0.1, "damping": 0.1} | options
    return edit.scrub(given.pop("task"), given.pop("retain"), **given)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"noise": -1.0}, ConfigError, "noise must be finite and at least 0; got -1.0"),
        ({"noise": math.nan}, ConfigError, "noise must be finite and at least 0; got nan"),
        ({"damping": -1.0}, ConfigError, "damping must be finite and at least 0; got -1.0"),
        ({"ridge": -1.0}, ConfigError, "ridge must be finite and at least 0; got -1.0"),
        ({"damping": 0.0}, NumericsError, "with damping=0; got a smallest eigenvalue .* Raise damping"),
        ({"power": 0.5}, ConfigError, "power must be finite and at most 0; got 0.5"),
        ({"method": "newtn"}, ConfigError, "Did you mean 'newton'"),
        ({"structure": "kfac"}, ConfigError, "structure must be one of 'full', 'diagonal'; got 'kfac'"),
        ({"time": 0.0}, ConfigError, "time must be above 0; got 0.0"),
        ({"time": 1.0}, ConfigError, 'time goes with method="newton"'),
        ({"time": 1.0, "method": "newton"}, ConfigError, "time needs forget"),
        ({"method": "ntk"}, ConfigError, 'ntk" is for squared error, loss="mse"; got \'cross_entropy\''),
        ({"initial": torch.zeros(3)}, ShapeError, r"initial must be \[P\]"),
        ({"initial": {"0.weight": torch.zeros(5, 3)}}, ShapeError, "got a difference at '0.b"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        bad(**options)


def test_ntk_needs_both_sets_and_the_start():
    task, x, _ = classified()
    task, y = Task(task.model, loss="mse"), torch.randn(20, 3, dtype=x.dtype)
    options = {"method": "ntk", "noise": 0.0}
    with pytest.raises(ConfigError, match='"ntk" needs forget, the samples to forget; got none'):
        edit.scrub(task, (x, y), initial=torch.zeros(38), **options)
    with pytest.raises(ConfigError, match='"ntk" needs initial, the weights where training began; got none'):
        edit.scrub(task, (x[5:], y[5:]), forget=(x[:5], y[:5]), **options)
    with pytest.raises(ConfigError, match=r"retain must be one batch, .* got DataLoader"):
        loader = DataLoader(TensorDataset(x[5:], y[5:]), batch_size=5)
        edit.scrub(task, loader, forget=(x[:5], y[:5]), initial=flat(task.model), **options)


def test_sets_that_make_no_sense_are_refused():
    _, x, y = classified()
    with pytest.raises(DataError, match=r"retain must hold a sample; got none. To forget all there is, train anew"):
        bad(retain=(x[:0], y[:0]))
    with pytest.raises(DataError, match=r"forget must hold a sample; got none. There is nothing to forget"):
        bad(forget=(x[:0], y[:0]))
    with pytest.raises(DataError, match="retain and forget must share no sample; got 2 with the same input and label"):
        bad(forget=(x[3:7], y[3:7]))
    bad(forget=(x[5:6], (y[5:6] + 1) % 3))  # the same input under another label is another sample
    with pytest.raises(DataError, match="x must be finite; got nan at sample 4"):
        bad(retain=(x.index_fill(0, torch.tensor(4), math.nan), y))


def test_weights_that_are_not_finite_are_refused():
    task, x, y = classified()
    task.model[2].bias.data[1] = math.nan
    with pytest.raises(NumericsError, match=r"weights must be finite; got nan in '2.bias' of the model"):
        edit.scrub(task, (x, y), noise=0.1, damping=0.1)


def test_what_is_too_large_names_the_other_structure():
    task = Task(nn.Linear(128, 129).eval(), loss="mse")
    x, y = torch.randn(3, 128), torch.randn(3, 129)
    with pytest.raises(ConfigError, match=r'P = 16,641, .* Pass structure="diagonal"'):
        edit.scrub(task, (x, y), noise=0.1, damping=1.0)
    found = edit.scrub(task, (x, y), method="newton", noise=0.1, damping=1.0, structure="diagonal")
    assert found.cov.shape == found.weights.shape == (16641,)


def test_a_loss_of_unknown_curvature_and_train_mode_are_refused():
    task, x, y = classified()
    own = Task(task.model, loss=lambda f, y: f.square().sum(1))
    with pytest.raises(NotSupported, match="output Hessian must be known"):
        edit.scrub(own, (x, y), noise=0.1, damping=0.1)
    task.model.train()
    with pytest.raises(ConfigError, match="eval mode"):
        edit.scrub(task, (x, y), noise=0.1, damping=0.1)


def test_a_bare_parameter_needs_the_fallback():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))

        def forward(self, x):
            return (x @ self.w)[:, None]

    task = Task(Bare().eval(), loss="mse")
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    y = torch.tensor([[3.0], [2.0]], dtype=torch.float64)
    for structure in ("full", "diagonal"):
        found = edit.scrub(task, (x, y), method="newton", noise=0, structure=structure, fallback="func")
        torch.testing.assert_close(found.weights, torch.tensor([3.0, 1.0], dtype=torch.float64))
