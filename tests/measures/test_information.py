"""Laws of unique information."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from infotorch.measures.cross_entropy import cross_entropy_unique_information
from infotorch.measures.from_kernel import unique_information_from_kernel as information
from infotorch.measures.from_kernel import unique_information_from_shared_kernel
from infotorch.measures.pairs import pair_interactions
from tests.laws import assert_golden, assert_same, assert_same_bits
from tests.measures.retraining import each_alone, flow, make_problem, retrain

INF = math.inf
TIMES = (INF, 0.5, 30.0)


@pytest.fixture
def problem(rng):
    return make_problem(10, 2, 60, 4, rng)


def scores(problem, **changes):
    return information(problem.K, problem.r, problem.K_test, **{"ridge": 0.1, "time": TIMES, **changes})


def test_sigma_scales_by_its_inverse_square_bit_for_bit(problem):
    one, four = scores(problem), scores(problem, sigma=4.0)
    assert_same_bits(four.weights * 16, one.weights)
    assert_same_bits(four.functions * 16, one.functions)
    assert_same(scores(problem, sigma=3.0).weights * 9, one.weights)


def test_rotating_the_parameters_changes_nothing(problem, rng):
    rotation = torch.linalg.qr(torch.randn(60, 60, generator=rng).double()).Q
    turned = replace(problem, J=problem.J @ rotation, J_test=problem.J_test @ rotation)
    assert_same(scores(turned).weights, scores(problem).weights)
    assert_same(scores(turned).functions, scores(problem).functions)


def test_permuting_samples_permutes_scores(problem, rng):
    order = torch.randperm(10, generator=rng)
    moved = replace(problem, J=problem.J[order], r=problem.r[order])
    assert_same(scores(moved).weights, scores(problem).weights[:, order])
    assert_same(scores(moved).own_prediction, scores(problem).own_prediction[:, order])


def test_scaling_the_residual_scales_scores_by_its_square_bit_for_bit(problem):
    assert_same_bits(scores(replace(problem, r=-2 * problem.r)).weights, 4 * scores(problem).weights)


@pytest.mark.parametrize("decay, rtol", [(20, 1e-8), (40, 1e-12)])
def test_long_training_reaches_the_limit(problem, decay, rtol):
    smallest = float(torch.linalg.eigvalsh(problem.K)[0]) + 0.1
    long, limit = scores(problem, time=decay / smallest), scores(problem, time=INF)
    assert_golden(long.weights, limit.weights, rtol=rtol)
    assert_golden(long.functions, limit.functions, rtol=rtol)


def test_both_ways_to_the_limit_agree(problem):
    """An infinite time alone is an inverse; beside a finite time it comes from eigenvectors."""
    alone, beside = (
        scores(problem, time=INF, return_changes=True),
        scores(problem, time=[1.0, INF], return_changes=True),
    )
    for got, want in ((alone.weights, beside.weights), (alone.change_test, beside.change_test)):
        assert_same(got[0], want[1])
    assert_same(alone.own_prediction[0], beside.own_prediction[1])


def test_32_nodes_agree_with_40(problem):
    assert_golden(scores(problem, nodes=32).weights, scores(problem).weights, rtol=1e-11)


def test_times_together_are_times_alone(problem):
    together = scores(problem)
    for t, time in enumerate(TIMES):
        assert_same(scores(problem, time=time).weights[0], together.weights[t])


def test_no_training_is_no_information(problem):
    for still in (scores(problem, time=[0.0, 1.0]), scores(problem, time=None, lr=0.01, steps=[0, 20])):
        assert (still.weights[0] == 0).all() and (still.functions[0] == 0).all()
        assert (still.own_prediction[0] == 0).all()
        assert (still.weights[1] > 0).all()


def test_many_small_steps_are_flow(problem):
    steps = 200_000
    slow = scores(problem, time=None, lr=0.5 / steps, steps=steps)
    assert_golden(slow.weights[0], scores(problem, time=0.5).weights[0], rtol=1e-4)


def test_infinitely_many_steps_are_the_limit(problem):
    assert_same(scores(problem, time=None, lr=0.01, steps=[INF]).weights, scores(problem, time=INF).weights)


def test_a_group_of_one_is_its_sample(problem):
    alone, grouped = scores(problem), scores(problem, groups=torch.eye(10, dtype=torch.bool))
    assert_same(grouped.weights, alone.weights)
    assert_same(grouped.functions, alone.functions)


def test_removed_samples_are_as_if_never_there(problem):
    removed = torch.tensor([i in (2, 3, 9) for i in range(10)])
    rest = replace(problem, J=problem.J[~removed], r=problem.r[~removed])
    gone, never = scores(problem, removed=removed), scores(rest)
    assert_same(gone.weights[:, ~removed], never.weights)
    assert_same(gone.own_prediction[:, ~removed], never.own_prediction)
    for t, time in enumerate(TIMES):
        d = flow(rest.J, rest.r, ridge=0.1, time=time)
        assert_same(gone.own_prediction[t, removed], problem.J[removed] @ d)
    assert (gone.weights[:, removed] == 0).all() and gone.reliable.all()


def test_a_group_already_gone_has_no_information(problem):
    removed = torch.tensor([i in (2, 3, 9) for i in range(10)])
    groups = torch.zeros(2, 10, dtype=torch.bool)
    groups[0, [2, 9]] = True
    groups[1, [0, 2]] = True
    result = scores(problem, removed=removed, groups=groups)
    assert (result.weights[:, 0] == 0).all()
    assert_same(result.weights[:, 1], scores(problem, removed=removed).weights[:, 0])


def test_a_sample_without_gradient_has_no_information(problem):
    J = problem.J.clone()
    J[4] = 0
    result = scores(replace(problem, J=J))
    assert (result.weights[:, 4] <= 1e-25 * result.weights.max()).all()
    assert result.reliable.all()


def test_a_network_that_learns_nothing_scores_zero():
    result = information(torch.zeros(6, 6).double(), torch.ones(3, 2).double(), time=[1.0, 1e9])
    assert (result.weights == 0).all() and result.reliable.all()


def test_lists_arrays_and_tensors_give_the_same_bits(problem):
    tensor = scores(problem)
    array = information(problem.K.numpy(), problem.r.numpy(), problem.K_test.numpy(), ridge=0.1, time=TIMES)
    nested = information(problem.K.tolist(), problem.r.tolist(), problem.K_test.tolist(), ridge=0.1, time=TIMES)
    assert_same_bits(array.weights, tensor.weights)
    assert_same_bits(nested.functions, tensor.functions)


def test_overwriting_gives_the_same_bits(problem):
    K = problem.K
    got = information(K, problem.r, problem.K_test, ridge=0.1, time=TIMES, overwrite=True)
    assert_same_bits(got.weights, scores(problem).weights)
    assert not torch.equal(K, problem.K)


def test_inputs_are_left_alone(problem):
    K, r = problem.K, problem.r.clone()
    for changes in ({"time": INF}, {"time": 1.0}, {"lr": 0.01, "steps": [3, 30]}):
        information(K, r, ridge=0.1, **changes)
    assert_same_bits(K, problem.K)
    assert_same_bits(r, problem.r)


def test_tiles_do_not_change_scores(problem, monkeypatch):
    whole = scores(problem, time=[INF, 1.0], return_changes=True)
    monkeypatch.setattr("infotorch.measures.leave_out.TILE_BYTES", 3 * 8 * 20 * 4)
    monkeypatch.setattr("infotorch.linalg.resolvent.MOST_NATIVE", 0)
    monkeypatch.setattr("infotorch.linalg.resolvent.BLOCK_BYTES", 1)
    tiled = scores(problem, time=[INF, 1.0], return_changes=True)
    assert_same(tiled.weights, whole.weights)
    assert_same(tiled.change_test, whole.change_test)
    assert_same(tiled.own_prediction, whole.own_prediction)


def near_duplicates(rng, distance):
    """A problem without ridge whose samples 3 and 4 differ by ``distance`` and have opposite targets."""
    problem = make_problem(10, 1, 60, 2, rng)
    J, r = problem.J.clone(), problem.r.clone()
    J[4] = J[3] + distance * J[4]
    r[3], r[4] = 1, -1
    return replace(problem, J=J, r=r)


@pytest.mark.parametrize("time", [INF, [1e14, INF]], ids=["inverse", "eigenvectors"])
def test_an_unreliable_score_is_refused_by_its_sample(time, rng):
    close = near_duplicates(rng, 1e-5)
    with pytest.raises(
        NumericsError, match=r"error of every score must be at most 1e-06; got .* for sample \d+\. Give"
    ):
        information(close.K, close.r, time=time)
    flagged = information(close.K, close.r, time=time, on_unreliable="flag")
    assert not flagged.reliable[[3, 4]].any()
    assert flagged.weights.isfinite().all()
    assert information(close.K, close.r, time=time, ridge=0.1).reliable.all()


@pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("time", [INF, [1.0, INF]], ids=["inverse", "eigenvectors"])
def test_the_estimated_error_bounds_the_error(distance, time, rng):
    """Against numpy's long double; the bound is within 1000 of the worst error."""
    close = near_duplicates(rng, distance)
    result = information(close.K, close.r, time=time, on_unreliable="flag")
    want = torch.from_numpy(in_long_double(close.K.numpy(), close.r[:, 0].numpy()))
    error = (result.weights[-1] - want).abs() / want.clamp(min=want.median())
    assert (error <= 3 * result.relative_error + 1e-14).all()
    assert error.max() >= 1e-3 * result.relative_error.max()


