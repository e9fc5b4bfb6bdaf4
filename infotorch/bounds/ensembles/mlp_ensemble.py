"""Ensembles of multi-layer perceptrons by batched matrix products."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from infotorch.bounds.ensembles.ensemble import NetworkEnsemble, Optimizer, initial_seed
from infotorch.bounds.theory.information import integer
from infotorch.errors import ConfigError

__all__ = ["MlpEnsemble", "mlp_ensemble"]

Weights = list[Tensor]
WIDTH = 16
"""Every layer's features are filled up with zeros to a multiple: BLAS may add up in another order where a member's
matrices begin at another alignment than its neighbours', and a cell's bits shall not follow from its neighbours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MlpEnsemble(NetworkEnsemble):
    """Perceptrons with ReLU, trained in stacks; see :func:`mlp_ensemble`."""

    hidden: tuple[int, ...]
    """Widths of the hidden layers."""

    num_features: int = field(init=False)
    """I."""

    name: ClassVar[str] = "mlp_ensemble"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "num_features", self.x.flatten(1).shape[1])
        object.__setattr__(self, "x", _filled(self.x.flatten(1)))
        object.__setattr__(self, "hidden", tuple(integer(self.name, "hidden", size) for size in self.hidden))
        if any(size < 1 for size in self.hidden):
            raise ConfigError(f"{self.name}: hidden must be positive; got {list(self.hidden)}. Pass widths of layers.")

    def _start(self, seeds: list[int]) -> tuple[Weights, Weights]:
        sizes = [self.num_features, *self.hidden, self.num_classes]
        shapes = [shape for I, O in pairwise(sizes) for shape in ((O, I), (O,))]
        fans = [I for I in sizes[:-1] for _ in "wb"]
        members = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(initial_seed(seed))
            # float32 whatever x is: an ensemble in float64 starts where the one in float32 does
            members.append(
                [
                    torch.empty(shape).uniform_(-(fan**-0.5), fan**-0.5, generator=generator)
                    for shape, fan in zip(shapes, fans, strict=True)
                ]
            )
        weights = [_filled(torch.stack(same).to(self.x)) for same in zip(*members, strict=True)]
        weights[::2] = [_filled(w.mT).mT.contiguous() for w in weights[::2]]
        return weights, weights

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        flat = rows.flatten()
        x = self.x.index_select(0, flat).view(*rows.shape, -1)
        return x, (self.y[flat, None] == torch.arange(self.num_classes, device=x.device)).to(x).view(*rows.shape, -1)

    @torch.no_grad()
    def _backward(self, weights: Weights, batch: tuple[Tensor, Tensor]) -> None:
        x, target = batch
        inputs = self._layers(weights, x)  # of each layer, [width, b, I], and at the end the logits
        logits = inputs.pop()
        g = torch.zeros_like(logits)  # [width, b, O]
        g[..., : self.num_classes] = logits[..., : self.num_classes].softmax(-1).sub_(target).div_(x.shape[1])
        for layer in reversed(range(len(inputs))):
            w, b = weights[2 * layer], weights[2 * layer + 1]
            a = inputs[layer]
            w.grad, b.grad = g.mT @ a, g.sum(1)
            if layer:
                g = torch.ops.aten.threshold_backward(g @ w, a, 0)

    def _predict(self, weights: Weights, rows: Tensor) -> Tensor:
        return self._layers(weights, self.x[rows].expand(self.width, -1, -1))[-1][..., : self.num_classes]

    def _layers(self, weights: Weights, x: Tensor) -> list[Tensor]:
        outputs = [x]
        for layer in range(len(weights) // 2):
            w, b = weights[2 * layer], weights[2 * layer + 1]
            a = outputs[-1].relu_() if layer else x
            outputs.append(torch.baddbmm(b[:, None], a, w.mT))
        return outputs


def _filled(x: Tensor) -> Tensor:
    """Zeros behind the last axis, up to a multiple of ``WIDTH``."""
    return torch.nn.functional.pad(x, (0, -x.shape[-1] % WIDTH))


def mlp_ensemble(
    x: Tensor | np.ndarray,
    y: Tensor | np.ndarray,
    *,
    hidden: int | Sequence[int],
    num_classes: int,
    lr: float,
    momentum: float = 0.0,
    batch_size: int,
    epochs: int,
    optimizer: Optimizer = "sgd",
    device: str = "cpu",
) -> MlpEnsemble:
    """An ensemble of perceptrons I - hidden - C with ReLU, ``fn(cells, indices, checkpoints=())``.

    Each layer of all members is one ``torch.baddbmm``. Weights and biases start uniform in ±1/sqrt(fan-in), which is
    nn.Linear's rule, drawn from the cell's seed. On one machine with one number of threads a cell's logits are the
    same bits whichever cells it is trained with.

    Args:
        x: Inputs of the pool, float32 or float64 [N, ...], flattened to [N, I].
        y: Their labels, integers [N] in 0..num_classes - 1.
        hidden: Width of the hidden layer, or the widths of several.
        num_classes: C.
        lr: Learning rate.
        momentum: Of SGD.
        batch_size: Samples a step.
        epochs: Passes over the training set.
        optimizer: ``sgd`` or ``adam``.
        device: Where to train.

    Returns:
        A frozen, picklable :class:`MlpEnsemble`; calling it returns labels, its method ``logits`` what is behind.

    Raises:
        ConfigError: An option is out of range.
        DataError: x is not finite, or y holds what is no class.
        ShapeError: x and y differ in length.

    Example:
        >>> fn = mlp_ensemble(x, y, hidden=32, num_classes=2, lr=0.05, momentum=0.9, batch_size=25, epochs=20)
        >>> fn([(train_indices, 0), (train_indices, 1)], range(len(x))).shape
        (2, 361)
    """
    sizes = tuple(hidden) if np.iterable(hidden) else (hidden,)
    given: dict[str, Any] = {"x": x, "y": y}
    return MlpEnsemble(
        **given, hidden=sizes, num_classes=num_classes, lr=lr, momentum=momentum, batch_size=batch_size, epochs=epochs,
        optimizer=optimizer, device=device,
    )  # fmt: skip
