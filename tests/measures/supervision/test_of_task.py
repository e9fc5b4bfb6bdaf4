"""Supervision complexity of a network: its kernel against torch.func, matrix-free against dense, order relations."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from infotorch import Task, complexity_from_kernel, ntk, supervision_complexity
from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from tests import oracles
from tests.measures.supervision.golden import network, sets

MEASURES = ("quad", "complexity", "trace", "adjusted", "unit_adjusted", "residual_norm", "ridge", "max_diagonal")


def conv_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3)).double().eval()


def data(N=9):
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(N, 1, 8, 8, dtype=torch.float64, generator=rng)
    return x, torch.randint(3, (N,), generator=rng)


def one_hot(y, C=3):
    return F.one_hot(y, C).double()


def jacobian_kernel(model, x):
    J = oracles.jacobian(copy.deepcopy(model), x).flatten(0, 1)
    return J @ J.mT


@pytest.mark.parametrize("place", range(2))
def test_the_golden_networks_have_the_golden_kernels_and_measures(place):
    own, known = sets()[place]
    task = Task(network(own, known["act"]))
    x, K = own["X"], own["K"]
    assert (ntk(task, x).matrix - K).abs().max() <= 1e-11 * K.abs().max()
    assert (ntk(task, x, outputs="trace").matrix - own["Kbar"]).abs().max() <= 1e-11 * own["Kbar"].abs().max()
    targets = {name.removeprefix("target_"): P for name, P in own.items() if name.startswith("target_")}
    for start, f0 in (("False", "zero"), ("True", own["f0"])):
        reports = supervision_complexity(task, (x, own["y"]), targets, f0=f0, ridge=[1e-3, 1.0])
        for name in targets:
            for i, ridge in enumerate(("0.001", "1.0")):
                want = known["measures"][f"{name}|minus_f0={start}|ridge={ridge}"]
                for measure in ("quad", "complexity", "trace", "adjusted", "unit_adjusted"):
                    assert getattr(reports[name], measure)[i] == pytest.approx(want[measure], rel=1e-9)
                assert reports[name].alignment == pytest.approx(want["alignment"], rel=1e-9)
    for key, want in known["kbar_onehot"].items():
        ridge = float(key.removeprefix("ridge="))
        report = supervision_complexity(task, x, targets["onehot"], f0="zero", kernel="avg", ridge=ridge)
        assert report.quad == pytest.approx(want, rel=1e-9) and report.kernel == "avg"
        assert "mean kernel over outputs (an approximation)" in str(report)


@pytest.mark.parametrize("output", ["logits", "probs"])
@pytest.mark.parametrize("solver", ["cholesky", "lanczos"])
@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_the_residual_is_to_the_students_probabilities(output, solver, tau):
    model, (x, y) = conv_net(), data()
    K = jacobian_kernel(model, x)
    if output == "probs":
        p = model(x).detach().softmax(1)
        S = torch.block_diag(*(p.diag_embed() - p[:, :, None] * p[:, None]))
        K = S @ K @ S
    r = one_hot(y) - (model(x).detach() / tau).softmax(1)
    want = complexity_from_kernel(K, r, ridge_rel=0.05)
    report = supervision_complexity(
        Task(model), (x, y), one_hot(y), tau=tau, output=output, solver=solver, ridge_rel=0.05, tol=5e-9
    )
    for name in MEASURES:
        assert getattr(report, name) == pytest.approx(getattr(want, name), rel=1e-8), name
    assert report.tau == tau and report.fixed_kernel is False
    assert (report.alignment is None) == (solver == "lanczos")


def test_avg_is_full_where_all_outputs_share_the_kernel():
    torch.manual_seed(0)
    task = Task(nn.Linear(5, 3).double().eval())
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 3
    full, avg = (supervision_complexity(task, x, one_hot(y), kernel=k, ridge=0.1) for k in ("full", "avg"))
    for name in (*MEASURES, "alignment", "norm", "kernel_trace"):
        assert getattr(avg, name) == pytest.approx(getattr(full, name), rel=1e-11), name
    bracket = supervision_complexity(task, x, one_hot(y), kernel="avg", ridge=0.1, solver="lanczos", tol=1e-10)
    assert bracket.quad == pytest.approx(full.quad, rel=1e-9) and bracket.alignment == pytest.approx(full.alignment)
    other = conv_net()
    x, y = data()
    p, full = other(x).detach().softmax(1), jacobian_kernel(other, x)
    S = torch.block_diag(*(p.diag_embed() - p[:, :, None] * p[:, None]))
    mean = (S @ full @ S).view(9, 3, 9, 3).diagonal(dim1=1, dim2=3).mean(-1)
    want = sum(float(c @ torch.linalg.solve(mean + torch.eye(9).double(), c)) for c in (one_hot(y) - p).mT)
    got = supervision_complexity(Task(other), x, one_hot(y), output="probs", kernel="avg", ridge=1.0)
    assert got.quad == pytest.approx(want, rel=1e-10)


def test_a_selection_of_parameters_has_its_own_kernel_and_the_model_stays_as_it_is():
    model, (x, y) = conv_net(), data()
    before = copy.deepcopy(model.state_dict())
    part = supervision_complexity(Task(model, params=["3.*"]), (x, y), one_hot(y), ridge=1.0)
    h = model[2](model[1](model[0](x))).detach()
    K = torch.kron(h @ h.mT + 1, torch.eye(3, dtype=torch.float64))
    want = complexity_from_kernel(K, one_hot(y) - model(x).detach().softmax(1), ridge=1.0)
    assert part.quad == pytest.approx(want.quad, rel=1e-10)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_float32_agrees_and_needs_a_ridge_above_its_noise():
    model, (x, y) = conv_net(), data()
    exact = supervision_complexity(Task(model), x, one_hot(y), ridge_rel=0.05)
    single = Task(copy.deepcopy(model).float())
    for solver in ("cholesky", "lanczos"):
        report = supervision_complexity(single, x.float(), one_hot(y), ridge_rel=0.05, solver=solver)
        assert report.quad == pytest.approx(exact.quad, rel=2e-3)
        with pytest.raises(NumericsError, match=r"for a kernel from float32; got .*use model.double\(\)"):
            supervision_complexity(single, x.float(), one_hot(y), ridge_rel=1e-6, solver=solver)


def test_few_products_leave_a_wide_bracket():
    model, (x, y) = conv_net(), data()
    exact = supervision_complexity(Task(model), x, one_hot(y), ridge=1e-3)
    report = supervision_complexity(Task(model), x, one_hot(y), ridge=1e-3, solver="lanczos", tol=0.0, max_iter=3)
    assert report.iterations <= 3 and report.lower <= exact.quad <= report.upper > 1.001 * report.lower


@pytest.fixture(scope="module")
def orders():
    """Section 6 of the specification: digits, a student at initialisation, a teacher along its training."""
    X, true = load_digits(return_X_y=True)
    rng = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(X), generator=rng)
    X, true = torch.from_numpy(X).double()[rows] / 16, torch.from_numpy(true).long()[rows]
    wrong = torch.rand(300, generator=rng) < 0.2
    noisy = torch.where(wrong, (true[:300] + torch.randint(1, 10, (300,), generator=rng)) % 10, true[:300])
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)).double().eval()
    teacher = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)).double()
    optimizer = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    targets = {"clean": F.one_hot(true[:100], 10).double(), "noisy": F.one_hot(noisy[:100], 10).double()}
    for epoch in range(1, 56):
        for batch in torch.randperm(300, generator=rng).split(50):
            optimizer.zero_grad()
            F.cross_entropy(teacher(X[batch]), noisy[batch]).backward()
            optimizer.step()
        if epoch in (5, 55):
            with torch.no_grad():
                targets |= {f"{epoch}, tau {tau}": (teacher(X[:100]) / tau).softmax(1) for tau in (1, 4)}
    return supervision_complexity(Task(student), X[:100], targets, f0="zero", ridge=[0.01, 1.0])


@pytest.mark.parametrize("measure", ["complexity", "unit_adjusted"])
@pytest.mark.parametrize(
    ("larger", "smaller"),
    [("55, tau 1", "5, tau 1"), ("55, tau 4", "5, tau 4"), ("55, tau 1", "55, tau 4"), ("noisy", "55, tau 1"),
     ("noisy", "clean")],
)  # fmt: skip
def test_order_relations(orders, measure, larger, smaller):
    """It rises along the teacher's training and falls with temperature; soft below hard, clean below noisy."""
    assert (getattr(orders[larger], measure) > 1.05 * getattr(orders[smaller], measure)).all()


