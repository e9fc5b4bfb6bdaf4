"""What is sent back through the model: the loss's own gradient, or cotangents of the outputs, one a seed."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from infotorch.errors import ConfigError, NotSupported, NumericsError, ShapeError, check_choice
from infotorch.task import Generative, Task
from infotorch.task.targets import IGNORED_LABEL

__all__ = ["MAX_COLUMNS", "Seeds", "check_seeds", "cotangents", "is_curvature"]

Seeds = Literal["logits", "fisher"] | tuple[str, int, int] | Tensor
"""The words and tensors that ``seeds`` may be."""

MAX_COLUMNS = 4096
"""Backward passes that an exact Fisher may take; beyond it, positions times classes are meant to be drawn."""


def check_seeds(seeds: Seeds | None) -> None:
    """Refuse what is no choice of seeds, before anything runs."""
    if seeds is None or isinstance(seeds, Tensor):
        return
    if isinstance(seeds, str):
        check_choice("capture", "seeds", seeds, ["logits", "fisher"])
        return
    whole = isinstance(seeds, tuple) and len(seeds) == 3 and seeds[0] in ("mc", "sketch")
    if not whole or not all(isinstance(n, int) for n in seeds[1:]) or seeds[1] < 1:
        raise ConfigError(
            f'capture: seeds must be None, "logits", "fisher", ("mc", draws, seed), ("sketch", passes, seed) or a '
            f"tensor; got {seeds!r}. Give whole numbers, with at least one draw."
        )


def is_curvature(seeds: Seeds | None) -> bool:
    """Seeds whose outer products are the loss's Fisher information, which labels may leave parts out of."""
    return isinstance(seeds, tuple) or (isinstance(seeds, str) and seeds == "fisher")


def cotangents(task: Task, seeds: Seeds | None, outputs: Tensor, y: Tensor | None) -> Sequence[Tensor | None]:
    """K output cotangents [N, ...]; a single None is the summed loss's own.

    Args:
        task: Whose loss has the curvature and draws the labels.
        seeds: As :func:`infotorch.capture` takes them.
        outputs: [N, ...].
        y: Labels, where the batch has some: positions that the loss leaves out have no curvature.
    """
    if seeds is None:
        return [None]
    if isinstance(seeds, Tensor):
        if seeds.shape[1:] != outputs.shape:
            raise ShapeError(
                f"capture: seeds must be [K, N, ...] for outputs {list(outputs.shape)}; got {list(seeds.shape)}. "
                "Pass one cotangent of the outputs' shape a seed."
            )
        return list(seeds.to(outputs.dtype))
    outputs = outputs.detach()
    if isinstance(seeds, tuple):
        kind, draws, seed = seeds
        return (_drawn if kind == "mc" else _sketched)(task, outputs, y, draws, seed)
    if seeds == "fisher":
        return _Columns(task.criterion.hessian_sqrt(outputs, y), outputs)
    shape = outputs.shape[1:]
    eye = torch.eye(shape.numel(), dtype=outputs.dtype, device=outputs.device)
    return [row.view(shape).expand_as(outputs) for row in eye]


class _Columns(Sequence[Tensor]):
    """Columns of a root S [N, *T, C, R] of the output Hessian, each at one position: zero between positions."""

    def __init__(self, S: Tensor, outputs: Tensor) -> None:
        _check_root(S, outputs)
        self.outputs, self.R = outputs, S.shape[-1]
        self.S = S.flatten(1, -3) if S.dim() > 3 else S[:, None]  # [N, T, C, R]
        if len(self) > MAX_COLUMNS:
            T = self.S.shape[1]
            raise ConfigError(
                f'capture: seeds="fisher" must take at most {MAX_COLUMNS} backward passes; got {len(self)}, {self.R} '
                f'for each of {T} position{"s" if T > 1 else ""}. Pass seeds=("mc", draws, seed).'
            )

    def __len__(self) -> int:
        return self.S.shape[1] * self.R

    def __getitem__(self, k: Any) -> Any:
        t, r = divmod(range(len(self))[k], self.R)
        cotangent = torch.zeros_like(self.outputs).view(len(self.outputs), -1, self.outputs.shape[-1])  # [N, T, C]
        cotangent[:, t] = self.S[:, t, :, r]
        return cotangent.view_as(self.outputs)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[k] for k in range(len(self)))


def _check_root(S: Tensor, outputs: Tensor) -> None:
    if S.shape[:-1] != outputs.shape:
        raise ShapeError(
            f"capture: the loss's hessian_sqrt must be {[*outputs.shape, 'R']} for outputs {list(outputs.shape)}; "
            f"got {list(S.shape)}. Return one root of the output Hessian a sample and position."
        )
    if not S.shape[-1]:
        raise ConfigError(
            f"capture: the loss must have curvature in its outputs; got one class, {list(outputs.shape)}. "
            'Use loss="binary_cross_entropy" for two classes on one logit.'
        )


def _drawn(task: Task, outputs: Tensor, y: Tensor | None, draws: int, seed: int) -> list[Tensor]:
    """Gradients of the loss at labels drawn from the model, over the root of how many are drawn."""
    criterion = task.criterion
    if not isinstance(criterion, Generative):
        raise NotSupported(
            f"capture: labels can be drawn from a built-in loss; got {type(criterion).__name__}. "
            "Give loss= an object with value, hessian_sqrt and draw(outputs, generator)."
        )
    if not outputs.isfinite().all():
        n = int((~outputs.isfinite()).flatten(1).any(1).nonzero()[0])
        raise NumericsError(
            f"capture: outputs must be finite where labels are drawn; got {outputs[n].flatten()[:3].tolist()} ... at "
            f"sample {n}. Look at the model's weights and at that sample."
        )
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(draws):
        labels = criterion.draw(outputs, generator)
        if y is not None and y.dtype == labels.dtype == torch.int64 and y.shape == labels.shape:
            labels = labels.masked_fill(y == IGNORED_LABEL, IGNORED_LABEL)
        with torch.enable_grad():
            leaf = outputs.clone().requires_grad_()
            total = task.losses(leaf, labels).sum()
        result.append(torch.autograd.grad(total, leaf)[0] / draws**0.5)
    return result


def _sketched(task: Task, outputs: Tensor, y: Tensor | None, passes: int, seed: int) -> list[Tensor]:
    """Random signs of the curvature's columns, S e over the root of how many passes; positions have signs of their own.

    Its outer products have the Fisher information as their mean, with far less spread than labels that are drawn
    from a model which is sure of them.
    """
    S = task.criterion.hessian_sqrt(outputs, y)  # [N, *T, C, R]
    _check_root(S, outputs)
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(passes):
        signs = torch.randint(2, (*S.shape[:-2], S.shape[-1], 1), generator=generator) * 2 - 1
        result.append((S @ signs.to(S)).view_as(outputs) / passes**0.5)
    return result
