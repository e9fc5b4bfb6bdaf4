import pytest
import torch

from infotorch.errors import NumericsError
from infotorch.measures.activations.channel import (
    covariance_root,
    local_information,
    logdet,
    noiseless,
    spectrum,
    whitening,
    whole_spectrum,
)
from tests.laws import assert_same
from tests.measures.activations.truth import spd


def draw(*shape, rng):
    return torch.randn(*shape, dtype=torch.float64, generator=rng)


def test_whitening_turns_noise_white(rng):
    S = torch.stack([spd(5, rng) for _ in range(4)])
    found = whitening(S)
    assert_same(found.W @ S @ found.W.mT, torch.eye(5, dtype=torch.float64).expand(4, 5, 5))
    assert found.rank.tolist() == [5] * 4 and not found.dropped.any() and not found.silent.any()


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_rank_does_not_depend_on_the_units_of_a_unit(scale, rng):
    """One unit on another scale is no dependent one."""
    A = draw(1, 5, 3, rng=rng)  # rank 3 of 5
    A[:, 4] = 0  # of which one is dead
    A[:, 0] *= scale
    found = whitening(A @ A.mT)
    assert found.rank.tolist() == [3] and found.dropped.tolist() == [1]
    white = found.W @ A @ A.mT @ found.W.mT
    assert_same(white.diagonal(dim1=1, dim2=2).sort().values, torch.tensor([[0.0, 0, 1, 1, 1]]).double())


def test_no_noise_at_all():
    found = whitening(torch.zeros(2, 3, 3, dtype=torch.float64))
    assert found.rank.tolist() == [0, 0] and found.dropped.tolist() == [3, 3] and not found.W.any()


def test_local_information_is_that_of_the_joint_gaussian(rng):
    """1/2 log of |cov(e)| |cov(z)| / |cov(e, z)| for e ~ N(0, tau² I) and z = J e + noise."""
    S, J, tau = spd(4, rng), draw(4, 6, rng=rng), 0.7
    prior = tau**2 * torch.eye(6, dtype=torch.float64)
    at_z = J @ prior @ J.mT + S
    joint = torch.cat([torch.cat([prior, prior @ J.mT], 1), torch.cat([J @ prior, at_z], 1)])
    truth = 0.5 * (torch.logdet(prior) + torch.logdet(at_z) - torch.logdet(joint))
    got = local_information(spectrum(whitening(S[None]), (J @ J.mT)[None]), tau)
    assert_same(got, truth[None])


def test_both_parts_add_up(rng):
    S, J, slopes = spd(3, rng), draw(3, 4, rng=rng), draw(3, 3, 4, rng=rng)
    slopes = slopes + slopes.transpose(0, 1)
    inverse = torch.linalg.inv(S)
    truth = J.mT @ inverse @ J + 0.5 * torch.einsum("ij,jka,kl,lib->ab", inverse, slopes, inverse, slopes)
    found = whitening(S[None])
    values = whole_spectrum(found, J[None], covariance_root(found, slopes[None]))
    assert_same(values, torch.linalg.eigvalsh(truth)[None])
    assert_same(logdet(values, 4), torch.logdet(truth)[None])


def test_a_singular_matrix_has_minus_infinity_for_logdet(rng):
    values = torch.tensor([[0.0, 1, 2], [1, 2, 3]], dtype=torch.float64)
    assert logdet(values, 3).tolist() == [-torch.inf, pytest.approx(torch.tensor(6.0).log().item())]
    assert logdet(values, 4).tolist() == [-torch.inf] * 2  # z has fewer numbers than x
    assert logdet(values, 2)[0].item() == pytest.approx(torch.tensor(2.0).log().item())  # the other zeros are z's


def test_directions_that_follow_x_without_noise_are_counted(rng):
    A = draw(2, 4, 2, rng=rng)
    found = whitening(A @ A.mT)  # rank 2 of 4
    J = torch.stack([A[0] @ draw(2, 5, rng=rng), draw(4, 5, rng=rng)])  # the first moves within the noise's range
    assert noiseless(found, J @ J.mT, torch.finfo(torch.float64).eps).tolist() == [0, 2]


def test_a_negative_direction_is_refused():
    S = torch.tensor([[[1.0, 2], [2, 1]]], dtype=torch.float64)
    with pytest.raises(
        NumericsError, match="must be positive semi-definite; got a direction of the layer with variance -1"
    ):
        whitening(S)
