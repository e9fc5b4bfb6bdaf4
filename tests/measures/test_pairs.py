import math

import pytest
import torch

from infotorch.errors import DataError, ShapeError
from infotorch.measures.from_kernel import unique_information_from_kernel
from infotorch.measures.pairs import pair_interactions
from tests.laws import assert_golden, assert_same
from tests.measures.golden import load
from tests.measures.retraining import flow, make_problem, retrain

INF = math.inf
PAIRS = [[0, 1], [4, 2], [1, 5]]


@pytest.mark.parametrize("times", [slice(None), slice(0, 1)], ids=["all times", "infinite"])
def test_golden(times):
    case = load("g_groups")
    got = pair_interactions(case["K"], case["r"], case["pairs"], case["K_test"], ridge=0.2, time=case["tau"][times])
    assert_golden(got.weights, case["pair_si_weight"][times])
    assert_golden(got.functions, case["pair_si_function"][times])


def test_the_interaction_is_what_singles_leave(rng):
    """Under the mean convention: N, N - 1 and N - 2 samples each have their own ridge and time."""
    problem, N = make_problem(6, 2, 40, 3, rng), 6
    full, one, two = ({"ridge": 0.1 * k, "time": 6.0 / k} for k in (N, N - 1, N - 2))
    got = pair_interactions(
        problem.K,
        problem.r,
        PAIRS,
        problem.K_test,
        ridge=full["ridge"],
        ridge_without=one["ridge"],
        ridge_without_pair=two["ridge"],
        time=full["time"],
        time_without=one["time"],
        time_without_pair=two["time"],
    )
    both = retrain(problem, PAIRS, flow, full, two)
    alone = retrain(problem, [[i] for i in range(N)], flow, full, one)
    member = torch.tensor(PAIRS)
    assert_golden(got.weights[0], both.weights)
    assert_golden(got.weights_interaction[0], both.weights - alone.weights[member].sum(1))
    assert_golden(got.functions_interaction[0], both.functions - alone.functions[member].sum(1))
    assert got.reliable.all()


@pytest.mark.parametrize("descent", [{"lr": 0.02, "steps": [4, 100]}, {"time": [INF]}])
def test_pairs_are_groups_of_two(descent, rng):
    problem = make_problem(6, 2, 40, 3, rng)
    groups = torch.zeros(3, 6, dtype=torch.bool)
    for g, pair in enumerate(PAIRS):
        groups[g, pair] = True
    want = unique_information_from_kernel(problem.K, problem.r, problem.K_test, ridge=0.3, groups=groups, **descent)
    got = pair_interactions(problem.K, problem.r, PAIRS, problem.K_test, ridge=0.3, **descent)
    assert_same(got.weights, want.weights)
    assert_same(got.functions, want.functions)


def test_copies_inform_only_together(rng):
    problem = make_problem(6, 1, 40, 2, rng)
    J, r = problem.J.clone(), problem.r.clone()
    J[3], r[3] = J[2], r[2]
    K = J[:, 0] @ J[:, 0].mT
    got = pair_interactions(K, r, [[2, 3]], time=1e5)
    assert got.weights[0, 0] > 1e-3
    assert_golden(got.weights_interaction, got.weights, rtol=1e-6)


@pytest.mark.parametrize(
    "pairs, error, message",
    [
        ([[0, 0]], DataError, r"two different samples from 0 to 5; got \[0, 0\] in pair 0"),
        ([[0, 1], [2, 6]], DataError, r"two different samples from 0 to 5; got \[2, 6\] in pair 1"),
        ([[0, -1]], DataError, r"got \[0, -1\]"),
        ([0, 1], ShapeError, r"pairs must be integers \[Q, 2\]; got int64 \[2\]"),
        ([[0.0, 1.0]], ShapeError, r"pairs must be integers \[Q, 2\]; got float64 \[1, 2\]"),
        ([[0, 1, 2]], ShapeError, r"got int64 \[1, 3\]"),
    ],
)
def test_bad_pairs_are_refused(pairs, error, message, rng):
    problem = make_problem(6, 1, 40, 2, rng)
    with pytest.raises(error, match=message):
        pair_interactions(problem.K, problem.r, pairs, ridge=1.0)


def test_a_pair_must_leave_somebody(rng):
    problem = make_problem(2, 1, 40, 2, rng)
    with pytest.raises(DataError, match="a pair must leave at least one sample; got 2 samples"):
        pair_interactions(problem.K, problem.r, [[0, 1]], ridge=1.0)