@pytest.mark.parametrize("accuracy", [1e-12, 6e-8])
def test_a_rounded_kernel_multiplies_the_error_by_its_rounding_over_that_of_float64(accuracy, rng):
    """What the estimate does not count, and by how much: within 1000 of the worst error, as for the solve itself."""
    close = near_duplicates(rng, 1e-2)
    exact = information(close.K, close.r, on_unreliable="flag")
    noise = torch.randn(10, 10, generator=rng).double()
    rounded = close.K + accuracy * torch.linalg.matrix_norm(close.K, 2) * (noise + noise.mT) / (noise + noise.mT).norm()
    got = information(rounded, close.r, on_unreliable="flag")
    assert got.reliable.all()  # thresholds look at the solve
    error = (got.weights - exact.weights)[0].abs() / exact.weights[0].clamp(min=exact.weights.median())
    told = exact.relative_error * accuracy / torch.finfo(torch.float64).eps
    assert (error <= 3 * told).all()
    assert error.max() >= 1e-3 * told.max()


def test_the_docstrings_say_what_the_estimated_error_leaves_out():
    for named in (
        information,
        unique_information_from_shared_kernel,
        pair_interactions,
        cross_entropy_unique_information,
    ):
        assert "rounding that" in " ".join(named.__doc__.split()).lower()


