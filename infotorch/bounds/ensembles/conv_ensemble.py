"""Ensembles of convolutional networks.

Raced on a CPU with the four-layer network of the f-CMI paper, one grouped convolution over the members took as long a
member as a loop over ordinary modules, with channels_last or without; unfolding and batched products gained little,
because a step is then bound by memory. So convolutions are kernels of their own on tensors with the samples innermost,
which lay out a row at a time what their products read; a norm and its ReLU read memory once; the first layer's norm is
in its weights; and the memory of a step serves the next one. The rest works on small stacks: larger ones leave the
cache, in smaller ones the calls count.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from infotorch.bounds.ensembles.conv_stages import First, Patches, Stage, State, stages_of
from infotorch.bounds.ensembles.ensemble import NetworkEnsemble, Optimizer, check_real
from infotorch.bounds.ensembles.initial import Network, initial_network, stacked_state

__all__ = ["ConvEnsemble", "conv_ensemble"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvEnsemble(NetworkEnsemble):
    """Sequential convolutional networks, trained in stacks; see :func:`conv_ensemble`."""

    network: Network = field(repr=False)
    """What draws a member."""
    stages: tuple[Stage, ...] = field(repr=False)
    """Its layers on stacked tensors."""

    name: ClassVar[str] = "conv_ensemble"

    @property
    def width(self) -> int:
        return 8 if self.x.is_cpu else super().width

    def _start(self, seeds: list[int]) -> tuple[State, list[Tensor]]:
        state = State(*stacked_state(self.name, self.network, seeds, self.x))
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
    """An ensemble of a Sequential of convolutions, batch norms, activations, pools and linear layers.

    Batch norm keeps each member's own statistics, and predicts by the running ones. A convolution's bias in front of a
    batch norm, which takes it out again, has the gradient 0. On a CPU, members are trained in stacks of 8, so a single
    cell costs as much as 8.

    Args:
        network: A Sequential, of which each member is a copy whose layers draw their parameters anew by
            ``reset_parameters``, or a function that returns a new one; both are run under torch's generator set by the
            cell's seed. To be sent to another process, the function must be importable. Sequentials may be nested.
        x: Inputs of the pool, float32 or float64 [N, C, H, W].
        y: Their labels, integers [N] in 0..C - 1, C being the number of logits.
        lr: Learning rate.
        momentum: Of SGD.
        batch_size: Samples a step.
        epochs: Passes over the training set.
        optimizer: ``sgd`` or ``adam``.
        device: Where to train.

    Returns:
        A frozen :class:`ConvEnsemble`; calling it returns labels, its method ``logits`` what is behind.

    Raises:
        ConfigError: An option is out of range, or a last batch of one sample leaves batch norm a single value.
        DataError: x is not finite, or y holds what is no class.
        NotSupported: A layer can't be turned, or has parameters of another one; the text names it.
        ShapeError: x and y differ in length, or the layers don't fit x.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
        >>> fn = conv_ensemble(net, x, y, lr=1e-3, batch_size=128, epochs=20)
        >>> fn([(train_indices, 0), (train_indices, 1)], range(len(x)), checkpoints=[10, 20]).shape
        (2, 2, 361)
    """
    x = torch.as_tensor(x)
    check_real("conv_ensemble", x)  # before its dtype is the template's
    template = initial_network("conv_ensemble", network, 0)
    stages, num_classes = stages_of("conv_ensemble", template, x.new_zeros(1, *x.shape[1:]))
    given: dict[str, Any] = {"x": x, "y": y}
    return ConvEnsemble(
        **given, network=network, stages=stages, num_classes=num_classes, lr=lr, momentum=momentum,
        batch_size=batch_size, epochs=epochs, optimizer=optimizer, device=device,
    )  # fmt: skip
