"""The whole curvature matrix, or a block of it a parameter tensor."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.factors import sample_slice, write_gradients
from infotorch.blocks.fisher import fisher_parts
from infotorch.blocks.layout import layer_of
from infotorch.blocks.parts import Part
from infotorch.errors import ConfigError, mebibytes
from infotorch.linalg.definite import checked_eigh
from infotorch.linalg.eigen import Eigen, eigh
from infotorch.measures.weights.family import Family, layer_sums
from infotorch.measures.weights.hessian import hessian
from infotorch.measures.weights.posterior import BlockPosterior, Posterior
from infotorch.measures.weights.problem import Problem
from infotorch.measures.weights.spectrum import Spectrum, owners

__all__ = ["Blocks", "Dense", "DenseHessian"]

WHERE = "weights_information"
ROWS_BYTES = 64 * 2**20
"""Of formed gradients, float64, that are multiplied at once."""


class Dense(Family):
    """All of the Fisher matrix, by its eigendecomposition."""

    def __init__(self, matrix: Tensor, problem: Problem, *, definite: bool = True) -> None:
        self.shapes = problem.task.shapes
        root = problem.relative.sqrt()
        matrix = root[:, None] * matrix * root
        self.eigen = checked_eigh(WHERE, matrix) if definite else eigh(matrix)
        self.spectrum = Spectrum(theta=self.eigen.values, weight=torch.ones_like(self.eigen.values))

    @classmethod
    def of(cls, problem: Problem) -> "Dense":
        return cls(problem.fisher("full").dense(), problem)

    def layer_traces(self, s: float) -> dict[str, float]:
        shrunk = s * self.eigen.values / (1 + s * self.eigen.values)
        return layer_sums(shrunk @ self.eigen.vectors.square(), self.shapes)

    def posterior(self, s: float, **around: Any) -> Posterior:
        return BlockPosterior(blocks=[_shifted(self.eigen, s)], **around)


class DenseHessian(Dense):
    """The loss's Hessian, which may have negative eigenvalues."""

    @classmethod
    def of(cls, problem: Problem) -> "DenseHessian":
        return cls(hessian(problem), problem, definite=False)


class Blocks(Family):
    """A block of the Fisher matrix for every parameter tensor, zero between them."""

    def __init__(self, blocks: dict[str, Tensor], problem: Problem) -> None:
        roots = problem.relative.sqrt().split([len(block) for block in blocks.values()])
        self.eigens: Sequence[Eigen] = [
            checked_eigh(WHERE, root[:, None] * block * root)
            for root, block in zip(roots, blocks.values(), strict=True)
        ]
        theta = torch.cat([eigen.values for eigen in self.eigens])
        layers, owner = owners([(layer_of(name), len(block)) for name, block in blocks.items()], theta.device)
        self.spectrum = Spectrum(theta=theta, weight=torch.ones_like(theta), layers=layers, owner=owner)

    @classmethod
    def of(cls, problem: Problem) -> "Blocks":
        shapes = problem.task.shapes
        need = 8 * sum(shape.numel() ** 2 for shape in shapes.values())
        if need > problem.limit:
            raise ConfigError(
                f'{WHERE}: memory_limit must hold a square of every parameter for estimator="block" (needs '
                f'{mebibytes(need)}); got {mebibytes(problem.limit)}. Raise memory_limit, or take estimator="kfac".'
            )
        blocks = {name: problem.relative.new_zeros(shape.numel(), shape.numel()) for name, shape in shapes.items()}
        with torch.no_grad():
            for part in fisher_parts(WHERE, problem.task, problem.data, problem.drawn, **problem.options):
                _add(blocks, part)
        return cls(blocks, problem)

    def posterior(self, s: float, **around: Any) -> Posterior:
        return BlockPosterior(blocks=[_shifted(eigen, s) for eigen in self.eigens], **around)


def _shifted(eigen: Eigen, s: float) -> Eigen:
    """Of I + s H."""
    return replace(eigen, values=1 + s * eigen.values)


def _add(blocks: dict[str, Tensor], part: Part) -> None:
    """Outer products of a capture's gradients, some samples at a time."""
    for pair in part.cap.pairs.values():
        rows = 8 * part.cap.K * sum(shape.numel() for shape in pair.shapes.values())
        step = max(1, ROWS_BYTES // rows)
        for start in range(0, pair.N, step):
            few = sample_slice(pair, slice(start, min(start + step, pair.N)))
            leading = (few.N,) if part.cap.seeds is None else (few.N, part.cap.K)
            out = {name: pair.b.new_empty(*leading, *shape) for name, shape in pair.shapes.items()}
            write_gradients(few, out)
            for name, g in out.items():
                G = g.reshape(few.N * part.cap.K, -1).double()
                blocks[name].addmm_(G.mT, G)
