"""Retraining, goldens and the dual form for the change; a weighted training's differences for its first order."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.meter import Cpu
from infotorch import errors
from infotorch.measures import leave_out
from infotorch.measures.from_kernel import unique_information_from_kernel, unique_information_from_shared_kernel
from infotorch.measures.primal.attribution import attribution_bytes
from infotorch.measures.primal.attribution import attribution_from_features as attribution
from tests.laws import assert_golden, assert_same
from tests.measures.golden import kernel, load
from tests.measures.retraining import descent, each_alone, flow, make_problem, retrain

INF = math.inf


def of(problem):
    return problem.J, problem.r, problem.J_test


def trainings(problem, ridge):
    """(train, options with the sample, options without)."""
    lr = 0.7 / (float(torch.linalg.matrix_norm(problem.K, 2)) + ridge)
    yield flow, {"ridge": ridge, "time": 3.0}, {"ridge": ridge * 0.9, "time": 3.5}
    yield descent, {"ridge": ridge, "lr": lr, "steps": 7}, {"ridge": 0.9 * ridge, "lr": 1.2 * lr, "steps": 7}
    yield descent, {"ridge": ridge, "lr": lr, "steps": 40}, {"ridge": ridge, "lr": lr, "steps": 40}
    if ridge:
        yield flow, {"ridge": ridge, "time": INF}, {"ridge": ridge, "time": INF}
        yield flow, {"ridge": ridge, "time": INF}, {"ridge": ridge * 0.9, "time": INF}


def asked(full, without):
    return full | {f"{name}_without": value for name, value in without.items() if name != "steps"}


def slope(problem, i, train, options, h=1e-3):
    """Derivative of the trained weights in a weight on sample i's loss, by differences of fourth order."""

    def trained(w):
        root = torch.ones(len(problem.r), 1, dtype=torch.float64)
        root[i] = w**0.5
        return train(problem.J * root[:, None], problem.r * root, **options)

    near, far = (trained(1 + step) - trained(1 - step) for step in (h, 2 * h))
    return (8 * near - far) / (12 * h)


