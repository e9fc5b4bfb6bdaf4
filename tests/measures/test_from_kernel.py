"""Goldens and brute-force retraining."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infotorch.measures.from_kernel import unique_information_from_kernel as information
from infotorch.measures.from_kernel import unique_information_from_shared_kernel
from tests.laws import assert_golden, assert_same_bits
from tests.measures.golden import kernel, load
from tests.measures.retraining import descent, each_alone, flow, make_problem, retrain

INF = math.inf


def assert_case(case, result, times=slice(None), prefix="", rtol=1e-9):
    assert_golden(result.weights, case[f"{prefix}si_weight"][times], rtol=rtol)
    assert_golden(result.functions, case[f"{prefix}si_function"][times], rtol=rtol)
    if f"{prefix}loo_f_own" in case:
        assert_golden(result.own_prediction.flatten(1), case[f"{prefix}loo_f_own"][times].flatten(1), rtol=rtol)
    if f"{prefix}delta_f_test" in case and result.change_test is not None:
        assert_golden(result.change_test.flatten(1), case[f"{prefix}delta_f_test"][times].flatten(1), rtol=rtol)
    assert result.reliable.all()


def options(case, prefix="", times=slice(None)):
    return {
        "ridge": case["lam"],
        "ridge_without": case[f"{prefix}lam_loo"],
        "time": case["tau"][times],
        "time_without": case[f"{prefix}tau_loo"][times],
        "return_changes": True,
    }


@pytest.mark.parametrize("name", ["b_mlp_digits49", "c_mlp_c3"])
@pytest.mark.parametrize("times", [slice(None), slice(0, 1)], ids=["all times", "infinite"])
def test_golden_networks(name, times):
    case = load(name)
    assert_case(case, information(case["K"], case["r"], case["K_test"], **options(case, times=times)), times)


def test_golden_linear_regression():
    case = load("a_linreg_p_lt_n")
    finite = slice(1, None)
    assert_case(case, information(case["K"], case["r"], case["K_test"], **options(case, times=finite)), finite)


def test_golden_linear_regression_at_its_limit():
    """K has rank 5 of 24: refused at inf; a long flow reaches the minimum-norm solution, ordinary regression."""
    case = load("a_linreg_p_lt_n")
    result = information(case["K"], case["r"], case["K_test"], time=1e7, return_changes=True)
    assert_case(case, result, slice(0, 1))
    press = case["y"][:, 0] - case["residual"] / (1 - case["leverage"])
    assert_golden(result.own_prediction[0, :, 0] + case["f0"][:, 0], press)


@pytest.mark.parametrize("convention", ["sum_", "mean_", "reference_"])
@pytest.mark.parametrize("times", [slice(None), slice(0, 1)], ids=["all times", "infinite"])
def test_golden_conventions(convention, times):
    case = load("d_ridge_conventions")
    result = information(case["K"], case["r"], case["K_test"], **options(case, convention, times))
    assert_case(case, result, times, convention)


@pytest.mark.parametrize("name", ["f_discrete_l2_zero", "f_discrete_l2_pos"])
def test_golden_gradient_descent(name):
    """1 and 7 steps are stepped, 64 and 2000 come from the contour, in one call."""
    case = load(name)
    descent_options = {"lr": case["eta"], "lr_without": case["eta_loo"], "steps": case["steps"]}
    ridges = {"ridge": case["lam"], "ridge_without": case["lam_loo"]}
    result = information(case["K"], case["r"], case["K_test"], **ridges, **descent_options, return_changes=True)
    assert_case(case, result)


@pytest.mark.parametrize("times", [slice(None), slice(0, 1)], ids=["all times", "infinite"])
def test_golden_groups(times):
    case = load("g_groups")
    N, kept = case["member"].shape[1], (~case["member"]).sum(1).double()
    data, tau = (case["K"], case["r"], case["K_test"]), case["tau"][times]
    result = information(*data, ridge=0.2, time=tau, groups=case["member"], return_changes=True)
    assert_case(case, result, times)
    assert result.own_prediction is None
    assert result.change_test.shape == (len(tau), 6, 5, 2)
    mean = {"ridge_without": 0.2 * kept / N, "time_without": tau[:, None] * N / kept}
    assert_case(case, information(*data, ridge=0.2, time=tau, groups=case["member"], **mean), times, "mean_")


def test_golden_conditioning():
    case = load("g_groups")
    removed = torch.zeros(14, dtype=torch.bool)
    removed[case["removed_first"]] = True
    result = information(case["K"], case["r"], case["K_test"], ridge=0.2, time=case["tau"], removed=removed)
    assert_golden(result.weights[:, case["conditional_index"]], case["conditional_si_weight"])
    assert_golden(result.functions[:, case["conditional_index"]], case["conditional_si_function"])
    assert (result.weights[:, removed] == 0).all() and (result.functions[:, removed] == 0).all()


def test_golden_sketched_kernel():
    case = load("k_sketched_primal")
    phi, phi_test = case["J"] @ case["S"], case["J_test"] @ case["S"]
    result = information(kernel(phi), case["r"], kernel(phi, phi_test), **options(case))
    assert_case(case, result)
    whole = information(kernel(case["J"]), case["r"], kernel(case["J"], case["J_test"]), **options(case))
    assert_case({key[9:]: value for key, value in case.items() if key.startswith("identity_")}, whole)


def test_golden_duplicates():
    case = load("l_duplicates")
    assert_case(case, information(case["K"], case["r"], case["K_test"], **options(case)))
    ridge = information(case["K"], case["r"], case["K_test"], ridge=case["lam_small"])
    assert_golden(ridge.weights[0], case["lam_small_si_weight"])
    assert_golden(ridge.functions[0], case["lam_small_si_function"])


def test_golden_medium_network():
    """The Jacobian is built here, by torch.func."""
    case = load("p_mlp_medium")
    weights = {name: case[name] for name in ("W1", "b1", "W2", "b2")}

    def outputs(weights, x):
        return torch.tanh(x @ weights["W1"].T + weights["b1"]) @ weights["W2"].T + weights["b2"]

    def jacobian(x):
        parts = torch.vmap(torch.func.jacrev(outputs), in_dims=(None, 0))(weights, x)
        return torch.cat([part.flatten(2) for part in parts.values()], dim=2)  # [N, 1, P]

    J, J_test, N, steps = jacobian(case["x"]), jacobian(case["x_test"]), 120, torch.tensor([INF, 100, 5000]).double()
    result = information(
        kernel(J),
        case["y"] - case["f0"],
        kernel(J, J_test),
        ridge=N * case["l2"],
        ridge_without=(N - 1) * case["l2"],
        time=case["lr"] * steps / N,
        time_without=case["lr"] * steps / (N - 1),
    )
    assert_case(case, result)


@pytest.mark.parametrize("name", ["b_mlp_digits49", "c_mlp_c3"])
def test_golden_from_single_precision(name):
    """Float32 Jacobians: 1e-4 where the kernel adds up in float64, 1e-2 where it does not."""
    case = load(name)
    J, J_test = case["J"].float(), case["J_test"].float()
    changes = {**options(case), "return_changes": False, "on_unreliable": "flag"}
    double = information(kernel(J.double()), case["r"], kernel(J.double(), J_test.double()), **changes)
    assert_golden(double.weights, case["si_weight"], rtol=1e-4, atol=1e-5)
    assert_golden(double.functions, case["si_function"], rtol=1e-4, atol=1e-5)
    single = information(kernel(J), case["r"].float(), kernel(J, J_test), **changes)
    assert_golden(single.weights, case["si_weight"], rtol=1e-2, atol=1e-3)
    assert_golden(single.functions, case["si_function"], rtol=1e-2, atol=1e-3)


TRAININGS = [
    (flow, {"ridge": 0.3, "time": 1.7}, {"ridge": 0.3, "time": 1.7}),
    (flow, {"ridge": 0.3, "time": 1.7}, {"ridge": 0.2, "time": 1.9}),
    (flow, {"ridge": 0.0, "time": 40.0}, {"ridge": 0.0, "time": 40.0}),
    (flow, {"ridge": 0.3, "time": INF}, {"ridge": 0.3, "time": INF}),
    (flow, {"ridge": 0.3, "time": INF}, {"ridge": 0.25, "time": INF}),
    (flow, {"ridge": 20.0, "time": INF}, {"ridge": 20.0, "time": INF}),
    (flow, {"ridge": 0.3, "time": INF}, {"ridge": 0.3, "time": 2.0}),
    (descent, {"ridge": 0.3, "lr": 0.05, "steps": 5}, {"ridge": 0.2, "lr": 0.06, "steps": 5}),
    (descent, {"ridge": 0.3, "lr": 0.05, "steps": 60}, {"ridge": 0.2, "lr": 0.06, "steps": 60}),
]


def as_options(train, full, without):
    options = {"ridge": full["ridge"], "ridge_without": without["ridge"]}
    if train is flow:
        return options | {"time": full["time"], "time_without": without["time"]}
    return options | {"lr": full["lr"], "lr_without": without["lr"], "steps": full["steps"]}


@pytest.mark.parametrize("train, full, without", TRAININGS)
@pytest.mark.parametrize("N, C, P", [(2, 1, 9), (7, 1, 30), (6, 3, 40), (9, 2, 11)])
def test_samples_equal_retraining(train, full, without, N, C, P, rng):
    problem = make_problem(N, C, P, 4, rng)
    truth = retrain(problem, each_alone(N), train, full, without)
    result = information(problem.K, problem.r, problem.K_test, **as_options(train, full, without), return_changes=True)
    assert_golden(result.weights[0], truth.weights)
    assert_golden(result.functions[0], truth.functions)
    assert_golden(result.change_test[0].flatten(), truth.change_test.flatten())
    assert_golden(result.own_prediction[0].flatten(), torch.stack(truth.own).flatten())


@pytest.mark.parametrize("train, full, without", TRAININGS)
def test_groups_equal_retraining(train, full, without, rng):
    """From one sample to all but one, so that both sides of the widest block are taken."""
    problem = make_problem(8, 2, 50, 3, rng)
    sets = [[3], [0, 7], [1, 2, 5], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6]]
    groups = torch.zeros(len(sets), 8, dtype=torch.bool)
    for g, members in enumerate(sets):
        groups[g, members] = True
    truth = retrain(problem, sets, train, full, without)
    result = information(
        problem.K, problem.r, problem.K_test, **as_options(train, full, without), groups=groups, return_changes=True
    )
    assert_golden(result.weights[0], truth.weights)
    assert_golden(result.functions[0], truth.functions)
    assert_golden(result.change_test[0].flatten(), truth.change_test.flatten())


@pytest.mark.parametrize("lr_times_largest", [1.05, 1.6, 1.99])
def test_fast_descent_equals_retraining(lr_times_largest, rng):
    """1 <= lr s < 2, where no contour holds."""
    problem = make_problem(6, 2, 40, 3, rng)
    lr = lr_times_largest / float(torch.linalg.eigvalsh(problem.K)[-1])
    for steps in (1, 16, 37):
        training = {"ridge": 0.0, "lr": lr, "steps": steps}
        truth = retrain(problem, each_alone(6), descent, training, training)
        result = information(problem.K, problem.r, problem.K_test, lr=lr, steps=steps)
        assert_golden(result.weights[0], truth.weights)
        assert_golden(result.functions[0], truth.functions)
        assert_golden(result.own_prediction[0].flatten(), torch.stack(truth.own).flatten())


@settings(derandomize=True, max_examples=30, deadline=None)
@given(
    N=st.integers(2, 9),
    C=st.integers(1, 3),
    P=st.integers(1, 30),
    ridge=st.floats(1e-3, 10),
    ridge_without=st.floats(1e-3, 10),
    time=st.floats(1e-3, 1e3),
    time_without=st.floats(1e-3, 1e3),
    seed=st.integers(0, 99),
)
def test_any_problem_equals_retraining(N, C, P, ridge, ridge_without, time, time_without, seed):
    problem = make_problem(N, C, P, 2, torch.Generator().manual_seed(seed))
    full, without = {"ridge": ridge, "time": time}, {"ridge": ridge_without, "time": time_without}
    truth = retrain(problem, each_alone(N), flow, full, without)
    result = information(problem.K, problem.r, problem.K_test, **as_options(flow, full, without))
    assert_golden(result.weights[0], truth.weights, atol=1e-11)
    assert_golden(result.functions[0], truth.functions, atol=1e-11)


def ensemble():
    """Results of 3 initializations of one network on the same data."""
    case = load("n_ensemble")

    def outputs(weights, x):
        return torch.tanh(x @ weights["W1"].T + weights["b1"]) @ weights["W2"].T + weights["b2"]

    for init in range(3):
        weights = {name: case[name][init] for name in ("W1", "b1", "W2", "b2")}

        def jacobian(x, weights=weights):
            parts = torch.vmap(torch.func.jacrev(outputs), in_dims=(None, 0))(weights, x)
            return torch.cat([part.flatten(2) for part in parts.values()], dim=2)

        J, J_test = jacobian(case["x"]), jacobian(case["x_test"])
        residual = case["y"] - outputs(weights, case["x"])
        yield information(kernel(J), residual, kernel(J, J_test), ridge=0.05, time=case["tau"])


def test_golden_ensemble():
    case, results = load("n_ensemble"), list(ensemble())
    for init, result in enumerate(results):
        assert_golden(result.weights, case["si_weight"][init])
        assert_golden(result.functions, case["si_function"][init])
    assert_golden(torch.stack([result.functions for result in results]).mean(0), case["mean_si_function"])
    assert_golden(torch.stack([result.weights for result in results]).mean(0), case["si_weight"].mean(0))


@pytest.mark.parametrize("of", [np.array, torch.tensor], ids=["array", "tensor"])
def test_times_and_steps_may_be_arrays(of, rng):
    problem = make_problem(6, 2, 40, 3, rng)
    assert_same_bits(
        information(problem.K, problem.r, ridge=0.1, time=of([0.5, INF]), time_without=of([0.75, INF])).weights,
        information(problem.K, problem.r, ridge=0.1, time=[0.5, INF], time_without=[0.75, INF]).weights,
    )
    assert_same_bits(
        information(problem.K, problem.r, ridge=0.1, lr=0.01, steps=of([3, 50])).weights,
        information(problem.K, problem.r, ridge=0.1, lr=0.01, steps=[3, 50]).weights,
    )
    endless = information(problem.K, problem.r, ridge=0.1, lr=0.01, steps=of(INF))
    assert_same_bits(endless.weights, information(problem.K, problem.r, ridge=0.1).weights)


@pytest.mark.parametrize("times", [slice(None), slice(0, 1)], ids=["all times", "infinite"])
def test_golden_last_layer(times):
    """G shared by 4 outputs; and the same from the whole kernel, G ⊗ I."""
    case = load("j_last_layer")
    G, G_test, eye = case["G"], case["G_test"], torch.eye(4).double()
    bias = torch.ones(1, 1).double()
    assert_golden(G, case["a"] @ case["a"].mT + bias)
    assert_case(case, unique_information_from_shared_kernel(G, case["r"], G_test, **options(case, times=times)), times)
    whole = information(torch.kron(G, eye), case["r"], torch.kron(G_test, eye), **options(case, times=times))
    assert_case(case, whole, times)


@pytest.mark.parametrize("option", ["groups", "removed", "lr"])
def test_a_shared_kernel_takes_every_option(option, rng):
    """As its Kronecker product with the identity does."""
    J, J_test = torch.randn(7, 9, generator=rng).double(), torch.randn(3, 9, generator=rng).double()
    r, eye = torch.randn(7, 3, generator=rng).double(), torch.eye(3).double()
    changes = {
        "groups": {"groups": torch.rand(4, 7, generator=rng) < 0.5, "time": [1.0, INF]},
        "removed": {"removed": torch.arange(7) == 4, "time": [INF]},
        "lr": {"lr": 0.01, "steps": [3, 100]},
    }[option]
    shared = unique_information_from_shared_kernel(J @ J.mT, r, J_test @ J.mT, ridge=0.2, **changes)
    whole = information(torch.kron(J @ J.mT, eye), r, torch.kron(J_test @ J.mT, eye), ridge=0.2, **changes)
    assert_golden(shared.weights, whole.weights)
    assert_golden(shared.functions, whole.functions)
    if option != "groups":
        assert_golden(shared.own_prediction.flatten(1), whole.own_prediction.flatten(1))
