import re

import numpy as np
import pytest
import torch

from infotorch.blocks import Gram
from infotorch.errors import ConfigError, NotSupported, NumericsError, ShapeError


def test_matrix_is_a_sample_major_view():
    values = torch.arange(36.0, dtype=torch.float64).view(2, 3, 2, 3)
    gram = Gram(values=values, outputs=torch.zeros(2, 3), outputs2=torch.zeros(2, 3), symmetric=False)
    assert gram.matrix[1 * 3 + 2, 0 * 3 + 1] == values[1, 2, 0, 1]
    assert gram.matrix.data_ptr() == values.data_ptr() and (gram.N, gram.M, gram.C) == (2, 2, 3)


@pytest.mark.parametrize(
    "values", [torch.zeros(2, 3, 2, 3), torch.zeros(2, 3, 4, 3).double(), torch.zeros(3, 4).double()]
)
def test_shapes_and_dtype_are_checked(values):
    with pytest.raises(ShapeError, match=re.escape(f"got {values.dtype} {list(values.shape)}")):
        Gram(values=values, outputs=torch.zeros(2, 3), outputs2=torch.zeros(2, 3), symmetric=False)


def gram_of(J, outputs="full"):
    """(Gram, matrix) of Jacobians [N, C, P]."""
    N, C, _ = J.shape
    values = torch.einsum("ncp,mdp->ncmd", J, J) if outputs == "full" else torch.einsum("ncp,mcp->nm", J, J)
    matrix = values.reshape(N * C, N * C) if outputs == "full" else values
    values = ((matrix + matrix.mT) / 2).view_as(values)
    f0 = torch.zeros(N, C, dtype=torch.float64)
    return Gram(values=values, outputs=f0, outputs2=f0, symmetric=True), ((matrix + matrix.mT) / 2).numpy()


@pytest.mark.parametrize("outputs", ["full", "trace"])
def test_algebra_is_numpys(outputs, rng):
    K, dense = gram_of(torch.randn(4, 2, 20, dtype=torch.float64, generator=rng), outputs)
    size = len(dense)
    v, V = (torch.randn(*s, dtype=torch.float64, generator=rng) for s in ((size,), (size, 3)))
    shifted = dense + 0.1 * np.eye(size)
    assert K.shape == (size, size)
    np.testing.assert_allclose(K.dense(), dense)
    np.testing.assert_allclose(K @ v, dense @ v.numpy())
    np.testing.assert_allclose(K @ V, dense @ V.numpy())
    np.testing.assert_allclose(K.solve(V, ridge=0.1), np.linalg.solve(shifted, V.numpy()))
    np.testing.assert_allclose(K.solve(v, ridge=0.1), np.linalg.solve(shifted, v.numpy()))
    assert K.logdet(ridge=0.1) == pytest.approx(np.linalg.slogdet(shifted)[1])
    assert K.trace() == pytest.approx(np.trace(dense))
    np.testing.assert_allclose(K.diag(), np.diag(dense))
    found = K.eigh()
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(dense), atol=1e-12)
    np.testing.assert_allclose(found.vectors.mT @ found.values.diag() @ found.vectors, dense, atol=1e-12)
    np.testing.assert_allclose(K.to_linear_operator() @ V.numpy(), dense @ V.numpy())


def test_targets_come_as_samples_and_outputs(rng):
    K, dense = gram_of(torch.randn(4, 3, 20, dtype=torch.float64, generator=rng))
    y = torch.randn(4, 3, dtype=torch.float32, generator=rng)
    solved = K.solve(y, ridge=1.0)
    assert solved.shape == (4, 3) and solved.dtype == torch.float32
    truth = np.linalg.solve(dense + np.eye(12), y.numpy().astype(np.float64).ravel())
    np.testing.assert_allclose(solved.flatten(), truth, rtol=1e-5)
    np.testing.assert_allclose((K @ y.double()).flatten(), dense @ y.double().numpy().ravel())


def test_two_sets_multiply_and_no_more(rng):
    J = torch.randn(5, 2, 20, dtype=torch.float64, generator=rng)
    values = torch.einsum("ncp,mdp->ncmd", J[:2], J[2:])
    K = Gram(values=values, outputs=torch.zeros(2, 2).double(), outputs2=torch.zeros(3, 2).double(), symmetric=False)
    v = torch.randn(6, dtype=torch.float64, generator=rng)
    np.testing.assert_allclose(K @ v, values.reshape(4, 6).numpy() @ v.numpy())
    assert (K @ v.view(3, 2)).shape == (2, 2) and K.shape == (4, 6)
    np.testing.assert_allclose(K.to_linear_operator().T @ np.ones(4), values.reshape(4, 6).numpy().T @ np.ones(4))
    for call in (K.trace, K.eigh, K.logdet, K.diag, lambda: K.solve(v)):
        with pytest.raises(NotSupported, match=r"rows and columns must be the same samples; got 2 against 3 others"):
            call()


def test_what_has_no_inverse_is_refused():
    K = Gram(values=torch.ones(2, 2).double(), outputs=torch.zeros(2, 1), outputs2=torch.zeros(2, 1), symmetric=True)
    for call in (K.logdet, lambda: K.solve(torch.ones(2))):
        with pytest.raises(NumericsError, match=r"must be positive definite with ridge=0; got .* Raise ridge"):
            call()
    with pytest.raises(ShapeError, match=r"gram.solve: v must be \[2\], \[2, J\] or \[2, 1\]; got \[3\]"):
        K.solve(torch.ones(3), ridge=1.0)
    with pytest.raises(ConfigError, match=r"gram.solve: ridge must be finite and at least 0; got -1.0"):
        K.solve(torch.ones(2), ridge=-1.0)
    K = Gram(values=-torch.eye(2).double(), outputs=torch.zeros(2, 1), outputs2=torch.zeros(2, 1), symmetric=True)
    with pytest.raises(NumericsError, match=r"gram.eigh: the matrix must be positive semi-definite"):
        K.eigh()


def test_vectors_of_whole_numbers_are_refused():
    K = Gram(values=torch.eye(2).double(), outputs=torch.zeros(2, 1), outputs2=torch.zeros(2, 1), symmetric=True)
    for call in (lambda v: K @ v, lambda v: K.solve(v, ridge=1.0)):
        with pytest.raises(ConfigError, match=r"gram.*: v must be of floats, .*; got torch.int64. Pass v.double\(\)."):
            call(torch.ones(2, dtype=torch.int64))
