"""Fisher information over a batch or a loader, in the structure that is asked for."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch

from infotorch.blocks.block import Block
from infotorch.blocks.loading import each_batch, is_loader, of_batch, seeds_of_batch
from infotorch.blocks.parts import Each, Part, check_task, parts
from infotorch.blocks.plan import MEMORY_LIMIT
from infotorch.blocks.progress import Progress, Shown, shown
from infotorch.blocks.sums import SUMS, DiagonalSum
from infotorch.capture import Capture
from infotorch.capture.run import Fallback
from infotorch.capture.seeds import Seeds
from infotorch.errors import ConfigError, check_choice, check_limit
from infotorch.task import Task

__all__ = ["Labels", "fisher", "fisher_parts"]

Structure = Literal["full", "diagonal", "kfac", "low_rank"]
Labels = Literal["exact", "empirical"] | tuple[str, int, int]


@torch.no_grad()
def fisher(
    task: Task | Capture,
    data: Any = None,
    *,
    structure: Structure = "full",
    labels: Labels = "exact",
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
    progress: Shown = None,
) -> Block:
    r"""Fisher information of the parameters, :math:`\sum_n E_{y \sim p_n} \nabla_w \ell_n(y) \nabla_w \ell_n(y)^\top`.

    Summed over samples, not averaged; divide by N for the mean. For the built-in losses it is the Gauss-Newton matrix
    too: Kunstner, Balles and Hennig, "Limitations of the empirical Fisher approximation for natural gradient descent"
    (arXiv:1905.12558), section 2, which also says why ``labels="empirical"`` is another matrix.

    Structures: ``"full"`` is the matrix; ``"low_rank"`` the same by the rows it is made of, exact, at R numbers a
    parameter for R rows (samples times seeds); ``"diagonal"`` its diagonal, exact; ``"kfac"`` a Kronecker product
    :math:`\sum aa^\top / (NT) \otimes \sum bb^\top` a layer, the expand form of Eschenhagen et al.
    (arXiv:2311.00636), which is exact for one sample at one position, and the exact diagonal of parameters that are
    no matrix of a dense layer.

    Args:
        task: Model, loss and parameters; or a :class:`Capture` in place of task and data, whose seeds are the labels.
        data: (x, y) or a dict; or a DataLoader of them, in one pass, whose batches are moved to the model's device.
        structure: What of the matrix is kept.
        labels: ``"exact"`` for the model's own distribution, by a root of the loss's output Hessian, one backward a
            column; ``("mc", draws, seed)`` for the mean over labels drawn from it, batch by batch;
            ``("sketch", passes, seed)`` for the mean over random signs of those columns, one backward each, also
            unbiased; ``"empirical"`` for the data's labels.
        memory_limit: Bytes of the full matrix, or of the rows; and of pairs: a batch that would leave more is taken
            some samples, then some seeds, at a time. Default: 2 GiB, but no limit for ``"empirical"`` pairs.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.
        progress: Called with ("batches", done, total) after each batch of a loader, total 0 where it has no length;
            True draws a bar on stderr.

    Returns:
        :class:`Block` [P, P] in ``named_parameters`` order, in squared units of the loss over squared units of the
        parameters: a matrix for ``@``, ``solve``, ``logdet``, ``trace``, ``diag``, ``eigh`` and ``dense``.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or samples are coupled.
        ConfigError: An option is unknown, the model is in train mode, or the matrix or one sample exceeds
            ``memory_limit``.
        DataError: A batch is empty, not finite, or of the wrong dtype or device; or the loader fails.
        NotSupported: The loss is a function, whose output Hessian nobody knows.

    Example:
        >>> task = Task(torch.nn.Linear(2, 1, bias=False).eval(), loss="mse")
        >>> fisher(task, (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))).dense()
        tensor([[1., 2.],
                [2., 4.]], dtype=torch.float64)
    """
    check_task("fisher", task)
    check_limit("fisher", memory_limit)
    check_choice("fisher", "structure", structure, get_args(Structure))
    limit = MEMORY_LIMIT if memory_limit is None else memory_limit
    total = SUMS[structure](task.shapes, limit)
    # Pairs of a Capture are the caller's, and whole.
    each = total.each if isinstance(total, DiagonalSum) and not isinstance(task, Capture) else None
    with shown(progress) as tell:
        options: dict[str, Any] = {"memory_limit": memory_limit, "fallback": fallback, "progress": tell}
        for part in fisher_parts("fisher", task, data, labels, each=each, by_seed=each is not None, **options):
            total.add(part)
    return total.block()


def fisher_parts(
    where: str,
    task: Task | Capture,
    data: Any,
    labels: Labels,
    *,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
    progress: Progress | None = None,
    each: Each | None = None,
    by_seed: bool = False,
) -> Iterator[Part]:
    """Every sample, with every seed whose outer products the Fisher information is made of; see :func:`fisher`."""
    if isinstance(task, Capture) and task.asked != (wanted := _seeds(where, labels, 0)):
        raise ConfigError(
            f"{where}: labels must be what the Capture holds; got {labels!r} for seeds={task.asked!r}. "
            f"Pass capture(task, data, seeds={wanted!r})."
        )
    for number, batch in enumerate(each_batch(where, task, data, progress)):
        seeds = None if isinstance(task, Capture) else _seeds(where, labels, number)
        limit = MEMORY_LIMIT if memory_limit is None and seeds is not None else memory_limit
        options: dict[str, Any] = {"memory_limit": limit, "fallback": fallback, "try_whole": memory_limit is None}
        with of_batch(number, is_loader(data)):
            yield from parts(where, task, batch, seeds=seeds, each=each, by_seed=by_seed, **options)


def _seeds(where: str, labels: Labels, number: int) -> Seeds | None:
    """What to capture for a batch."""
    if isinstance(labels, str):
        check_choice(where, "labels", labels, ["exact", "empirical"])
        return "fisher" if labels == "exact" else None
    if not isinstance(labels, tuple) or len(labels) != 3 or labels[0] not in ("mc", "sketch"):
        raise ConfigError(
            f'{where}: labels must be "exact", "empirical" or ("mc", draws, seed); got {labels!r}. Choose one of these.'
        )
    return seeds_of_batch(labels, number)
