"""The fit of the divergence from the log-uniform prior."""

import torch

from infotorch.train import log_uniform_kl
from tests.train.variational import golden


def test_the_golden_fit_flagged_as_improper():
    case = golden.load()
    found = log_uniform_kl(case["loguniform_log_alpha"])
    torch.testing.assert_close(found.per_weight, -case["loguniform_neg_kl"], rtol=1e-10, atol=0)
    torch.testing.assert_close(found.total, -case["loguniform_neg_kl"].sum())
    assert found.improper and found.kind == "heuristic"


def test_differences_are_those_of_the_integral():
    """KL(alpha) - KL(1) is that of -log(alpha)/2 + E log|1 + sqrt(alpha) eps|, within the fit's error of 0.01."""
    alpha = torch.tensor([0.05, 0.3, 1.0, 4.0], dtype=torch.float64)
    eps = torch.linspace(-9, 9, 2_000_001, dtype=torch.float64)
    density = torch.exp(-eps.square() / 2)
    mean = torch.stack([((1 + a.sqrt() * eps).abs() + 1e-12).log() @ density / density.sum() for a in alpha])
    truth = -0.5 * alpha.log() + mean
    found = log_uniform_kl(alpha.log()).per_weight
    torch.testing.assert_close(found - found[2], truth - truth[2], rtol=0, atol=0.015)
