"""Ensembles of convolutional networks."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from infotorch.bounds.conv_stages import First, Patches, Stage, State, stages_of
from infotorch.bounds.ensemble import Ensemble, Optimizer
from infotorch.bounds.initial import Network, initial_network, stacked_state

__all__ = ["ConvEnsemble", "conv_ensemble"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvEnsemble(Ensemble):
    """Sequential convolutional networks, trained in stacks; see :func:`conv_ensemble`."""

    network: Network = field(repr=False)
    """What draws a member."""
    stages: tuple[Stage, ...] = field(repr=False)
    """Its layers on stacked tensors."""

    name: ClassVar[str] = "conv_ensemble"
    width: ClassVar[int] = 1

    def _start(self, seeds: list[int]) -> tuple[State, list[Tensor]]:
        networks = [initial_network(self.name, self.network, seed) for seed in seeds]
        state = State(*stacked_state(networks, self.x))
        for parameter in state.parameters.values():
            parameter.requires_grad_()
        return state, list(state.parameters.values())

    def _batch(self, rows: Tensor) -> tuple[Tensor | Patches, Tensor]:
        x = self.x[rows].movedim(1, -1).contiguous()  # [width, *shape, b]
        first = self.stages[0]
        return first.patches(x) if isinstance(first, First) else x, self.y[rows]

    def _backward(self, state: State, batch: tuple[Any, Tensor]) -> None:
        x, y = batch
        for parameter in state.parameters.values():
            parameter.grad = None
        for stage in self.stages:
            x = stage(x, state, True)
        self._losses(x.mT, y).backward()

    def _predict(self, state: State, rows: Tensor) -> Tensor:
        x = self.x[rows].movedim(0, -1).contiguous()
        x = x.expand(self.width, *x.shape)
        for stage in self.stages:
            x = stage(x, state, False)
        return x.mT


def conv_ensemble(
    network: Network,
    x: Tensor | np.ndarray,
    y: Tensor | np.ndarray,
    *,
    lr: float,
    momentum: float = 0.0,
    batch_size: int,
    epochs: int,
    optimizer: Optimizer = "adam",
    device: str = "cpu",
) -> ConvEnsemble:
    """An ensemble of networks."""
    x = torch.as_tensor(x)
    template = initial_network("conv_ensemble", network, 0)
    stages, num_classes = stages_of("conv_ensemble", template, x.new_zeros(1, *x.shape[1:]))
    given: dict[str, Any] = {"x": x, "y": y}
    return ConvEnsemble(
        **given, network=network, stages=stages, num_classes=num_classes, lr=lr, momentum=momentum,
        batch_size=batch_size, epochs=epochs, optimizer=optimizer, device=device,
    )  # fmt: skip
