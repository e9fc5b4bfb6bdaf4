"""What a network says of samples, without gradient, in parts that fit the memory that they may take."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from infotorch.errors import ConfigError, DataError, check_limit, mebibytes
from infotorch.measures.measure import Progress
from infotorch.task import LOSSES, Task, num_samples, select
from infotorch.task.targets import check_classes

__all__ = ["class_logits", "classes", "in_parts", "logits_of"]


@torch.no_grad()
def in_parts(
    where: str,
    task: Task,
    x: Any,
    y: Tensor,
    each: Callable[[Tensor, Tensor], Tensor],
    *,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """What ``each`` makes of outputs [n, ...] and targets [n, ...], of all samples in order, [N, ...].

    Args:
        where: Who asks, for refusals and progress.
        task: Model in eval mode.
        x: Inputs, [N, ...].
        y: Targets, [N, ...].
        each: Called with some samples' outputs and targets at a time.
        memory_limit: Bytes that the forward pass of a part may put out, all layers together; of them a pass without
            gradient holds a few at a time. Default: no limit, one part.
        progress: Called with ``where``, samples done, samples in all.

    Raises:
        ConfigError: The limit does not hold one sample.
    """
    check_limit(where, memory_limit)
    N = num_samples(x)
    step = N if memory_limit is None else _fitting(where, task, x, N, memory_limit)
    found = []
    for start in range(0, N, step):
        rows = slice(start, min(start + step, N))
        found.append(each(task.outputs(select(x, rows)), y[rows]))
        if progress:
            progress(where, rows.stop, N)
    return torch.cat(found)


def class_logits(
    where: str,
    task: Task,
    x: Any,
    y: Tensor,
    *,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits [N, C] with C >= 2, float64, and the label of each sample, int64 [N].

    One logit z of a binary loss is the second of two, beside 0: their softmax is its sigmoid.

    Raises:
        ConfigError: The outputs are not the logits of one choice among classes.
        DataError: ``y`` holds no class labels, or one out of range.
    """
    _refuse_regression(where, task)
    labels = classes(where, task, y)
    found = in_parts(
        where, task, x, y, lambda outputs, _: logits_of(where, task, outputs), memory_limit=memory_limit,
        progress=progress,
    )  # fmt: skip
    check_classes(found, labels)
    return found, labels


def logits_of(where: str, task: Task, outputs: Tensor) -> Tensor:
    """Outputs [n, ...] of the task's model as the logits that :func:`class_logits` returns, [n, C], float64.

    Raises:
        ConfigError: They are not the logits of one choice among classes.
    """
    _refuse_regression(where, task)
    binary = task.criterion is LOSSES["binary_cross_entropy"]
    C = outputs[0].numel()
    if (binary and C == 1) or (not binary and outputs.dim() == 2 and C > 1):
        return F.pad(outputs.reshape(len(outputs), C), (1 if binary else 0, 0)).double()
    raise ConfigError(
        f"{where}: outputs must be logits [N, C] of at least two classes, or one logit with "
        f"loss='binary_cross_entropy'; got {list(outputs.shape)}. Give the task a forward= that returns them."
    )


def _refuse_regression(where: str, task: Task) -> None:
    if task.criterion is LOSSES["mse"]:
        raise ConfigError(
            f"{where}: outputs must be logits; got those of a task with loss='mse', which are none. "
            "Use loss or gradient_norm for a regression."
        )


def classes(where: str, task: Task, y: Tensor) -> Tensor:
    """The labels as int64 [N]: as they come, or of the 0s and 1s that a binary loss takes."""
    if task.criterion is LOSSES["binary_cross_entropy"] and y.numel() == len(y) and ((y == 0) | (y == 1)).all():
        return y.reshape(-1).long()
    if y.dim() == 1 and y.dtype == torch.int64:
        return y
    raise DataError(
        f"{where}: y must be one class label a sample, int64 [N], or 0 and 1 of a binary loss; got "
        f"{str(y.dtype).removeprefix('torch.')} {list(y.shape)}. Use loss or gradient_norm for soft targets."
    )


class _Written(TorchDispatchMode):
    """Counts the bytes of all that operators return."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        parts = result if isinstance(result, (tuple, list)) else (result,)
        self.nbytes += sum(part.nbytes for part in parts if isinstance(part, Tensor))
        return result


def _fitting(where: str, task: Task, x: Any, N: int, memory_limit: int) -> int:
    """How many samples fit in ``memory_limit``, by what a second sample adds to the forward pass of one."""
    written = []
    for n in (1, 2):
        few = select(x, torch.arange(n) % N)
        with _Written() as count:
            task.outputs(few)
        written.append(count.nbytes)
    sample = written[1] - written[0]
    if sample > memory_limit:
        raise ConfigError(
            f"{where}: memory_limit must hold the forward pass of one sample (needs {mebibytes(sample)}); got "
            f"{mebibytes(memory_limit)}. Raise memory_limit."
        )
    return min(N, memory_limit // max(1, sample))