@settings(max_examples=30, deadline=None)
@given(
    N=st.integers(2, 8), C=st.integers(1, 3), k=st.integers(1, 25), M=st.integers(1, 30),
    ridge=st.sampled_from([0.0, 0.3]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_leave_one_out_equals_retraining(N, C, k, M, ridge, seed):
    problem = make_problem(N, C, k, M, torch.Generator().manual_seed(seed))
    for train, full, without in trainings(problem, ridge):
        truth = retrain(problem, each_alone(N), train, full, without)
        assert_same(attribution(*of(problem), **asked(full, without)), truth.change_test)


@settings(max_examples=20, deadline=None)
@given(
    N=st.integers(2, 6), C=st.integers(1, 3), k=st.integers(1, 12), ridge=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_influence_is_the_first_order_of_a_weight(N, C, k, ridge, seed):
    """At the options without the sample, whose own difference counts in full."""
    problem = make_problem(N, C, k, 5, torch.Generator().manual_seed(seed))
    for train, full, without in trainings(problem, ridge):
        got = attribution(*of(problem), kind="influence", **asked(full, without))
        moved = train(problem.J, problem.r, **without) - train(problem.J, problem.r, **full)
        truth = [problem.J_test @ (moved - slope(problem, i, train, without)) for i in range(N)]
        error, size = (got - torch.stack(truth)).norm(), torch.stack(truth).norm()
        rounding = 1e-11 * (problem.J_test @ train(problem.J, problem.r, **without)).norm()  # of the differences
        assert error <= 1e-7 * size + rounding


@settings(max_examples=20, deadline=None)
@given(N=st.integers(2, 6), C=st.integers(1, 3), k=st.integers(1, 12), steps=st.sampled_from([0, 1, 9, 15, 16, 60]))
def test_influence_of_descent_is_its_derivative(N, C, k, steps):
    """By autograd through the steps, which loses no digits."""
    problem = make_problem(N, C, k, 5, torch.Generator().manual_seed(steps))
    options = {"ridge": 0.1, "lr": 0.5 / (float(torch.linalg.matrix_norm(problem.K, 2)) + 0.1), "steps": steps}

    def outputs(weights):
        root = weights.sqrt()[:, None]
        return problem.J_test @ descent(problem.J * root[..., None], problem.r * root, **options)

    slopes = torch.autograd.functional.jacobian(outputs, torch.ones(N).double())  # [M, C, N]
    assert_golden(attribution(*of(problem), kind="influence", **options), -slopes.permute(2, 0, 1), atol=1e-10)


def test_influence_at_convergence_is_its_closed_form(rng):
    """-phi_test A^-1 phi_i^T e_i; with one output, the change itself times one minus the leverage."""
    problem = make_problem(12, 1, 7, 5, rng)
    J, r = problem.J[:, 0], problem.r
    A = J.mT @ J + 0.2 * torch.eye(7).double()
    e = r - J @ torch.linalg.solve(A, J.mT @ r)  # [N, 1]
    want = -(e * J) @ torch.linalg.solve(A, problem.J_test[:, 0].mT)  # [N, M]
    influence = attribution(*of(problem), kind="influence", ridge=0.2)
    assert_same(influence[..., 0], want)
    leverage = (J * torch.linalg.solve(A, J.mT).mT).sum(1)
    change = attribution(*of(problem), ridge=0.2)
    assert_same(change * (1 - leverage)[:, None, None], influence)


@pytest.mark.parametrize("ridge, time", [(0.0, 4.0), (0.1, INF)])
def test_influence_of_a_faint_sample_is_the_change(ridge, time, rng):
    """What is left between them falls with the square of its features, that is, relative to both."""
    problem = make_problem(8, 2, 9, 4, rng)
    apart = []
    for scale in (1e-2, 1e-3):
        problem.J[0] *= scale / problem.J[0].norm()
        change, influence = (
            attribution(*of(problem), kind=kind, ridge=ridge, time=time)[0] for kind in ("leave_one_out", "influence")
        )
        apart.append((change - influence).norm() / change.norm())
    assert apart[0] < 1e-4 and 0.9e-2 < apart[1] / apart[0] < 1.1e-2


@pytest.mark.parametrize("place", range(3))
def test_golden_sketch(place):
    case = load("k_sketched_primal")
    without = {"ridge_without": case["lam_loo"], "time_without": case["tau_loo"][place]}
    features, tests = case["J"] @ case["S"], case["J_test"] @ case["S"]
    got = attribution(features, case["r"], tests, ridge=case["lam"], time=case["tau"][place], **without)
    assert_golden(got, case["delta_f_test"][place])


def test_equals_the_dual_form(rng):
    problem = make_problem(12, 3, 10, 40, rng)
    for options in ({"ridge": 0.1, "time": 2.0}, {"ridge": 0.1, "ridge_without": 0.2}):
        want = unique_information_from_kernel(problem.K, problem.r, problem.K_test, return_changes=True, **options)
        assert_same(attribution(*of(problem), **options), want.change_test[0])
    shared = attribution(problem.J[:, 0], problem.r, problem.J_test[:, 0], time=2.0)
    G, G_test = kernel(problem.J[:, :1]), kernel(problem.J[:, :1], problem.J_test[:, :1])
    want = unique_information_from_shared_kernel(G, problem.r, G_test, time=2.0, return_changes=True)
    assert_same(shared, want.change_test[0])


@pytest.mark.parametrize("kind", ["leave_one_out", "influence"])
@pytest.mark.parametrize("k", [4, 30])
def test_samples_taken_one_by_one_are_the_same(kind, k, rng, monkeypatch):
    """Few features, and one sample in a tile with more rows than these pay for."""
    problem = make_problem(6, 3, k, 4, rng)
    want = [attribution(*of(problem), kind=kind, ridge=0.1, **time) for time in ({}, {"lr": 0.1, "steps": 5})]
    monkeypatch.setattr(leave_out, "TILE_BYTES", 1)
    got = [attribution(*of(problem), kind=kind, ridge=0.1, **time) for time in ({}, {"lr": 0.1, "steps": 5})]
    assert_same(torch.stack(got), torch.stack(want))


@pytest.mark.parametrize("kind", ["leave_one_out", "influence"])
def test_no_training_moves_nothing(kind, rng):
    assert (attribution(*of(make_problem(4, 2, 5, 3, rng)), kind=kind, time=0.0) == 0).all()


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"kind": "trak"}, errors.ConfigError, "attribution: kind must be one of 'leave_one_out', 'influence'; got"),
        ({"time": [1.0, 2.0]}, errors.ConfigError, "attribution: there must be one time; got 2. Call once for each"),
        ({"ridge": -1.0}, errors.ConfigError, "ridge must be finite and at least 0; got -1.0"),
        ({"nodes": 5}, errors.ConfigError, "nodes must be even and from 16 to 64; got 5"),
        ({"lr": 0.1}, errors.ConfigError, "lr needs steps"),
        ({"lr": 1e3, "steps": 5}, errors.NumericsError, "for descent to converge"),
        ({"ridge": 0.0}, errors.NumericsError, "samples must span all directions of the features; got rank 4 of 5"),
        ({"residual": torch.ones(3, 1)}, errors.ShapeError, r"attribution: residual must be \[N, C\] for features"),
        ({"features_test": torch.ones(3, 1, 6)}, errors.ShapeError, r"attribution: features_test must be \['M', 1, 5"),
        ({"features_test": torch.full((3, 1, 5), INF)}, errors.DataError, "features_test must be finite; got inf in s"),
        ({"features": torch.ones(4, 1, 5).long()}, errors.DataError, "features must be float32 or float64; got int64"),
    ],
)
def test_bad_input_is_refused(changes, error, message, rng):
    problem = make_problem(4, 1, 5, 2, rng)
    given_ = {"features": problem.J, "residual": problem.r, "features_test": problem.J_test, "ridge": 1.0}
    with pytest.raises(error, match=message):
        attribution(**given_ | changes)


@pytest.mark.parametrize("k", [8, 256])
def test_memory_is_what_is_said(k, rng):
    """Beside the result: a tile and its squares, and at most 192 MiB of working rows, whatever the number of tests."""
    N, M, C = 400, 2000, 5
    J, r, J_test = (torch.randn(*shape, generator=rng) for shape in ((N, C, k), (N, C), (M, C, k)))
    extra = min(Cpu().extra_memory(lambda: (attribution(J, r, J_test, ridge=1.0),)) for _ in range(2))
    said = attribution_bytes(N, M, C, k, C) - 8 * N * M * C
    assert extra <= said + (192 << 20), f"{extra / 2**20:.0f} MiB of {said / 2**20:.0f}"


def test_lost_digits_are_refused(rng):
    """Without a ridge a long flow sees the rounding of the moments."""
    problem = make_problem(6, 1, 6, 2, rng)
    J = problem.J @ torch.diag(torch.logspace(0, -7, 6, dtype=torch.float64))
    with pytest.raises(errors.NumericsError, match=r"for sample \d\. Give ridge > 0, a shorter time\.$"):
        attribution(J, problem.r, problem.J_test, time=1e13)
