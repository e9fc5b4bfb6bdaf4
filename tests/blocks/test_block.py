import pytest
import torch

from infotorch.blocks import Diagonal, Full
from infotorch.blocks.layout import split
from infotorch.errors import ConfigError, NotSupported, NumericsError, ShapeError

SHAPES = {"w": torch.Size([2, 2]), "b": torch.Size([2])}
VALUES = torch.tensor([1.0, 0.0, 2.0, 3.0, 1.0, 1.0]).double()
SINGULAR = Diagonal(shapes=SHAPES, values=split(VALUES, SHAPES))


def test_vectors_are_checked():
    for v in (torch.zeros(5), torch.zeros(3, 6, 1), 3.0):
        with pytest.raises(ShapeError, match=r"block.@: v must be \[P\] or \[P, J\] with P = 6, or a dict"):
            SINGULAR @ v
    with pytest.raises(ShapeError, match=r"block.solve: v must be a tensor or a dict with every selected parameter"):
        SINGULAR.solve({"w": torch.zeros(2, 2)}, damping=1.0)


def test_singular_matrices_are_refused():
    full = Full(shapes=SHAPES, values=SINGULAR.dense())
    for block in (SINGULAR, full):
        for call in (block.logdet, lambda block=block: block.solve(torch.ones(6))):
            with pytest.raises(NumericsError, match=r"must be positive definite with damping=0; got .* Raise damping."):
                call()
        assert block.logdet(damping=1.0) == pytest.approx(float((VALUES + 1).log().sum()))


def test_damping_is_checked():
    for damping in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"damping must be finite and at least 0; got"):
            SINGULAR.solve(torch.ones(6), damping=damping)
        with pytest.raises(ConfigError, match=r"damping must be finite and at least 0; got"):
            SINGULAR.logdet(damping=damping)


def test_indefinite_matrices_have_no_eigenvalues_here():
    values = torch.eye(6, dtype=torch.float64)
    values[0, 0] = -1e-3
    for block in (Full(shapes=SHAPES, values=values), Diagonal(shapes=SHAPES, values=split(values.diagonal(), SHAPES))):
        for call in (block.eigh, block.eigenvalues):
            with pytest.raises(NumericsError, match=r"must be positive semi-definite; got an eigenvalue of -0.001"):
                call()
    values[0, 0] = -1e-17
    assert Full(shapes=SHAPES, values=values).eigenvalues()[0] == 0, "rounding is not a negative eigenvalue"


def test_what_is_too_large_to_write_out_is_refused():
    large = Diagonal(shapes={"w": torch.Size([20000])}, values={"w": torch.ones(20000)})
    with pytest.raises(NotSupported, match=r"block.dense: .* must fit in 2048 MiB; got P = 20000, 3052 MiB. Multiply"):
        large.dense()
    with pytest.raises(NotSupported, match=r"Take eigenvalues\(\)."):
        large.eigh()
    assert large.trace() == 20000 and large.eigenvalues().shape == (20000,)


def test_vectors_of_whole_numbers_are_refused():
    ones = torch.ones(6, dtype=torch.int64)
    for call in (lambda v: SINGULAR @ v, lambda v: SINGULAR.solve(v, damping=1.0)):
        with pytest.raises(ConfigError, match=r"v must be of floats, as the result is of its dtype; got torch.int64"):
            call(ones)
        with pytest.raises(ConfigError, match=r"v\['b'\] must be of floats, .*; got torch.int64. Pass v\['b'\].double"):
            call({"w": torch.ones(2, 2), "b": ones[:2]})
