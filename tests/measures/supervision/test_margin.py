"""The margin bound: goldens, its two forms by hand, what makes it a bound, and every refusal."""

import dataclasses
import math

import pytest
import torch

from infotorch import complexity_from_kernel, margin_bound
from infotorch.errors import ConfigError, DataError, ShapeError
from tests.measures.supervision.golden import sets


def fit_of(K, r, ridge):
    A = K + ridge * torch.eye(len(K), dtype=torch.float64)
    return (K @ torch.linalg.solve(A, r.flatten())).view(r.shape)


@pytest.mark.parametrize("place", range(2))
@pytest.mark.parametrize("form", ["paper", "safe"])
def test_golden_terms(place, form):
    own, known = sets()[place]
    labels = own["Y"].argmax(1)
    for want in known["margin_bounds"]:
        r = own[f"target_{want['target']}"]
        report = complexity_from_kernel(own["K"], r, ridge=want["ridge"])
        fit = fit_of(own["K"], r, want["ridge"])
        found = margin_bound(report, fit, labels, gamma=want["gamma"], delta=want["delta"], form=form)
        assert found.empirical_margin == want["empirical_margin"]
        assert found.complexity_term == pytest.approx(want[f"complexity_term_{form}"], rel=1e-9)
        assert found.confidence_term == pytest.approx(want[f"confidence_term_{form}"], rel=1e-12)
        assert found.value == pytest.approx(sum(found.parts.values()), rel=1e-14)
        assert report.norm == pytest.approx(want["norm"], rel=1e-9) and found.vacuous


def binary(n=8, seed=0):
    rng = torch.Generator().manual_seed(seed)
    J = torch.randn(n, 20, dtype=torch.float64, generator=rng)
    y = torch.randint(2, (n,), generator=rng) * 2 - 1
    return J @ J.mT, y


def test_the_binary_form_by_hand():
    K, y = binary()
    report = complexity_from_kernel(K, y.double(), ridge=0.5)
    f = fit_of(K, y.double(), 0.5)
    n, trace, gamma, delta = 8, float(K.trace()), 0.95, 0.1
    a = torch.linalg.solve(K + 0.5 * torch.eye(8, dtype=torch.float64), y.double())
    B = max(1, math.ceil(math.sqrt(float(a @ K @ a))))
    margin = float((y * f <= gamma).double().mean())
    safe = margin_bound(report, f, y, gamma=gamma, delta=delta)
    assert safe.complexity_term == pytest.approx(2 * B * math.sqrt(trace) / (gamma * n))
    assert safe.confidence_term == pytest.approx(3 * math.sqrt(math.log(2 * B * (B + 1) / delta) / (2 * n)))
    assert safe.empirical_margin == margin and 0 < margin < 1
    paper = margin_bound(report, f, y, gamma=gamma, delta=delta, form="paper")
    root = math.sqrt(float(y.double() @ a))
    M0 = max(1, math.ceil(gamma * math.sqrt(n) / (2 * math.sqrt(float(K.diagonal().max())))))
    assert paper.complexity_term == pytest.approx((2 * root + 2) * math.sqrt(trace) / (gamma * n))
    assert paper.confidence_term == pytest.approx(3 * math.sqrt(math.log(2 * M0 / delta) / (2 * n)))


def test_the_papers_union_counts_more_radii_where_gamma_is_large():
    K, y = binary()
    report = complexity_from_kernel(1e-4 * K, y.double(), ridge=0.5)
    small, large = (margin_bound(report, y.double(), y, gamma=g, form="paper") for g in (1e-6, 1.0))
    assert large.confidence_term > small.confidence_term
    assert small.confidence_term == pytest.approx(3 * math.sqrt(math.log(2 / 0.05) / 16))


def test_it_is_a_bound_only_of_a_kernel_that_was_fixed():
    K, y = binary()
    report = complexity_from_kernel(K, y.double(), ridge=0.5)
    found = margin_bound(report, y.double(), y, gamma=0.5)
    assert found.kind == "bound" and str(found).endswith("(bound, vacuous)")
    trained = dataclasses.replace(report, fixed_kernel=False)
    found = margin_bound(trained, y.double(), y, gamma=0.5)
    assert found.kind == "diagnostic" and "(diagnostic, not a bound, vacuous)" in str(found)


