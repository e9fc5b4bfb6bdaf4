"""The loss of the predictor whose weights are drawn from the posterior, beside which invariance is to be read."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from infotorch.blocks.layout import split
from infotorch.measures.activations.noise import WeightNoise
from infotorch.task import Task

__all__ = ["summed_losses"]


class _Outputs(nn.Module):
    """The task's outputs as a module's, whose parameters may be given by name."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model, self.task = task.model, task

    def forward(self, x: Any) -> Tensor:
        return self.task.outputs(x)


@torch.no_grad()
def summed_losses(task: Task, x: Any, y: Tensor, noise: WeightNoise, draws: Tensor) -> tuple[float, Tensor]:
    """The losses of a batch added up: at the model's weights, and at each of ``draws`` [K, P], float64 [K]."""
    plain = float(task.losses(task.outputs(x), y).double().sum())
    outputs = _Outputs(task)
    parameters = task.parameters()
    noisy = []
    for flat in draws:
        weights = {f"model.{name}": w.to(parameters[name]) for name, w in split(flat, noise.shapes).items()}
        noisy.append(task.losses(functional_call(outputs, weights, (x,)), y).double().sum())
    return plain, torch.stack(noisy) if noisy else draws.new_zeros(0)
