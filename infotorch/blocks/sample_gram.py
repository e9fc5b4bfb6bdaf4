"""Inner products of single samples' gradients."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from infotorch import ops
from infotorch.blocks.factors import group
from infotorch.blocks.loading import refuse_loader
from infotorch.blocks.parts import check_alike, check_open, parts
from infotorch.blocks.products import route_of
from infotorch.capture import Capture, LayerPair
from infotorch.capture.run import Fallback
from infotorch.errors import ConfigError, ShapeError
from infotorch.linalg.symmetric import mirror
from infotorch.task import Task, select

__all__ = ["grad_gram"]


@torch.no_grad()
def grad_gram(
    task: Task | Capture,
    batch: Any = None,
    batch2: Any = None,
    *,
    center: bool = False,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
) -> Tensor:
    r"""Inner products of the samples' gradients over all selected parameters, :math:`\langle g_n, g'_m \rangle`.

    No gradient of a sample is formed where another route is cheaper: each layer takes the cheaper by its shape. Layers
    add in float64.

    Args:
        task: Model, loss and parameters; or a :class:`Capture` in place of task and batch.
        batch: (x, y) or a dict, N samples; a second Capture, where the first argument is one.
        batch2: M samples of the columns; default: the first set again.
        center: Subtract from every gradient the mean over its own set.
        memory_limit: Bytes of pairs: batches that would leave more are captured some samples at a time, those of
            the columns again for each part of the rows. Default: no limit. The result is not counted.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.

    Returns:
        [N, M], of the forward's dtype (float32 for 16 bits), symmetric to the bit where there is one set; [N, K, M, K]
        for Captures of K seeds. In squared units of the loss over squared units of the parameters.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or the sets use a layer differently.
        ConfigError: The model is in train mode, or one sample of each set exceeds ``memory_limit``.
        DataError: A batch is empty, not finite, or of the wrong dtype or device.

    Example:
        >>> task = Task(torch.nn.Linear(2, 1, bias=False).eval(), loss=lambda f, y: f[:, 0])
        >>> grad_gram(task, (torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.zeros(2)))
        tensor([[1., 1.],
                [1., 5.]])
    """
    for given in (batch, batch2):
        refuse_loader("grad_gram", given)
    symmetric = (batch if isinstance(task, Capture) else batch2) is None
    if isinstance(task, Capture):
        K = _of_captures(task, batch, batch2, memory_limit, fallback)
    else:
        K = _of_batches(task, batch, batch2, memory_limit, fallback)
    return _centered(K, symmetric) if center else K


def _of_captures(cap: Capture, cap2: Any, batch2: Any, memory_limit: int | None, fallback: Fallback | None) -> Tensor:
    beside = any(given is not None for given in (batch2, memory_limit, fallback))
    if beside or not (cap2 is None or isinstance(cap2, Capture)):
        raise ConfigError(
            "grad_gram: a Capture must come alone or with a second one; got a batch or an option beside it. "
            "Pass the task and both batches, or two Captures."
        )
    for one in (cap,) if cap2 is None else (cap, cap2):
        check_open("grad_gram", one)
    return _gram(cap, cap2)


def _of_batches(task: Task, batch: Any, batch2: Any, memory_limit: int | None, fallback: Fallback | None) -> Tensor:
    if memory_limit is None:
        sets = [parts("grad_gram", task, one, fallback=fallback) for one in (batch, batch2) if one is not None]
        return _gram(*(part.cap for whole in sets for part in whole))
    # A part of the rows and one of the columns are held at once.
    options: dict[str, Any] = {"memory_limit": memory_limit, "fallback": fallback, "sides": 2}
    result = None
    for rows in parts("grad_gram", task, batch, **options):
        if result is None:
            M = rows.N if batch2 is None else task.check_inputs(task.inputs(batch2))
            result = rows.cap.outputs.new_empty(rows.N, M, dtype=_dtype(rows.cap))
        others, n = batch2, rows.samples
        if batch2 is None:
            result[n, n] = _gram(rows.cap)
            others = select(batch, slice(0, n.start)) if n.start else None
        for cols in () if others is None else parts("grad_gram", task, others, **options):
            result[n, cols.samples] = _gram(rows.cap, cols.cap)
    assert result is not None
    if batch2 is None:
        mirror(result)
    return result


def _dtype(cap: Capture) -> torch.dtype:
    return torch.float64 if torch.float64 in cap.dtypes.values() else torch.float32


def _gram(cap: Capture, cap2: Capture | None = None) -> Tensor:
    if cap.seeds != (cap if cap2 is None else cap2).seeds:
        raise ShapeError(
            f"grad_gram: both Captures must have the same number of seeds; got {cap.seeds} and "
            f"{None if cap2 is None else cap2.seeds}. Capture both with the same seeds."
        )
    if cap2 is not None:
        check_alike("grad_gram", cap, cap2, unused=True)
    total: Tensor | None = None
    for name, pair in cap.pairs.items():
        other = None if cap2 is None else cap2.pairs.get(name)
        if cap2 is not None and other is None:
            continue  # its gradient is zero in the second set
        K = _by_ops(pair, other) if cap.seeds is None else _by_routes(pair, other)
        total = K.double() if total is None else total.add_(K)
    if total is None:
        sizes = [(one.N,) if cap.seeds is None else (one.N, cap.K) for one in (cap, cap2 or cap)]
        total = torch.zeros(*sizes[0], *sizes[1], dtype=torch.float64, device=cap.outputs.device)
    return total.to(_dtype(cap))


def _by_ops(pair: LayerPair, other: LayerPair | None) -> Tensor:
    """[N, M]; groups are matrices of their own."""
    tiles = []
    for g in range(pair.groups):
        one, two = group(pair, g), None if other is None else group(other, g)
        tiles.append(ops.gram(one.a, one.b, *(() if two is None else (two.a, two.b)), **pair.geometry))
    return tiles[0] if len(tiles) == 1 else torch.stack(tiles).sum(0)


def _by_routes(pair: LayerPair, other: LayerPair | None) -> Tensor:
    """[N, K, M, K] float64, as the tangent kernel's tiles are, whose seeds share one reading of the inputs."""
    second = pair if other is None else other
    K = pair.b.shape[1]
    values = pair.b.new_zeros((pair.N, K, second.N, K), dtype=torch.float64)
    rows: Sequence[LayerPair] = [pair]
    route = route_of(pair, pair.N * K, second.N * K)
    route.add(values, rows, rows if other is None else [second], other is None)
    if other is None:
        mirror(values.view(pair.N * K, pair.N * K))
    return values


def _centered(K: Tensor, symmetric: bool) -> Tensor:
    """Every gradient less the mean of its set, [N, M]."""
    if K.dim() == 4:
        raise ConfigError("grad_gram: center must be False for seeds; got True. Subtract the mean of your choice.")
    wide = K.double()
    rows = wide.mean(1)
    cols = rows if symmetric else wide.mean(0)  # not another order of summation, which would spoil the symmetry
    return (wide - (rows[:, None] + cols[None, :]) + wide.mean()).to(K.dtype)
