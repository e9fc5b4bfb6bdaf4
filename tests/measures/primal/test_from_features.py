"""Goldens, brute-force retraining and the dual form, of which this is another road to the same numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.meter import Cpu
from infotorch import errors
from infotorch.measures.from_kernel import unique_information_from_kernel, unique_information_from_shared_kernel
from infotorch.measures.primal.from_features import unique_information_from_features as information
from tests.laws import assert_golden, assert_same
from tests.measures.golden import kernel, load
from tests.measures.retraining import Problem, descent, each_alone, flow, make_problem, retrain
from tests.measures.test_from_kernel import assert_case, options

INF = math.inf


def of(case):
    return case["J"], case["r"], case["J_test"]


@pytest.mark.parametrize("name", ["a_linreg_p_lt_n", "b_mlp_digits49", "c_mlp_c3"])
@pytest.mark.parametrize("first", [0, 1], ids=["all times", "finite"])
def test_golden_networks(name, first):
    """Linear regression with 5 directions and 24 samples has its limit here, which the kernel refuses."""
    case = load(name)
    times = slice(first, None)
    if name != "a_linreg_p_lt_n" and first == 0 and case["lam"] == 0:
        with pytest.raises(errors.NumericsError, match="span all directions"):
            information(*of(case), **options(case, times=times))
        return
    assert_case(case, information(*of(case), **options(case, times=times)), times)


@pytest.mark.parametrize("convention", ["sum_", "mean_", "reference_"])
def test_golden_conventions(convention):
    case = load("d_ridge_conventions")
    assert_case(case, information(*of(case), **options(case, convention)), prefix=convention)


@pytest.mark.parametrize("name", ["f_discrete_l2_zero", "f_discrete_l2_pos"])
def test_golden_gradient_descent(name):
    case = load(name)
    training = {"lr": case["eta"], "lr_without": case["eta_loo"], "steps": case["steps"]}
    training |= {"ridge": case["lam"], "ridge_without": case["lam_loo"]}
    assert_case(case, information(*of(case), **training, return_changes=True))


def test_golden_groups():
    case = load("g_groups")
    N, kept = case["member"].shape[1], (~case["member"]).sum(1).double()
    asked = {"ridge": 0.2, "time": case["tau"], "groups": case["member"]}
    assert_case(case, information(*of(case), **asked, return_changes=True))
    mean = {"ridge_without": 0.2 * kept / N, "time_without": case["tau"][:, None] * N / kept}
    assert_case(case, information(*of(case), **asked, **mean), prefix="mean_")


def test_golden_conditioning():
    case = load("g_groups")
    removed = torch.zeros(14, dtype=torch.bool)
    removed[case["removed_first"]] = True
    result = information(*of(case), ridge=0.2, time=case["tau"], removed=removed)
    assert_golden(result.weights[:, case["conditional_index"]], case["conditional_si_weight"])
    assert_golden(result.functions[:, case["conditional_index"]], case["conditional_si_function"])
    assert (result.weights[:, removed] == 0).all()


def test_golden_sketch():
    case = load("k_sketched_primal")
    result = information(case["J"] @ case["S"], case["r"], case["J_test"] @ case["S"], **options(case))
    assert_case(case, result)


def test_golden_last_layer():
    """Features [N, k] that all outputs share, one of them always 1."""
    case = load("j_last_layer")
    a, a_test = (torch.nn.functional.pad(case[key], (0, 1), value=1.0) for key in ("a", "a_test"))
    assert_case(case, information(a, case["r"], a_test, **options(case)))


def test_golden_duplicates():
    case = load("l_duplicates")
    finite = slice(1, None)
    assert_case(case, information(*of(case), **options(case, times=finite)), finite)


@settings(max_examples=40, deadline=None)
@given(
    N=st.integers(2, 9), C=st.integers(1, 3), k=st.integers(1, 30), M=st.integers(1, 12),
    ridge=st.sampled_from([0.0, 0.3]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_equals_retraining(N, C, k, M, ridge, seed):
    problem = make_problem(N, C, k, M, torch.Generator().manual_seed(seed))
    data = (problem.J, problem.r, problem.J_test)
    lr = 0.8 / (float(torch.linalg.matrix_norm(problem.K, 2)) + ridge)
    trainings = [
        (flow, {"ridge": ridge, "time": 3.0}, {"ridge": ridge * 0.9, "time": 3.5}),
        (descent, {"ridge": ridge, "lr": lr, "steps": 7}, {"ridge": ridge, "lr": 1.2 * lr, "steps": 7}),
        (descent, {"ridge": ridge, "lr": lr, "steps": 40}, {"ridge": ridge, "lr": lr, "steps": 40}),
    ]
    trainings += [(flow, {"ridge": 0.3, "time": INF}, {"ridge": 0.3, "time": INF})] if ridge else []
    for train, full, without in trainings:
        truth = retrain(problem, each_alone(N), train, full, without)
        given_ = full | {f"{name}_without": value for name, value in without.items() if name != "steps"}
        got = information(*data, **given_, return_changes=True)
        assert_golden(got.weights[0], truth.weights)
        assert_golden(got.functions[0], truth.functions)
        assert_golden(got.change_test[0].flatten(1), truth.change_test.flatten(1))
        assert_golden(got.own_prediction[0].flatten(), torch.stack(truth.own)[:, 0].flatten())


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, 40), size=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_groups_equal_retraining_whatever_their_size(k, size, seed):
    """From one sample to all but one: blocks where few rows leave, the others' own moments where many do."""
    rng = torch.Generator().manual_seed(seed)
    problem = make_problem(8, 2, k, 3, rng)
    sets = [torch.randperm(8, generator=rng)[:size].tolist() for _ in range(2)]
    groups = torch.stack([torch.isin(torch.arange(8), torch.tensor(s)) for s in sets])
    for full in ({"ridge": 0.2, "time": INF}, {"ridge": 0.0, "time": 2.0}):
        truth = retrain(problem, sets, flow, full, full)
        got = information(problem.J, problem.r, problem.J_test, **full, groups=groups)
        assert_golden(got.weights[0], truth.weights)
        assert_golden(got.functions[0], truth.functions)


