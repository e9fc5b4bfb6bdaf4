import math
import pathlib

import numpy as np
import pytest
import torch

import infotorch
from infotorch.errors import ConfigError, NumericsError, ShapeError
from infotorch.linalg import lanczos, spectral_sum
from infotorch.linalg.lanczos import coefficients

GOLDEN = pathlib.Path(__file__).parents[1] / "golden/weights_information/lanczos.npz"
CASES = ("lowrank", "spread", "zero", "identity")


def golden():
    with np.load(GOLDEN) as file:
        return {key: torch.as_tensor(file[key]) for key in file.files}


def symmetric(n, rng, rank=None):
    J = torch.randn(n, rank or n, generator=rng).double()
    return J @ J.mT


def tridiagonal(alpha, beta):
    return alpha.diag() + beta.diag(1) + beta.diag(-1)


@pytest.mark.parametrize("name", CASES)
def test_goldens(name):
    """Terms of every number of steps; at n steps what the matrix's own eigenvalues give."""
    arrays = golden()
    A, s = arrays[name], float(arrays["s"])
    for m, terms in zip(arrays["steps"].tolist(), arrays[f"{name}.terms"], strict=True):
        for v, term, exact in zip(arrays["probes"], terms, arrays[f"{name}.exact_terms"], strict=True):
            got = float(v @ v) * spectral_sum(lanczos(A.matmul, v, m), lambda t: torch.log1p(s * t))
            truth, rtol = (float(exact), 1e-8) if m == len(A) else (float(term), 1e-9)
            assert got == pytest.approx(truth, rel=rtol, abs=1e-12), (m, got, truth)


def test_the_tridiagonal_matrix_is_that_of_an_orthonormal_basis(rng):
    """Q from the textbook: Gram-Schmidt of v, A v, A^2 v, ..., in one QR."""
    A, v = symmetric(9, rng), torch.randn(9, generator=rng).double()
    powers = [v]
    for _ in range(4):
        powers.append(A @ powers[-1])
    Q, R = torch.linalg.qr(torch.stack(powers, 1))
    Q = Q * R.diagonal().sign()
    T = Q.mT @ A @ Q
    alpha, beta = lanczos(A.matmul, v, 5)
    torch.testing.assert_close(tridiagonal(alpha, beta), T.tril(1).triu(-1), rtol=1e-8, atol=1e-8)
    assert float((T - T.tril(1).triu(-1)).abs().max()) < 1e-8 * float(T.norm())


def test_all_steps_give_the_form_exactly(rng):
    A, v = symmetric(30, rng), torch.randn(30, generator=rng).double()
    values, columns = torch.linalg.eigh(A)
    for fn in (torch.log1p, torch.sqrt, lambda t: t / (1 + t)):
        truth = float(v @ columns @ (fn(values.clamp(min=0)) * (columns.mT @ v)))
        got = float(v @ v) * spectral_sum(lanczos(A.matmul, v, 30), lambda t, fn=fn: fn(t.clamp(min=0)))
        assert got == pytest.approx(truth, rel=1e-8)


def test_polynomials_up_to_degree_2m_minus_1_are_exact(rng):
    A, v = symmetric(20, rng), torch.randn(20, generator=rng).double()
    tridiag = lanczos(A.matmul, v, 3)
    for degree in range(8):
        truth = float(v @ torch.linalg.matrix_power(A, degree) @ v / (v @ v))
        got = spectral_sum(tridiag, lambda t, degree=degree: t**degree)
        assert (got == pytest.approx(truth, rel=1e-10)) == (degree <= 5)


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e8, 1e150])
def test_a_breakdown_ends_the_loop(scale, rng):
    """Where the rank is reached, whatever the operator's size; nothing is made of the noise beyond."""
    A = scale * symmetric(25, rng, rank=4)
    calls = []
    alpha, beta = lanczos(lambda v: calls.append(1) or A @ v, torch.randn(25, generator=rng).double(), 25)
    assert len(alpha) == len(calls) == 5 and len(beta) == 4  # four directions of A, and what it maps to zero
    values = torch.linalg.eigvalsh(tridiagonal(alpha, beta) / scale)
    torch.testing.assert_close(values[1:], torch.linalg.eigvalsh(A / scale)[-4:], rtol=1e-9, atol=0)
    assert abs(float(values[0])) < 1e-12 * float(values[-1])


