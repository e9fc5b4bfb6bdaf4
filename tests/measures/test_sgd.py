"""Goldens in parameter space, laws and refusals of the SGD covariance."""

import math

import pytest
import torch

from infotorch.errors import ConfigError, NumericsError
from infotorch.linalg.eigen import eigh
from infotorch.measures.sgd import sgd_unique_information, steady_state_covariance
from tests.laws import assert_golden
from tests.measures.golden import kernel, load
from tests.measures.retraining import make_problem


def run(case, **changes):
    options = {"ridge": float(case["lam"]), "lr": float(case["lr"]), "batch_size": int(case["batch"]), **changes}
    return sgd_unique_information(kernel(case["J"]), case["r"], **options)


@pytest.mark.parametrize("scale", ["mean", "paper", "discrete"])
def test_golden_scores(scale):
    case = load("h_sgd_steady_state")
    assert_golden(run(case, scale=scale).weights, case[f"si_{scale}"])


def test_golden_scores_of_more_parameters_than_rows():
    case = load("h_sgd_overparametrised")
    got = run(case, scale="paper", jitter=float(case["jitter"]))
    assert_golden(got.weights, case["si_paper"])


@pytest.mark.parametrize(
    "name, scales", [("h_sgd_steady_state", ("paper", "mean", "discrete")), ("h_sgd_overparametrised", ("paper",))]
)
def test_golden_covariances(name, scales):
    """Carried from the eigenbasis to parameters by V = J' Q S^(-1/2)."""
    case = load(name)
    J = case["J"].flatten(0, 1)
    eigen = eigh(kernel(case["J"]))
    span = eigen.values > 1e-10 * eigen.values[-1]
    V = J.mT @ eigen.vectors[span].mT / eigen.values[span].sqrt()  # [P, k]
    noise, N = V.mT @ case["Lambda"] @ V, len(case["r"])
    curvature = eigen.values[span] + case["lam"]
    for scale in scales:
        sigma = steady_state_covariance(
            noise, curvature, lr=float(case["lr"]), batch_size=int(case["batch"]), scale=scale, N=N
        )
        want = case[f"Sigma_{scale}"]
        assert ((V @ sigma @ V.mT) - want).abs().max() <= 1e-8 * want.abs().max()


def test_golden_langevin():
    """With white noise, Sigma = lr s² / (2 b) H^-1 and the score is b / (lr s²) δ' H δ."""
    case = load("h_sgd_steady_state")
    lr, b, noise = float(case["lr"]), int(case["batch"]), float(case["noise_sigma"]) ** 2
    h, V = torch.linalg.eigh(case["H"])
    sigma = steady_state_covariance(noise * torch.eye(6).double(), h, lr=lr, batch_size=b, scale="paper", N=40)
    want = case["Sigma_langevin"]
    assert (V @ sigma @ V.mT - want).abs().max() <= 1e-8 * want.abs().max()
    delta = case["delta_w"]
    assert_golden(torch.einsum("np,pq,nq->n", delta, (V @ sigma @ V.mT).inverse(), delta) / 2, case["si_langevin"])


def test_the_mean_loss_scale_divides_the_papers_by_n():
    case = load("h_sgd_steady_state")
    assert_golden(run(case).weights * len(case["r"]), run(case, scale="paper").weights)


def test_small_rates_make_discrete_and_mean_agree():
    case = load("h_sgd_steady_state")
    got = run(case, scale="discrete", lr=1e-7).weights
    assert_golden(got, run(case, scale="mean", lr=1e-7).weights, rtol=1e-6)


def test_several_outputs_equal_parameter_space(rng):
    """Everything rebuilt with [P, P] matrices and a Kronecker Lyapunov solve."""
    problem = make_problem(12, 2, 7, 2, rng)
    J, r, lam, lr, b = problem.J.flatten(0, 1), problem.r.flatten(), 0.4, 0.05, 3
    eye = torch.eye(7).double()
    H = J.mT @ J + lam * eye
    d = torch.linalg.solve(H, J.mT @ r)
    g = torch.einsum("ncp,nc->np", problem.J, (J @ d - r).view(12, 2))
    noise = (g - g.mean(0)).mT @ (g - g.mean(0)) / 12
    lyapunov = torch.kron(H / 12, eye) + torch.kron(eye, H / 12)
    sigma = torch.linalg.solve(lyapunov, (lr / b * noise).flatten()).view(7, 7)
    want = []
    for i in range(12):
        kept = [j for j in range(12) if j != i]
        K = problem.J[kept].flatten(0, 1)
        delta = torch.linalg.solve(K.mT @ K + lam * eye, K.mT @ problem.r[kept].flatten()) - d
        want.append(delta @ torch.linalg.solve(sigma, delta) / 2)
    got = sgd_unique_information(problem.K, problem.r, ridge=lam, lr=lr, batch_size=b)
    assert_golden(got.weights, torch.stack(want))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"scale": "means"}, "scale must be one of 'mean', 'paper', 'discrete'; got 'means'. Did you mean 'mean'"),
        ({"ridge": -1.0}, "ridge must be finite and at least 0; got -1.0"),
        ({"lr": 0.0}, "lr must be finite and above 0; got 0.0"),
        ({"lr": math.nan}, "lr must be finite and above 0; got nan"),
        ({"batch_size": 0}, "batch_size must be a whole number above 0; got 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number above 0; got 1.5"),
        ({"jitter": -1e-9}, "jitter must be finite and at least 0; got -1e-09"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        run(load("h_sgd_steady_state"), **changes)


def test_an_interpolating_optimum_has_no_noise(rng):
    problem = make_problem(6, 1, 20, 2, rng)
    with pytest.raises(
        NumericsError, match=r"covariance must not vanish; .* interpolates, so SGD has no noise there\. Give"
    ):
        sgd_unique_information(problem.K, problem.r, ridge=0.0, lr=0.1, batch_size=2)


def test_a_singular_covariance_is_refused_without_jitter(rng):
    """Under a ridge far above the spectrum Sigma is Lambda over a constant: rank N - 1 = 2 of 9."""
    problem, message = (
        make_problem(3, 3, 30, 2, rng),
        r"sgd_unique_information: Sigma must be positive definite; got .* Give jitter",
    )
    options = {"ridge": 1e9, "lr": 0.1, "batch_size": 2}
    with pytest.raises(NumericsError, match=message):
        sgd_unique_information(problem.K, problem.r, **options)
    got = sgd_unique_information(problem.K, problem.r, **options, jitter=1e-3)
    assert got.weights.isfinite().all() and got.condition < 1e12


def test_a_divergent_discrete_rate_is_refused():
    case = load("h_sgd_steady_state")
    largest = float(torch.linalg.eigvalsh(case["H"])[-1])
    with pytest.raises(NumericsError, match=rf"must be < 2; got 3\. Give lr < {80 / largest:.3g}"):
        run(case, scale="discrete", lr=3 * 40 / largest)


def test_a_singular_kernel_needs_a_ridge():
    case = load("h_sgd_steady_state")
    with pytest.raises(NumericsError, match=r"sgd_unique_information: K .* must be positive definite at t=inf"):
        run(case, ridge=0.0)
