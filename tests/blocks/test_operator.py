import sys

import numpy as np
import pytest
import torch

from infotorch.blocks.operator import linear_operator
from infotorch.errors import MissingExtraError


def test_rectangular_operators_have_a_transpose(rng):
    A = torch.randn(3, 5, dtype=torch.float64, generator=rng)
    operator = linear_operator("gram", (3, 5), lambda V: A @ V, torch.device("cpu"), lambda V: A.mT @ V)
    v, u = np.arange(5.0), np.arange(3.0)
    np.testing.assert_allclose(operator @ v, A.numpy() @ v)
    np.testing.assert_allclose(operator.T @ u, A.numpy().T @ u)
    np.testing.assert_allclose(operator.H @ np.eye(3), A.numpy().T)


def test_iterative_solvers_take_it(rng):
    from scipy.sparse.linalg import cg

    A = torch.randn(6, 6, dtype=torch.float64, generator=rng)
    F = A @ A.mT + torch.eye(6).double()
    x, info = cg(linear_operator("block", (6, 6), lambda V: F @ V, torch.device("cpu")), np.ones(6), rtol=1e-12)
    assert info == 0
    np.testing.assert_allclose(F.numpy() @ x, np.ones(6), rtol=1e-9)


def test_without_scipy_the_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse.linalg", None)
    with pytest.raises(MissingExtraError, match=r'gram: needs scipy.sparse.linalg; .* Run: pip install "infotorch\['):
        linear_operator("gram", (1, 1), lambda V: V, torch.device("cpu"))