def test_a_group_that_leaves_little_behind(rng):
    """What is subtracted is 1e9 times what is left."""
    problem = make_problem(20, 1, 6, 2, rng)
    J = problem.J.clone()
    J[:4] *= 1e-5
    groups = (torch.arange(20) >= 4)[None]
    got = information(J, problem.r, ridge=0.1, groups=groups)
    assert_golden(
        got.weights[0],
        retrain(
            Problem(J=J, r=problem.r, J_test=problem.J_test),
            [list(range(4, 20))],
            flow,
            {"ridge": 0.1, "time": INF},
            {"ridge": 0.1, "time": INF},
        ).weights,
    )
    with pytest.raises(errors.NumericsError, match="those who stay must span all directions"):
        information(problem.J, problem.r, groups=groups)


def test_equals_the_dual_form_with_more_tests_than_features(rng):
    """Then test features are read through their second moment alone."""
    problem = make_problem(12, 3, 10, 40, rng)
    got = information(problem.J, problem.r, problem.J_test, ridge=0.1, time=[2.0, INF])
    want = unique_information_from_kernel(problem.K, problem.r, problem.K_test, ridge=0.1, time=[2.0, INF])
    assert_same(got.functions, want.functions)
    assert got.change_test is None
    shared = information(problem.J[:, 0], problem.r, problem.J_test[:, 0], ridge=0.1, time=2.0)
    G, G_test = kernel(problem.J[:, :1]), kernel(problem.J[:, :1], problem.J_test[:, :1])
    want = unique_information_from_shared_kernel(G, problem.r, G_test, ridge=0.1, time=2.0)
    assert_same(shared.functions, want.functions)
    assert_same(shared.weights, want.weights)


def test_sigma_scales_and_an_orthogonal_map_of_the_features_does_nothing(rng):
    problem = make_problem(10, 2, 30, 5, rng)
    one = information(problem.J, problem.r, problem.J_test, time=4.0)
    wide = information(problem.J, problem.r, problem.J_test, time=4.0, sigma=2.0)
    assert_same(wide.weights * 4, one.weights)
    Q = torch.linalg.qr(torch.randn(30, 30, generator=rng).double()).Q
    turned = information(problem.J @ Q, problem.r, problem.J_test @ Q, time=4.0)
    assert_golden(turned.weights, one.weights, rtol=1e-10)
    assert_golden(turned.functions, one.functions, rtol=1e-10)


