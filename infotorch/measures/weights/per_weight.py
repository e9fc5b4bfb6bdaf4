"""The curvature's diagonal: a variance a weight, or one for all weights of an output unit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.blocks.layout import layer_of
from infotorch.measures.weights.family import Family
from infotorch.measures.weights.posterior import DiagonalPosterior, Posterior
from infotorch.measures.weights.problem import Problem
from infotorch.measures.weights.spectrum import Spectrum, owners
from infotorch.task import Task

__all__ = ["PerUnit", "PerWeight", "output_units"]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class PerWeight(Family):
    """A variance for each unit of weights, from the mean of the curvature's diagonal over the unit."""

    def __init__(self, diagonal: Tensor, units: Tensor, layers: Mapping[str, torch.Size]) -> None:
        """From the diagonal [P] relative to the prior, each weight's unit [P], and the parameters."""
        self.units = units
        size = torch.bincount(units).to(diagonal)
        theta = torch.zeros_like(size).index_add_(0, units, diagonal) / size
        paths, of_weights = owners([(layer_of(name), shape.numel()) for name, shape in layers.items()], units.device)
        owner = torch.zeros_like(units[: len(size)]).index_copy_(0, units, of_weights)
        self.spectrum = Spectrum(theta=theta, weight=size, layers=paths, owner=owner)

    @classmethod
    def of(cls, problem: Problem) -> "PerWeight":
        units = torch.arange(len(problem.relative)).to(problem.relative.device)
        return cls(problem.relative * problem.fisher("diagonal").diag(), units, problem.task.shapes)

    def posterior(self, s: float, **around: Any) -> Posterior:
        return DiagonalPosterior(precision=(1 + s * self.spectrum.theta)[self.units], **around)


class PerUnit(PerWeight):
    """One variance an output unit; its bias belongs to it."""

    @classmethod
    def of(cls, problem: Problem) -> "PerUnit":
        units = output_units(problem.task).to(problem.relative.device)
        return cls(problem.relative * problem.fisher("diagonal").diag(), units, problem.task.shapes)


def output_units(task: Task) -> Tensor:
    """The output unit of every selected weight, int64 [P], counted from 0.

    A unit is a row of a weight's first axis (the outputs of a Linear or Conv, the tokens of a table, the entries of a
    vector), an output channel of a transposed convolution; entry o of ``bias`` belongs to row o of the ``weight``
    beside it.
    """
    owners = {id(p): module for module in task.model.modules() for p in module._parameters.values()}
    found: dict[str, Tensor] = {}
    total = 0
    parameters = task.parameters()
    for name, p in sorted(parameters.items(), key=lambda item: "bias" in item[0].rpartition(".")[2]):
        path, dot, leaf = name.rpartition(".")
        weight = f"{path}{dot}{leaf.replace('bias', 'weight')}"
        rows = found[weight].unique() if weight != name and weight in found else None
        if rows is not None and len(rows) == p.numel():
            found[name] = rows
            continue
        units = _rows_of(p, owners[id(p)])
        found[name] = total + units
        total += int(units.max()) + 1 if units.numel() else 0
    return torch.cat([found[name].flatten() for name in parameters])


def _rows_of(p: Tensor, module: nn.Module) -> Tensor:
    """The unit of each element, from 0, in p's shape."""
    if p.dim() == 0:
        return torch.zeros((), dtype=torch.int64)
    rest = (1,) * (p.dim() - 1)
    if isinstance(module, _TRANSPOSED) and p.dim() > 2:
        inputs, outputs = p.shape[:2]
        group = torch.arange(inputs) // (inputs // module.groups)
        units = group[:, None] * outputs + torch.arange(outputs)
        return units.view(inputs, outputs, *rest[1:]).expand(p.shape)
    return torch.arange(len(p)).view(-1, *rest).expand(p.shape)