BAD = {
    "sum": ({"targets": 2 * one_hot(data()[1])}, DataError, "rows of targets must sum to 1 .* got 2 at sample 0"),
    "classes": ({"targets": one_hot(data()[1], 4)}, ShapeError, r"targets must be \[N, C\] = \[9, 3\].* got \[9, 4\]"),
    "samples": ({"targets": one_hot(data(8)[1])}, ShapeError, r"= \[9, 3\].* got \[8, 3\]"),
    "f0": ({"f0": "teacher"}, ConfigError, "f0 must be one of 'student', 'zero'; got 'teacher'"),
    "f0 shape": ({"f0": torch.zeros(9, 2)}, ShapeError, r"f0 must be \[N, C\] = \[9, 3\]; got \[9, 2\]"),
    "f0 nan": ({"f0": torch.full((9, 3), math.nan)}, DataError, "'f0'.* must be finite"),
    "tau": ({"tau": 0.0}, ConfigError, "tau must be above 0 and finite; got 0.0"),
    "output": ({"output": "prob"}, ConfigError, "output must be one of 'logits', 'probs'"),
    "kernel": ({"kernel": "mean"}, ConfigError, "kernel must be one of 'full', 'avg'"),
    "no ridge": ({"ridge": None}, ConfigError, "exactly one of ridge and ridge_rel must be given; got none"),
    "two ridges": ({"ridge_rel": 1.0}, ConfigError, "exactly one of ridge and ridge_rel must be given; got both"),
    "task": ({"task": nn.Linear(2, 2)}, ConfigError, "task must be a Task; got Linear"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    changes, kind, words = BAD[name]
    x, y = data()
    options = {"task": Task(conv_net()), "targets": one_hot(y), "ridge": 1.0} | changes
    with pytest.raises(kind, match=f"supervision_complexity: .*{words}"):
        supervision_complexity(options.pop("task"), (x, y), options.pop("targets"), **options)


def test_no_probabilities_of_one_output():
    task = Task(nn.Linear(2, 1).double().eval(), loss="mse")
    x, P = torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    with pytest.raises(ConfigError, match='f0="student" needs one logit for each of two classes'):
        supervision_complexity(task, x, P, ridge=1.0)
    assert supervision_complexity(task, x, P, f0="zero", ridge=1.0).quad == pytest.approx(2 / 4)
    with pytest.raises(DataError, match="data must hold at least one sample"):
        supervision_complexity(task, x[:0], P, f0="zero", ridge=1.0)
    with pytest.raises(DataError, match="x must be finite; got nan"):
        supervision_complexity(task, x * math.nan, P, f0="zero", ridge=1.0)


def test_a_kernel_beyond_the_budget_is_known_by_its_products(monkeypatch):
    monkeypatch.setattr("infotorch.measures.supervision.solve.LARGEST", 26)
    monkeypatch.setattr("infotorch.measures.supervision.of_task.LARGEST", 26)
    x, y = data()
    task = Task(conv_net())
    assert supervision_complexity(task, x, one_hot(y), ridge=1.0).solver == "lanczos"
    with pytest.raises(ConfigError, match=r"at most N\*C = 26 rows; got 27. Pass solver='lanczos'"):
        supervision_complexity(task, x, one_hot(y), ridge=1.0, solver="cholesky")
    with pytest.raises(ConfigError, match=r"output='probs' forms a kernel of at most N\*C = 26 rows; got 27"):
        supervision_complexity(task, x, one_hot(y), ridge=1.0, output="probs", kernel="avg")


def test_a_mean_kernel_that_is_too_large_is_not_formed(monkeypatch):
    monkeypatch.setattr("infotorch.measures.supervision.of_task.LARGEST_MEAN", 8)
    x, y = data()
    with pytest.raises(ConfigError, match=r"kernel='avg' forms a kernel of at most N = 8 samples; got 9. Pass kernel="):
        supervision_complexity(Task(conv_net()), x, one_hot(y), ridge=1.0, kernel="avg", solver="lanczos")
