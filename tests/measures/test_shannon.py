import math
import pathlib

import numpy as np
import pytest
import torch

from infotorch import shannon_information
from infotorch.errors import ConfigError, ShapeError

GOLDEN = pathlib.Path(__file__).parents[1] / "golden/weights_information/shannon_discrete.npz"


def golden():
    with np.load(GOLDEN) as file:
        return {key: torch.as_tensor(file[key]) for key in file.files}


def entropy(p):
    return float(-(p * p.log()).sum())


def test_goldens():
    a = golden()
    found = shannon_information(a["posteriors"], a["prior_over_datasets"], prior=a["P"])
    assert found.information == pytest.approx(float(a["mutual_information"]), rel=1e-12)
    assert found.mean_kl == pytest.approx(float(a["expected_kl_to_P"]), rel=1e-12)


@pytest.mark.parametrize("b", range(3))
def test_gibbs_posteriors(b):
    """One data set at a time: the golden's KL of its Gibbs posterior, and the value of the objective it minimizes."""
    a = golden()
    beta = float(a["gibbs_betas"][b])
    for d, Q in enumerate(a["gibbs"][b]):
        found = shannon_information(Q[None], [1.0], prior=a["P"])
        assert found.information == pytest.approx(0, abs=1e-14)
        assert found.mean_kl == pytest.approx(float(a["gibbs_kl"][b, d]), rel=1e-12)
        C = float(Q @ a["losses"][d]) + beta * found.mean_kl
        assert C == pytest.approx(float(a["gibbs_C"][b, d]), rel=1e-12)


def test_it_is_the_entropies_way_of_counting(rng):
    """I = H(w) + H(D) - H(w, D)."""
    Q = torch.rand(5, 6, generator=rng).double()
    Q /= Q.sum(1, keepdim=True)
    p = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25], dtype=torch.float64)
    found = shannon_information(Q, p)
    assert found.information == pytest.approx(entropy(p @ Q) + entropy(p) - entropy(p[:, None] * Q), rel=1e-12)
    assert found.mean_kl == found.information  # the best prior is the default


def test_every_prior_is_an_upper_bound(rng):
    """By what it is away from the mean of the posteriors."""
    a = golden()
    Q, p = a["posteriors"], a["prior_over_datasets"]
    center = p @ Q
    for _ in range(20):
        P = torch.rand(7, generator=rng).double()
        P /= P.sum()
        found = shannon_information(Q, p, prior=P)
        assert found.mean_kl > found.information
        assert found.mean_kl == pytest.approx(found.information + float((center * (center / P).log()).sum()), rel=1e-10)


def test_what_is_never_drawn_counts_nothing():
    """Weights and data sets of probability 0; deterministic posteriors tell the data set."""
    found = shannon_information(np.eye(3), [0.5, 0.5, 0.0], prior=[0.25, 0.75, 0.0])
    assert found.information == pytest.approx(math.log(2), rel=1e-12)
    assert found.mean_kl == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, rel=1e-12)
    excluded = shannon_information(np.eye(2), [0.5, 0.5], prior=[1.0, 0.0])
    assert excluded.mean_kl == math.inf and excluded.information == pytest.approx(math.log(2))
    assert shannon_information([[0.3, 0.7]] * 4, [0.25] * 4).information == pytest.approx(0, abs=1e-15)


def test_misuse():
    with pytest.raises(ShapeError, match=r"^shannon_information: posteriors must be \[D, W\] with probabilities \[D\]"):
        shannon_information([[0.5, 0.5]], [0.5, 0.5])
    with pytest.raises(ShapeError, match=r"^shannon_information: prior must be \[W\] = \[2\]; got \[3\]"):
        shannon_information([[0.5, 0.5]], [1.0], prior=[0.2, 0.3, 0.5])
    with pytest.raises(ConfigError, match=r"^shannon_information: each posterior must be .* got a sum of 1\.1\."):
        shannon_information([[0.5, 0.6]], [1.0])
    with pytest.raises(ConfigError, match=r"^shannon_information: probabilities must be .* got -0\.5 among them"):
        shannon_information([[0.5, 0.5]] * 2, [1.5, -0.5])
    with pytest.raises(ConfigError, match=r"^shannon_information: prior must be at least 0 and sum to 1; got"):
        shannon_information([[0.5, 0.5]], [1.0], prior=[math.nan, 1.0])


def test_it_says_what_it_is():
    assert shannon_information(torch.eye(2), torch.tensor([0.5, 0.5])).kind == "estimate"
