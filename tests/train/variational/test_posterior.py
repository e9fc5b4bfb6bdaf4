"""The posterior as one Gaussian: product, covariance and samples agree."""

import pytest
import torch

from infotorch import ShapeError
from tests.train.variational.test_gaussian import NETS, made


@pytest.mark.parametrize("granularity", ["weight", "filter", "kron"])
def test_samples_have_the_covariance(granularity):
    posterior = made(granularity, NETS["conv"]()).posterior()
    covariance = posterior.covariance()
    torch.testing.assert_close(covariance.diagonal(), posterior.variance)
    torch.testing.assert_close(covariance, covariance.T)
    draws = posterior.sample(20000, seed=3)
    diagonal = posterior.variance
    spread = ((diagonal[:, None] * diagonal + covariance**2) / 20000).sqrt()
    assert ((draws.T.cov() - covariance).abs() / spread).max() < 5.5
    assert torch.equal(posterior.sample(4, seed=1), posterior.sample(4, seed=1))
    assert not torch.equal(posterior.sample(4, seed=1), posterior.sample(4, seed=2))


def test_a_kronecker_covariance_is_that_of_its_factors():
    """kron(U, V) over [weight, bias] as a matrix, its entries in the order of named_parameters."""
    q = made("kron", NETS["linear"]())
    L = {name: p.detach() for name, p in q.network.named_parameters()}
    U, V = (
        (root := L[f"weight_{side}_lower"].tril(-1) + (L[f"weight_{side}_logvar"] / 2).exp().diag()) @ root.T
        for side in ("out", "in")
    )
    rows = torch.tensor([0, 1, 2, 4, 5, 6, 3, 7])  # [2, 4] row by row; the last column is the bias
    torch.testing.assert_close(q.posterior().covariance(), torch.kron(U, V)[rows][:, rows])


def test_vectors_of_another_length_are_refused():
    with pytest.raises(ShapeError, match=r"posterior: V must be \[8, J\]; got \[7, 2\]. Pass one row a weight."):
        made("weight", NETS["linear"]()).posterior().times(torch.zeros(7, 2))