def test_no_eigenvalue_comes_out_twice(rng):
    """As they would of this spectrum without re-orthogonalization, which then lacks others."""
    A = torch.diag(torch.logspace(0, 6, 60).double())
    alpha, beta = lanczos(A.matmul, torch.ones(60).double(), 60)
    torch.testing.assert_close(torch.linalg.eigvalsh(tridiagonal(alpha, beta)), A.diagonal(), rtol=1e-6, atol=0)


def test_a_zero_operator_needs_one_step():
    alpha, beta = lanczos(torch.zeros_like, torch.ones(7), 5)
    assert alpha.tolist() == [0.0] and beta.tolist() == []
    assert spectral_sum((alpha, beta), torch.log1p) == 0


def test_more_steps_than_dimensions_and_float32_probes(rng):
    A = symmetric(6, rng)
    alpha, beta = lanczos(A.float().matmul, torch.randn(6, generator=rng), 100)
    assert len(alpha) == 6 and alpha.dtype == beta.dtype == torch.float64
    values, truth = torch.linalg.eigvalsh(tridiagonal(alpha, beta)), torch.linalg.eigvalsh(A)
    assert float((values - truth).abs().max()) < 1e-5 * float(truth[-1])
    one = lanczos(A.matmul, torch.ones(6, dtype=torch.int64), 1)
    assert one[0].tolist() == pytest.approx([float(A.sum() / 6)]) and one[1].shape == (0,)


def test_coefficients_go_on_from_where_they_were(rng):
    A, v = symmetric(40, rng), torch.randn(40, generator=rng).double()
    steps = coefficients(A.matmul, v)
    first = [next(steps) for _ in range(10)]
    both = first + [next(steps) for _ in range(10)]
    assert [step.alpha for step in both] == lanczos(A.matmul, v, 20)[0].tolist()


def test_it_is_public():
    assert infotorch.linalg.lanczos is lanczos and infotorch.linalg.spectral_sum is spectral_sum
    assert infotorch.linalg.kron_logdet(torch.ones(2), torch.ones(3), 1.0) == pytest.approx(6 * math.log(2))


def test_misuse():
    with pytest.raises(ConfigError, match=r"^lanczos: steps must be a whole number of at least 1; got 0. Correct"):
        lanczos(torch.zeros_like, torch.ones(3), 0)
    with pytest.raises(ConfigError, match=r"^lanczos: probe must not be zero; got zero"):
        lanczos(torch.zeros_like, torch.zeros(3), 2)
    with pytest.raises(NumericsError, match=r"^lanczos: probe must be finite; got NaN"):
        lanczos(torch.zeros_like, torch.full((3,), math.nan), 2)
    with pytest.raises(ShapeError, match=r"^lanczos: probe must be one vector \[n\]; got \[3, 2\]"):
        lanczos(torch.zeros_like, torch.ones(3, 2), 2)
    with pytest.raises(ShapeError, match=r"^lanczos: matvec must return a vector like its own \[3\]; got \[2\]"):
        lanczos(lambda v: v[:2], torch.ones(3), 2)
    with pytest.raises(NumericsError, match=r"^lanczos: matvec must be finite; got NaN or infinity in step 0"):
        lanczos(lambda v: v / 0, torch.ones(3), 2)
    with pytest.raises(ShapeError, match=r"^spectral_sum: tridiag must be alpha \[m\] and beta \[m - 1\]; got \[3\] a"):
        spectral_sum((torch.ones(3), torch.ones(3)), torch.log1p)
