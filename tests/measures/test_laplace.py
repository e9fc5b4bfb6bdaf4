import math

import pytest
import torch

from infotorch.errors import ConfigError, NumericsError
from infotorch.measures.laplace import laplace_sample_information
from tests.laws import assert_golden
from tests.measures.golden import kernel, load
from tests.measures.retraining import make_problem


def gaussian_kl(mean, precision, mean2, precision2):
    """KL(N(mean, precision^-1) || N(mean2, precision2^-1)) in parameter space."""
    shift = mean2 - mean
    trace = torch.linalg.solve(precision, precision2).trace()
    return (trace - len(mean) + shift @ precision2 @ shift + precision.logdet() - precision2.logdet()) / 2


def posterior(J, r, ridge, variance):
    J, r = J.flatten(0, 1), r.flatten()
    H = J.mT @ J + ridge * torch.eye(J.shape[1], dtype=J.dtype)
    return torch.linalg.solve(H, J.mT @ r), H / variance


def test_golden():
    case = load("o_laplace_information")
    got = laplace_sample_information(
        kernel(case["J"]), case["r"], ridge=float(case["lam"]), noise_variance=float(case["noise_var"])
    )
    assert_golden(got.weights, case["lsi"])
    assert_golden(got.reverse, case["lsi_reverse"])


@pytest.mark.parametrize("N, C, P, ridge", [(6, 1, 15, 0.3), (5, 3, 20, 2.0), (14, 2, 6, 0.05), (14, 2, 6, 0.0)])
def test_both_directions_equal_gaussians(N, C, P, ridge, rng):
    problem = make_problem(N, C, P, 2, rng)
    full = posterior(problem.J, problem.r, ridge, 0.7)
    weights, reverse = [], []
    for i in range(N):
        kept = [j for j in range(N) if j != i]
        without = posterior(problem.J[kept], problem.r[kept], ridge, 0.7)
        weights.append(gaussian_kl(*full, *without))
        reverse.append(gaussian_kl(*without, *full))
    got = laplace_sample_information(problem.K, problem.r, ridge=ridge, noise_variance=0.7)
    assert_golden(got.weights, torch.stack(weights), atol=1e-11)
    assert_golden(got.reverse, torch.stack(reverse), atol=1e-11)


def test_small_leverages_lose_no_digits():
    """One output: KL = (-h - ln(1 - h) + e u h / s²) / 2 with h = 2^-30, where -h - ln(1 - h) is h² / 2 + h³ / 3."""
    h = 2.0**-30
    K = torch.eye(2).double() * h / (1 - h)
    got = laplace_sample_information(K, torch.zeros(2, 1).double(), ridge=1.0)
    assert_golden(got.weights, torch.full((2,), (h**2 / 2 + h**3 / 3) / 2, dtype=torch.float64), rtol=1e-14)
    assert_golden(got.reverse, torch.full((2,), (h**2 / 2 + 2 * h**3 / 3) / 2, dtype=torch.float64), rtol=1e-14)


def test_a_sample_that_alone_determines_a_direction_is_refused(rng):
    problem = make_problem(6, 2, 40, 2, rng)
    with pytest.raises(NumericsError, match=r"leverage of sample 0 must be < 1 - 1e-10; got 1\. .* give ridge > 0"):
        laplace_sample_information(problem.K, problem.r, ridge=0.0)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"ridge": -0.1}, "ridge must be finite and at least 0; got -0.1"),
        ({"noise_variance": 0.0}, "noise_variance must be finite and above 0; got 0.0"),
        ({"noise_variance": math.inf}, "noise_variance must be finite and above 0; got inf"),
    ],
)
def test_options_out_of_range_are_refused(changes, message, rng):
    problem = make_problem(3, 1, 5, 2, rng)
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        laplace_sample_information(problem.K, problem.r, **{"ridge": 1.0, **changes})
