import math

import pytest
import torch

from infotorch.errors import ConfigError, NumericsError, ShapeError
from infotorch.linalg import kron_logdet


def test_it_is_the_log_determinant_of_the_product(rng):
    A, B = (torch.randn(n, n + 1, generator=rng).double() for n in (4, 3))
    A, B = A @ A.mT, B @ B.mT
    for scale in (0.0, 1e-6, 0.3, 50.0):
        truth = torch.logdet(torch.eye(12).double() + scale * torch.kron(B, A))
        got = kron_logdet(torch.linalg.eigvalsh(A), torch.linalg.eigvalsh(B), scale)
        assert got == pytest.approx(float(truth), rel=1e-10, abs=1e-12)


def test_small_products_keep_their_digits():
    assert kron_logdet(torch.tensor([1e-12]), torch.ones(5), 1e-6) == pytest.approx(5e-18, rel=1e-6)
    assert kron_logdet(torch.zeros(3), torch.ones(5), 7.0) == 0
    assert kron_logdet(torch.ones(0), torch.ones(5), 7.0) == 0


def test_misuse():
    with pytest.raises(ShapeError, match=r"^kron_logdet: eigenvalues must be \[I\] and \[O\]; got \[2, 2\] and \[3\]"):
        kron_logdet(torch.ones(2, 2), torch.ones(3), 1.0)
    with pytest.raises(ConfigError, match=r"^kron_logdet: scale must be finite and at least 0; got -1.0"):
        kron_logdet(torch.ones(2), torch.ones(3), -1.0)
    for bad in (-2.0, math.nan):
        with pytest.raises(NumericsError, match=r"^kron_logdet: 1 \+ scale \* a \* b must be above 0; got"):
            kron_logdet(torch.tensor([1.0, bad]), torch.ones(3), 1.0)
