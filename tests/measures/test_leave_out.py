"""What the kernel's eigenvalues forbid."""

import math

import pytest
import torch

from infotorch.errors import NumericsError
from infotorch.measures.from_kernel import unique_information_from_kernel as information
from tests.measures.golden import load
from tests.measures.retraining import make_problem

BOTH_WAYS = pytest.mark.parametrize("time", [math.inf, [1.0, math.inf]], ids=["inverse", "eigenvectors"])


@BOTH_WAYS
def test_duplicates_are_refused_at_the_limit(time):
    case = load("l_duplicates")
    message = r"K \+ ridge\*I must be positive definite at t=inf; got smallest eigenvalue .*e-1\d of largest \d.* Give"
    with pytest.raises(NumericsError, match=message):
        information(case["K"], case["r"], time=time)


@BOTH_WAYS
def test_the_ridge_of_either_training_must_do(time, rng):
    """K of rank 5 in 8 rows; one of the two trainings has no ridge."""
    problem = make_problem(8, 1, 5, 2, rng)
    for ridges in ({"ridge": 0.0, "ridge_without": 0.1}, {"ridge": 0.1, "ridge_without": 0.0}):
        with pytest.raises(NumericsError, match="must be positive definite at t=inf"):
            information(problem.K, problem.r, time=time, **ridges)
    assert information(problem.K, problem.r, time=time, ridge=0.1).reliable.all()


@BOTH_WAYS
def test_large_negative_eigenvalues_are_refused(time, rng):
    problem = make_problem(8, 1, 30, 2, rng)
    K = problem.K - 0.3 * torch.ones(8, 8).double()
    smallest, largest = torch.linalg.eigvalsh(K)[[0, -1]].tolist()
    assert smallest < -0.1
    with pytest.raises(NumericsError) as refusal:
        information(K, problem.r, time=time, ridge=10.0)
    assert str(refusal.value).startswith(
        "unique_information: K must be positive semidefinite; "
        f"got smallest eigenvalue {smallest:.1e} of largest {largest:.1e}. Build K"
    )


@pytest.mark.parametrize("options", [{}, {"time": [1.0, math.inf]}, {"ridge_without": 0.5}, {"lr": 0.1, "steps": 3}])
def test_an_indefinite_kernel_is_not_called_singular(options):
    """Without a ridge the inverse fails either way; a ridge would not make it a kernel."""
    K = torch.diag(torch.tensor([1.0, 2.0, 3.0, -1.0]).double())
    with pytest.raises(NumericsError) as refusal:
        information(K, torch.ones(4, 1).double(), **options)
    assert str(refusal.value).startswith(
        "unique_information: K must be positive semidefinite; got smallest eigenvalue -1.0e+00 of largest 3.0e+00. "
    )


@BOTH_WAYS
def test_rounding_below_zero_is_not_refused(time, rng):
    """Of float64, and of float32 where the kernel came in float32."""
    problem = make_problem(8, 1, 5, 2, rng)
    for K in (problem.K, problem.K - 1e-13 * torch.eye(8), problem.K.float() - 1e-6 * torch.eye(8)):
        assert information(K, problem.r, time=time, ridge=0.1).reliable.all()
    with pytest.raises(NumericsError, match="must be positive semidefinite"):
        information(problem.K - 1e-6 * torch.eye(8), problem.r, time=time, ridge=0.1)


@pytest.mark.parametrize("steps", [1, 100, math.inf])
def test_divergent_descent_is_refused_with_the_largest_rate(steps, rng):
    problem = make_problem(8, 2, 30, 2, rng)
    largest = float(torch.linalg.eigvalsh(problem.K)[-1])
    limit = 2 / (largest + 0.1)
    with pytest.raises(NumericsError) as refusal:
        information(problem.K, problem.r, ridge=0.1, lr=1.01 * limit, steps=steps)
    assert str(refusal.value).startswith(
        f"unique_information: lr must be < {limit:.6g} on the summed loss ({8 * limit:.6g} on the mean)"
    )
    information(problem.K, problem.r, ridge=0.1, lr=0.99 * limit, steps=steps)


def test_the_rate_without_a_sample_counts_too(rng):
    """Under the mean convention lr_without = lr N / (N - 1) diverges first."""
    problem = make_problem(8, 1, 30, 2, rng)
    limit = 2 / float(torch.linalg.eigvalsh(problem.K)[-1]) * 7 / 8
    with pytest.raises(NumericsError, match=f"lr must be < {limit:.6g} on the summed loss"):
        information(problem.K, problem.r, lr=limit * 1.01, lr_without=limit * 1.01 * 8 / 7, steps=3)


def test_no_gradient_never_diverges():
    zero = torch.zeros(3, 3).double()
    assert (information(zero, torch.ones(3, 1).double(), lr=5.0, steps=[2, 50]).weights == 0).all()