def test_float32_features_are_taken_as_exact(rng):
    problem = make_problem(10, 2, 12, 5, rng)
    J, J_test = problem.J.float(), problem.J_test.float()
    got = information(J, problem.r, J_test, ridge=0.1)
    want = information(J.double(), problem.r, J_test.double(), ridge=0.1)
    assert_same(got.weights, want.weights)
    assert got.weights.dtype == torch.float64


def test_long_flows_are_flagged_before_their_digits_are_gone(rng):
    """Without a ridge the moments' eigenvalues are the squares: a flow of 1e13 sees their rounding."""
    problem = make_problem(6, 1, 6, 1, rng)
    J = problem.J @ torch.diag(torch.logspace(0, -7, 6, dtype=torch.float64))
    truth = unique_information_from_kernel(kernel(J), problem.r, time=10.0)
    assert_same(information(J, problem.r, time=10.0).weights, truth.weights)
    with pytest.raises(errors.NumericsError, match="estimated relative error"):
        information(J, problem.r, time=1e14)
    assert not information(J, problem.r, time=1e14, on_unreliable="flag").reliable.all()


def test_features_in_a_file_are_read_some_at_a_time(tmp_path):
    """128 MiB of features; the moments and a tile of samples are all that is held."""
    features = np.random.default_rng(0).standard_normal((4096, 8, 1024), dtype=np.float32)
    np.save(tmp_path / "features.npy", features)
    residual = features[:, :, :1].mean(2)
    del features
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    extra = []
    while len(extra) < 2 and min(extra, default=1 << 62) > 500 << 20:
        extra.append(Cpu().extra_memory(lambda: (information(mapped, residual, ridge=100.0).weights,)))
    assert min(extra) <= 500 << 20, f"{min(extra) / 2**20:.0f} MiB"


@pytest.mark.parametrize(
    "features, residual, tests, options, error, text",
    [
        ((4, 2, 3), (4, 2), None, {}, errors.NumericsError, "rank 2 of 3"),
        ((4, 2, 3), (4, 3), None, {"ridge": 1.0}, errors.ShapeError, r"residual must be \[N, C\]"),
        ((4, 2, 3), (5, 2), None, {"ridge": 1.0}, errors.ShapeError, r"got \[5, 2\] and \[4, 2, 3\]"),
        ((4,), (4, 2), None, {"ridge": 1.0}, errors.ShapeError, r"features must be \[N, C, k\]"),
        ((4, 2, 0), (4, 2), None, {"ridge": 1.0}, errors.ShapeError, "k numbers for every sample"),
        ((1, 2, 3), (1, 2), None, {"ridge": 1.0}, errors.DataError, "at least 2 samples"),
        ((4, 2, 3), (4, 2), (5, 2, 4), {"ridge": 1.0}, errors.ShapeError, "Sketch both with one seed"),
        ((4, 2, 3), (4, 2), None, {"ridge": -1.0}, errors.ConfigError, "ridge must be"),
        ((4, 2, 3), (4, 2), None, {"ridge": 1.0, "return_changes": True}, errors.ConfigError, "return_changes needs"),
        ((4, 2, 3), (4, 2), None, {"lr": 1e3, "steps": 5}, errors.NumericsError, "for descent to converge"),
    ],
)
def test_refusals(features, residual, tests, options, error, text, rng):
    J, r = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in (features, residual))
    if text.startswith("rank"):
        J[:, :, 2] = J[:, :, 1]
    J_test = None if tests is None else torch.randn(*tests, generator=rng, dtype=torch.float64)
    with pytest.raises(error, match=text):
        information(J, r, J_test, **options)


@pytest.mark.parametrize("name", ["features", "residual", "features_test"])
def test_values_that_are_not_finite_are_named(name, rng):
    data = {"features": (5, 2, 3), "residual": (5, 2), "features_test": (5, 2, 3)}
    given_ = {key: torch.randn(*shape, generator=rng) for key, shape in data.items()}
    given_[name][3].flatten()[1] = math.nan
    with pytest.raises(errors.DataError, match=f"{name} must be finite; got nan in sample 3"):
        information(**given_, ridge=1.0)


def test_wrong_dtypes_are_named(rng):
    with pytest.raises(errors.DataError, match="features must be float32 or float64; got int64"):
        information(torch.ones(4, 2, 3, dtype=torch.int64), torch.ones(4, 2), ridge=1.0)
