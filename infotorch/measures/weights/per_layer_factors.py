"""A Kronecker product a layer in place of its curvature."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.kfac import Kfac, Kronecker
from infotorch.blocks.layout import layer_of, split
from infotorch.measures.weights.family import Family
from infotorch.measures.weights.posterior import KfacPosterior, Posterior
from infotorch.measures.weights.problem import Problem
from infotorch.measures.weights.spectrum import Spectrum, owners

__all__ = ["PerLayerFactors"]


class PerLayerFactors(Family):
    """K-FAC, and the exact diagonal of parameters that are no matrix of a dense layer."""

    def __init__(self, block: Kfac, relative: Tensor) -> None:
        self.curvature = _relative(block, relative)
        parts = [(layer_of(layer.weight), layer.eigenvalues.flatten()) for layer in self.curvature.factors]
        parts += [(layer_of(name), own.double().flatten()) for name, own in self.curvature.diagonal.items()]
        theta = torch.cat([values for _, values in parts])
        layers, owner = owners([(path, len(values)) for path, values in parts], theta.device)
        self.spectrum = Spectrum(theta=theta, weight=torch.ones_like(theta), layers=layers, owner=owner)

    @classmethod
    def of(cls, problem: Problem) -> "PerLayerFactors":
        block = problem.fisher("kfac")
        assert isinstance(block, Kfac)
        return cls(block, problem.relative)

    def posterior(self, s: float, **around: Any) -> Posterior:
        return KfacPosterior(curvature=self.curvature, s=s, **around)


def _relative(block: Kfac, relative: Tensor) -> Kfac:
    """In the prior's units; a layer's variance scales its inputs' factor."""
    if bool((relative == 1).all()):
        return block
    variances = split(relative, block.shapes)
    diagonal = {name: own.double() * variances[name] for name, own in block.diagonal.items()}
    return replace(block, factors=tuple(_scaled(layer, variances) for layer in block.factors), diagonal=diagonal)


def _scaled(layer: Kronecker, variances: dict[str, Tensor]) -> Kronecker:
    roots = layer.join({name: part[None].sqrt() for name, part in variances.items()})  # [1, groups, O, I (+ 1)]
    root = roots[0, :, 0]
    return replace(layer, A_held=root[:, :, None] * layer.A.double() * root[:, None, :])