def test_the_papers_form_needs_a_trace_of_n_times_the_diagonal():
    K, y = binary()
    report = complexity_from_kernel(K, y.double(), ridge=0.5)
    assert margin_bound(report, y.double(), y, gamma=0.5, form="paper").kind == "diagnostic"
    root = K.diagonal().rsqrt()
    flat = complexity_from_kernel(root[:, None] * K * root, y.double(), ridge=0.5)
    assert margin_bound(flat, y.double(), y, gamma=0.5, form="paper").kind == "bound"


def test_a_bracket_gives_no_smaller_bound():
    K, y = binary()
    exact = complexity_from_kernel(K, y.double(), ridge=0.5)
    bracket = complexity_from_kernel(K, y.double(), ridge=0.5, solver="lanczos", tol=0.5)
    for form in ("safe", "paper"):
        one, other = (margin_bound(each, y.double(), y, gamma=0.5, form=form) for each in (exact, bracket))
        assert other.value >= one.value


def test_the_error_on_fresh_samples_is_below_the_bound():
    """Large n, wide margin: the bound says something, and it holds."""
    rng = torch.Generator().manual_seed(0)
    n = 4000
    y, fresh = (torch.randint(2, (n,), generator=rng) * 2 - 1 for _ in range(2))
    x, new = (
        each.double()[:, None] + 0.1 * torch.randn(n, 1, dtype=torch.float64, generator=rng) for each in (y, fresh)
    )
    w = float((x[:, 0] @ y.double()) / (x[:, 0] @ x[:, 0] + 1.0))
    report = complexity_from_kernel(x @ x.mT, y.double(), ridge=1.0)
    found = margin_bound(report, w * x[:, 0], y, gamma=0.5)
    assert found.kind == "bound" and not found.vacuous
    assert float((fresh * w * new[:, 0] <= 0).double().mean()) <= found.value < 0.3


K3, Y3 = binary(3)
R3 = complexity_from_kernel(K3, Y3.double(), ridge=1.0)
C3 = complexity_from_kernel(torch.eye(6, dtype=torch.float64), torch.eye(3, 2, dtype=torch.float64), ridge=1.0)
SEVERAL = complexity_from_kernel(K3, Y3.double(), ridge=[1.0, 2.0])
NAMED = complexity_from_kernel(K3, {"a": Y3.double()}, ridge=1.0)
BAD = {
    "gamma": ((R3, Y3.double(), Y3), {"gamma": 0.0}, ConfigError, "gamma must be above 0 and finite; got 0.0"),
    "delta": ((R3, Y3.double(), Y3), {"gamma": 1.0, "delta": 1.0}, ConfigError, "must be between 0 and 1; got 1.0"),
    "word": ((R3, Y3.double(), Y3), {"gamma": "a"}, ConfigError, "gamma must be above 0 and finite; got 'a'"),
    "word for delta": ((R3, Y3.double(), Y3), {"gamma": 1.0, "delta": "a"}, ConfigError, "between 0 and 1; got 'a'"),
    "truths": ((R3, Y3.double(), Y3 > 0), {"gamma": 1.0}, DataError, "must be 1 and -1"),
    "form": ((R3, Y3.double(), Y3), {"gamma": 1.0, "form": "papers"}, ConfigError, "Did you mean 'paper'"),
    "ridges": ((SEVERAL, Y3.double(), Y3), {"gamma": 1.0}, ConfigError, "one set of targets and one ridge"),
    "targets": ((NAMED, Y3.double(), Y3), {"gamma": 1.0}, ConfigError, "got ComplexityReports. Pass reports"),
    "f_fit": ((R3, Y3.double()[:2], Y3), {"gamma": 1.0}, ShapeError, r"f_fit must be \[3\] and labels \[3\]"),
    "one column": ((C3, Y3.double(), Y3), {"gamma": 1.0}, ShapeError, r"f_fit must be \[3, 2\]"),
    "nan": ((R3, Y3 * math.nan, Y3), {"gamma": 1.0}, DataError, "f_fit must be finite"),
    "signs": ((R3, Y3.double(), torch.tensor([0, 1, 1])), {"gamma": 1.0}, DataError, "must be 1 and -1"),
    "classes": ((C3, torch.eye(3, 2), torch.tensor([0, 1, 2])), {"gamma": 1.0}, DataError, "integers in 0..1"),
    "floats": ((C3, torch.eye(3, 2), torch.tensor([0.0, 1.0, 0.0])), {"gamma": 1.0}, DataError, "integers in 0..1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    given, options, kind, words = BAD[name]
    with pytest.raises(kind, match=f"margin_bound: .*{words}"):
        margin_bound(*given, **options)
