"""What every matrix does, whatever is kept of it, against NumPy's on the dense one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from infotorch.blocks import Block
from infotorch.blocks.layout import split
from tests.laws import assert_same, assert_same_bits

RTOL = 1e-9
"""Relative, of solves by other routes than the dense one, with a damping not far below the eigenvalues."""


def close(got: Tensor, truth: Tensor, what: str) -> None:
    assert got.shape == truth.shape and got.dtype == truth.dtype
    error, size = (got - truth).norm(), truth.norm()
    assert error <= RTOL * size, f"{what}: relative error {error / size:.1e}"


def block_laws(block: Block, F: Tensor, damping: float = 0.1) -> None:
    """``block`` is the dense symmetric float64 matrix F [P, P]."""
    P = len(F)
    rng = torch.Generator().manual_seed(3)
    v, V = (torch.randn(*size, dtype=torch.float64, generator=rng) for size in ((P,), (P, 3)))
    assert block.shape == (P, P) and P == block.P
    close(block.dense(), F, "dense")
    assert_same_bits(block.dense(), block.dense().mT.contiguous())
    close(block.diag(), F.diagonal(), "diag")
    assert block.trace() == pytest.approx(float(F.trace()), rel=1e-12)

    assert_same(block @ v, F @ v)
    assert_same(block @ V, F @ V)
    named = block @ {name: part for name, part in split(v, block.shapes).items()}
    assert list(named) == list(block.shapes)
    for name, part in split(F @ v, block.shapes).items():
        assert (named[name] - part).norm() <= 1e-12 * (F @ v).norm() and named[name].shape == part.shape
    several = block.solve(split(V.mT, block.shapes), damping=damping)
    assert {name: part.shape[0] for name, part in several.items()} == dict.fromkeys(block.shapes, 3)

    shifted = F + damping * torch.eye(P, dtype=torch.float64)
    truth = torch.from_numpy(np.linalg.solve(shifted.numpy(), V.numpy()))
    close(block.solve(V, damping=damping), truth, "solve")
    close(block.solve(v, damping=damping), torch.from_numpy(np.linalg.solve(shifted.numpy(), v.numpy())), "solve one")
    for name, part in split(truth.mT, block.shapes).items():
        close(several[name].contiguous(), part.contiguous(), f"solve of {name}")
    assert block.logdet(damping=damping) == pytest.approx(np.linalg.slogdet(shifted.numpy())[1], rel=1e-10)

    values = torch.from_numpy(np.linalg.eigvalsh(F.numpy()))
    assert (block.eigenvalues() - values).abs().max() <= 1e-12 * values.max()
    assert (block.eigenvalues() >= 0).all()
    found = block.eigh()
    assert (found.values.diff() >= 0).all()
    close(found.vectors.mT @ torch.diag(found.values) @ found.vectors, F, "eigh")
    identity = torch.eye(len(found.values), dtype=torch.float64)
    assert (found.vectors @ found.vectors.mT - identity).abs().max() < 1e-12

    operator = block.to_linear_operator()
    assert operator.shape == (P, P) and operator.dtype == np.float64
    close(torch.from_numpy(operator @ V.numpy()), F @ V, "operator on a matrix")
    close(torch.from_numpy(operator.T @ v.numpy()), F @ v, "transposed operator")

    single = v.float()
    assert (block @ single).dtype == block.solve(single, damping=1.0).dtype == torch.float32
    assert_same(block @ single, F @ single.double())
