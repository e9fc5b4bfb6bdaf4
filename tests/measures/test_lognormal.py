import math

import numpy as np
import pytest
import torch

from infotorch import lognormal_bound
from infotorch.errors import ConfigError, ShapeError


def test_one_layer():
    """g(log 2) = log(2) / 2; noise without end leaves one nat a unit."""
    assert lognormal_bound(math.log(2), 10) == pytest.approx(10 * (math.log(2) / 2 + 1), rel=1e-14)
    assert lognormal_bound(math.inf, 7) == 7
    assert lognormal_bound(1e-12, 1) == pytest.approx(1 + 6 * math.log(10), rel=1e-12)  # -log(alpha) / 2


def test_a_chain_is_its_narrowest_layer():
    alphas, dims = [0.1, 2.0, 0.5], [5, 30, 12]
    each = [lognormal_bound(a, d) for a, d in zip(alphas, dims, strict=True)]
    for chain in (alphas, tuple(alphas), np.array(alphas), torch.tensor(alphas, dtype=torch.float64)):
        assert lognormal_bound(chain, dims) == min(each)


def test_more_noise_leaves_less():
    found = [lognormal_bound(10.0**k, 3) for k in range(-9, 2)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan])
def test_noise_must_be_there(alpha):
    with pytest.raises(ConfigError, match=r"^lognormal_bound: alpha must be above 0; got"):
        lognormal_bound(alpha, 3)
    with pytest.raises(ConfigError, match=r"^lognormal_bound: alpha must be above 0; got"):
        lognormal_bound([1.0, alpha], [3, 3])


def test_misuse():
    with pytest.raises(ConfigError, match=r"^lognormal_bound: dim must be at least 1; got 0"):
        lognormal_bound(1.0, 0)
    with pytest.raises(ShapeError, match=r"^lognormal_bound: alpha and dim must have one entry a layer; got 2 and 1"):
        lognormal_bound([1.0, 2.0], 3)
    with pytest.raises(ShapeError, match=r"^lognormal_bound: alpha and dim must have one entry a layer; got 0 and 0"):
        lognormal_bound([], [])
