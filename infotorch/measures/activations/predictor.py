"""The loss of the predictor whose weights are drawn from the posterior, beside which invariance is to be read."""

from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.weights import weights_at
from infotorch.task import Task

__all__ = ["summed_losses"]


@torch.no_grad()
def summed_losses(task: Task, x: Any, y: Tensor, draws: Tensor) -> tuple[float, Tensor]:
    """The losses of a batch added up: at the model's weights, and at each of ``draws`` [K, P], float64 [K]."""
    plain = float(task.losses(task.outputs(x), y).double().sum())
    noisy = draws.new_zeros(len(draws))
    for k, w in enumerate(draws):
        with weights_at(task, w):
            noisy[k] = task.losses(task.outputs(x), y).double().sum()
    return plain, noisy
