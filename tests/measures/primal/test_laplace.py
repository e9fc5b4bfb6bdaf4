"""The dual form, of which this is another road to the same numbers, and parameter space."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infotorch import errors
from infotorch.measures.laplace import laplace_sample_information as dual
from infotorch.measures.primal import laplace
from infotorch.measures.primal.laplace import laplace_sample_information_from_features as information
from tests.laws import assert_golden
from tests.measures.golden import kernel, load
from tests.measures.retraining import make_problem
from tests.measures.test_laplace import gaussian_kl, posterior


def assert_equal(got, want, rtol=1e-10):
    assert_golden(got.weights, want.weights, rtol=rtol)
    assert_golden(got.reverse, want.reverse, rtol=rtol)


def test_golden():
    case = load("o_laplace_information")
    got = information(case["J"], case["r"], ridge=float(case["lam"]), noise_variance=float(case["noise_var"]))
    assert_golden(got.weights, case["lsi"])
    assert_golden(got.reverse, case["lsi_reverse"])


@settings(max_examples=60, deadline=None)
@given(
    N=st.integers(2, 12), C=st.integers(1, 3), k=st.integers(1, 50), ridge=st.sampled_from([0.02, 0.3, 20.0]),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_equals_the_dual_form(N, C, k, ridge, seed):
    problem = make_problem(N, C, k, 2, torch.Generator().manual_seed(seed))
    got = information(problem.J, problem.r, ridge=ridge, noise_variance=0.7)
    assert_equal(got, dual(problem.K, problem.r, ridge=ridge, noise_variance=0.7))


def test_equals_the_dual_form_without_a_ridge(rng):
    """More rows than features, of which one is never there: it changes nothing in either form."""
    problem = make_problem(14, 2, 6, 2, rng)
    problem.J[:, :, 3] = 0
    assert_equal(information(problem.J, problem.r, ridge=0.0), dual(problem.K, problem.r, ridge=0.0))


def test_shared_features_are_those_of_every_output(rng):
    """[N, k] is the Jacobian [N, C, C k] of one row an output: the Gaussians of its parameter space."""
    features, r = torch.randn(9, 4, generator=rng).double(), torch.randn(9, 3, generator=rng).double()
    J = torch.einsum("nk,cd->ncdk", features, torch.eye(3).double()).flatten(2)
    got = information(features, r, ridge=0.2, noise_variance=2.0)
    assert_equal(got, dual(kernel(J), r, ridge=0.2, noise_variance=2.0))
    full = posterior(J, r, 0.2, 2.0)
    kept = torch.arange(9) != 4
    assert_golden(got.weights[4:5], gaussian_kl(*full, *posterior(J[kept], r[kept], 0.2, 2.0))[None])


def test_does_not_depend_on_the_tiles(rng, monkeypatch):
    problem = make_problem(11, 2, 7, 2, rng)
    want = information(problem.J, problem.r, ridge=0.1)
    monkeypatch.setattr(laplace, "BLOCK_BYTES", 8 * 2 * 7 * 3)
    assert_equal(information(problem.J, problem.r, ridge=0.1), want, rtol=1e-13)


def test_small_leverages_lose_no_digits():
    """One feature a sample: leverages of 2^-30, where -h - ln(1 - h) is h² / 2 + h³ / 3."""
    h = 2.0**-30
    features = torch.eye(2).double()[:, None] * (h / (1 - h)) ** 0.5
    got = information(features, torch.zeros(2, 1).double(), ridge=1.0)
    want = torch.full((2,), (h**2 / 2 + h**3 / 3) / 2, dtype=torch.float64)
    assert_golden(got.weights, want, rtol=1e-14)


def test_a_sample_that_alone_determines_a_direction_is_refused(rng):
    problem = make_problem(6, 2, 40, 2, rng)
    with pytest.raises(errors.NumericsError, match=r"leverage of sample 0 must be < 1 - 1e-10; got 1\. .* ridge > 0"):
        information(problem.J, problem.r, ridge=0.0)


def test_leverages_too_near_one_for_a_difference_are_refused(rng):
    """The kernel's own form takes these: it never subtracts."""
    problem = make_problem(6, 2, 40, 2, rng)
    dual(problem.K, problem.r, ridge=1e-9)
    with pytest.raises(errors.NumericsError, match=r"one minus each leverage must be known .* for sample 0"):
        information(problem.J, problem.r, ridge=1e-9)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"ridge": -0.1}, errors.ConfigError, "ridge must be finite and at least 0; got -0.1"),
        ({"noise_variance": 0.0}, errors.ConfigError, "noise_variance must be finite and above 0; got 0.0"),
        ({"residual": torch.ones(4, 2)}, errors.ShapeError, r"residual must be \[N, C\] for features"),
        ({"features": torch.full((3, 1, 5), math.nan)}, errors.DataError, "features must be finite; got nan in sample"),
        ({"features": torch.ones(3, 1, 5).long()}, errors.DataError, "features must be float32 or float64"),
    ],
)
def test_bad_input_is_refused(changes, error, message, rng):
    problem = make_problem(3, 1, 5, 2, rng)
    with pytest.raises(error, match="laplace_sample_information: " + message):
        information(**{"features": problem.J, "residual": problem.r, "ridge": 1.0, **changes})