def in_long_double(K, r):
    """Scores of one output without ridge at time inf: eliminate, with 64 bits of mantissa."""
    m, wide = len(K), np.longdouble
    A = np.concatenate([K.astype(wide), np.eye(m, dtype=wide)], axis=1)
    for j in range(m):
        A[j] /= A[j, j]
        others = np.arange(m) != j
        A[others] -= np.outer(A[others, j], A[j])
    B = A[:, m:]
    return ((B @ r.astype(wide)) ** 2 / np.diag(B) / 2).astype(float)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"sigma": 0.0}, ConfigError, "sigma must be finite and above 0; got 0.0"),
        ({"sigma": math.nan}, ConfigError, "sigma must be finite and above 0; got nan"),
        ({"nodes": 33}, ConfigError, "nodes must be even and from 16 to 64; got 33"),
        ({"nodes": 200}, ConfigError, "nodes must be even and from 16 to 64; got 200"),
        (
            {"on_unreliable": "rais"},
            ConfigError,
            "on_unreliable must be one of 'raise', 'flag'; got 'rais'. Did you mean",
        ),
        ({"removed": torch.ones(9, dtype=torch.bool)}, ShapeError, r"removed must be bool \[10\]; got bool \[9\]"),
        ({"removed": torch.arange(10)}, ShapeError, r"removed must be bool \[10\]; got int64 \[10\]"),
        ({"removed": torch.arange(10) > 0}, DataError, "removed must leave at least 2 samples; got 1 left"),
        ({"groups": torch.ones(10, dtype=torch.bool)}, ShapeError, r"groups must be bool \[G, 10\]; got bool \[10\]"),
        (
            {"groups": torch.ones(0, 10, dtype=torch.bool)},
            ShapeError,
            r"groups must be bool \[G, 10\]; got bool \[0, 10\]",
        ),
        (
            {"groups": torch.zeros(1, 10, dtype=torch.bool)},
            DataError,
            "each group must have a member; got none in group 0",
        ),
        (
            {"groups": torch.ones(1, 10, dtype=torch.bool)},
            DataError,
            "must leave at least one sample; got none without group 0",
        ),
        (
            {"groups": torch.arange(10)[None] > 3, "removed": torch.arange(10) < 4},
            DataError,
            "must leave at least one sample; got none without group 0",
        ),
    ],
)
def test_options_out_of_range_are_refused(changes, error, message, problem):
    with pytest.raises(error, match=message):
        scores(problem, **changes)


def test_changes_need_test_samples(problem):
    with pytest.raises(ConfigError, match="return_changes needs test samples; got none"):
        information(problem.K, problem.r, ridge=1.0, return_changes=True)


def test_a_time_without_end_is_the_limit(problem):
    """At t s = 1e14 or so, as K is regular."""
    assert_golden(scores(problem, ridge=0.0, time=1e14).weights, scores(problem, ridge=0.0, time=INF).weights)


@pytest.mark.parametrize("agree", [True, False])
@pytest.mark.parametrize("time", [1e4, 1e9, 1e14])
def test_copies_after_a_long_time(agree, time, rng):
    """K is singular; the truth is the minimum-norm solution.

    Where the copies' targets agree nothing is lost. Where they contradict each other, their difference grows with time
    in beta, and its rounding spoils the scores of others; the estimated error says by how much.
    """
    problem = make_problem(9, 2, 40, 4, rng)
    J, r = problem.J.clone(), problem.r.clone()
    J[5] = J[2]
    if agree:
        r[5] = r[2]
    problem = replace(problem, J=J, r=r)
    truth = retrain(problem, each_alone(9), minimum_norm, {}, {})
    got = information(problem.K, r, problem.K_test, time=time, on_unreliable="flag")
    error = (got.weights[0] - truth.weights).abs().max() / truth.weights.max()
    assert error <= 3 * got.relative_error.max() + 1e-12
    assert got.reliable.all() == (agree or time < 1e12)


def minimum_norm(J, r):
    return torch.linalg.pinv(J.flatten(0, 1), rtol=1e-10) @ r.flatten()
