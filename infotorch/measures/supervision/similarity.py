"""Similarity of two networks' tangent kernels on the same samples."""

from typing import Any, Literal

import torch
from torch import Tensor

from infotorch.blocks import ntk
from infotorch.blocks.loading import refuse_loader
from infotorch.errors import ConfigError, DataError, ShapeError, check_choice
from infotorch.task import Task, num_samples

__all__ = ["ntk_similarity"]

WHERE = "ntk_similarity"


@torch.no_grad()
def ntk_similarity(task_a: Task, task_b: Task, data: Any, *, kernel: Literal["avg", "full"] = "avg") -> float:
    r"""Centred alignment of two networks' kernels, :math:`\langle HK_1H, HK_2H\rangle / (\|HK_1H\| \|HK_2H\|)`.

    H takes the mean off rows and columns: centred kernel alignment (Kornblith et al., arXiv 1905.00414). 1 for kernels
    that are multiples of each other, in [0, 1]. Of a student and its teacher it tells how alike they would learn; a
    diagnostic.

    Args:
        task_a: The first network.
        task_b: The second; it may have other layers, and with ``"avg"`` another number of outputs.
        data: (x, y), a dict, or x alone.
        kernel: ``"avg"``: the mean over outputs, [N, N]; ``"full"``: that of all outputs, [N*C, N*C].

    Raises:
        ConfigError: An option is unknown, or an argument is no task.
        ShapeError: The networks have different numbers of outputs and ``kernel`` is ``"full"``.
        DataError: There are fewer than two samples, or a centred kernel is zero.

    Example:
        >>> task = Task(torch.nn.Linear(3, 2).eval())
        >>> round(ntk_similarity(task, task, torch.eye(3)), 6)
        1.0
    """
    check_choice(WHERE, "kernel", kernel, ("avg", "full"))
    refuse_loader(WHERE, data)
    centred = []
    for task in (task_a, task_b):
        if not isinstance(task, Task):
            raise ConfigError(f"{WHERE}: networks must be Tasks; got {type(task).__name__}. Pass Task(model).")
        x = task.inputs(data)
        if num_samples(x) < 2:
            raise DataError(f"{WHERE}: there must be at least two samples; got {num_samples(x)}. Pass more.")
        centred.append(_centred(ntk(task, x, outputs="trace" if kernel == "avg" else "full").matrix))
    one, two = centred
    if one.shape != two.shape:
        raise ShapeError(
            f"{WHERE}: full kernels must have one size; got {list(one.shape)} and {list(two.shape)}. "
            "Pass kernel='avg' for networks with different outputs."
        )
    size = float(one.norm() * two.norm())
    if not size > 0:
        raise DataError(f"{WHERE}: centred kernels must not be zero; got zero. Pass samples that differ.")
    return float((one * two).sum()) / size


def _centred(K: Tensor) -> Tensor:
    K = K - K.mean(0)
    return K - K.mean(1, keepdim=True)
