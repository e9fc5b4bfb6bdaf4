"""Gradients of single samples, and their norms."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.arena import Arena
from infotorch.blocks.factors import squared_norms, write_gradients
from infotorch.blocks.loading import batches, is_loader, of_batch, refuse_loader
from infotorch.blocks.parts import Part, gathered, parts, summed
from infotorch.blocks.progress import Shown, shown
from infotorch.capture import Capture
from infotorch.capture.run import Fallback
from infotorch.errors import ShapeError
from infotorch.task import Task

__all__ = ["per_sample_grad_norms", "per_sample_grads", "written"]

Out = Mapping[str, Tensor] | Arena


@torch.no_grad()
def per_sample_grads(
    task: Task | Capture,
    batch: Any = None,
    *,
    out: Out | None = None,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
) -> dict[str, Tensor]:
    r"""Gradient of each sample's loss with respect to each selected parameter, :math:`\nabla_w \ell_n`.

    What ``vmap(grad)`` gives, from one forward and one backward. The result is N times as large as the parameters, and
    on most machines writing it into fresh memory takes longer than computing it: pass ``out=`` in a loop.

    Args:
        task: Model, loss and parameters; or a :class:`Capture` in place of task and batch.
        batch: (x, y), or a dict.
        out: Where to write: {name: contiguous tensor of the result's shape and dtype}; or an :class:`Arena`, whose next
            use overwrites the result. Default: new tensors.
        memory_limit: Bytes of pairs: a batch that would leave more is taken some samples at a time. Default: no limit.
            The result is not counted.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.

    Returns:
        {name: [N, \*shape]}, [N, K, \*shape] for a Capture of K seeds, in the forward's dtype (float32 for 16 bits) and
        in units of the loss over those of the parameter. A parameter that the outputs do not depend on is zero.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or samples are coupled.
        ConfigError: The model is in train mode, or one sample exceeds ``memory_limit``.
        DataError: The batch is empty, not finite, or of the wrong dtype or device.
        ShapeError: ``out`` has other names, sizes or dtypes than the result.

    Example:
        >>> task = Task(torch.nn.Linear(3, 2).eval(), loss="mse")
        >>> per_sample_grads(task, (torch.ones(4, 3), torch.zeros(4, 2)))["weight"].shape
        torch.Size([4, 2, 3])
    """
    refuse_loader("per_sample_grads", batch)
    result: dict[str, Tensor] = {}
    for part in parts("per_sample_grads", task, batch, memory_limit=memory_limit, fallback=fallback):
        if not result:
            result = _destination(part, out)
        written(part.cap, result if part.whole else {name: g[part.samples] for name, g in result.items()})
    return result


def written(cap: Capture, out: Mapping[str, Tensor]) -> None:
    """Write the gradient of every selected parameter into ``out``, contiguous [N, (K,) *shape]."""
    for pair in cap.pairs.values():
        write_gradients(pair, out)
    for name in cap.unused:
        out[name].zero_()


def _destination(part: Part, out: Out | None) -> dict[str, Tensor]:
    leading = (part.N,) if part.K is None else (part.N, part.K)
    device = part.cap.outputs.device
    dtypes = part.cap.dtypes
    wanted = {name: (leading + tuple(shape), dtypes[name]) for name, shape in part.cap.shapes.items()}
    if isinstance(out, Arena):
        return {name: out.take(name, shape, dtype, device) for name, (shape, dtype) in wanted.items()}
    if out is None:
        return {name: torch.empty(shape, dtype=dtype, device=device) for name, (shape, dtype) in wanted.items()}
    if set(out) != set(wanted):
        raise ShapeError(
            f"per_sample_grads: out must have the selected parameters; got a difference at "
            f"{sorted(set(out) ^ set(wanted))[0]!r}. Give one tensor for each of task.parameters()."
        )
    for name, (shape, dtype) in wanted.items():
        to = out[name]
        if tuple(to.shape) != shape or to.dtype != dtype or to.device != device or not to.is_contiguous():
            raise ShapeError(
                f"per_sample_grads: out[{name!r}] must be contiguous {dtype} {list(shape)} on {device}; got {to.dtype} "
                f"{list(to.shape)}, strides {list(to.stride())}, on {to.device}. Allocate it so, or pass an Arena."
            )
    return {name: out[name] for name in wanted}


@torch.no_grad()
def per_sample_grad_norms(
    task: Task | Capture,
    batch: Any = None,
    *,
    squared: bool = False,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
    progress: Shown = None,
) -> Tensor:
    r"""Norm of each sample's gradient over all selected parameters, :math:`\|\nabla_w \ell_n\|` (not squared).

    No gradient of a sample is formed where another route is cheaper. A layer's shape decides between
    :math:`\sum_{ts}\langle a_t, a_s\rangle\langle b_t, b_s\rangle` and :math:`\|\sum_t b_t a_t^\top\|^2`, formed tile
    by tile. With one position the first is the rule of Goodfellow, "Efficient Per-Example Gradient Computations"
    (arXiv:1510.01799), section 4. Layers add in float64.

    Args:
        task: Model, loss and parameters; or a :class:`Capture` in place of task and batch.
        batch: (x, y) or a dict; or a DataLoader of them, whose batches are moved to the model's device.
        squared: The square, which adds over parameters.
        memory_limit: Bytes of pairs: a batch that would leave more is taken some samples at a time. Default: no limit.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.
        progress: Called with ("batches", done, total) after each batch of a loader, total 0 where it has no length;
            True draws a bar on stderr.

    Returns:
        [N], in the loader's order, or [N, K] for a Capture of K seeds; of the forward's dtype (float32 for 16 bits), in
        units of the loss over those of the parameters (squared where asked).

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or samples are coupled.
        ConfigError: The model is in train mode, or one sample exceeds ``memory_limit``.
        DataError: A batch is empty, not finite, or of the wrong dtype or device; or the loader fails.

    Example:
        >>> task = Task(torch.nn.Linear(3, 1, bias=False).eval(), loss=lambda f, y: f[:, 0])
        >>> per_sample_grad_norms(task, (torch.tensor([[3.0, 4.0, 0.0]]), torch.zeros(1)))
        tensor([5.])
    """
    where = "per_sample_grad_norms"
    options: dict[str, Any] = {"memory_limit": memory_limit, "fallback": fallback, "each": squared_norms}
    squares = []
    with shown(progress) as tell:
        for number, one in enumerate(batches(where, task, batch, tell) if is_loader(batch) else (batch,)):
            with of_batch(number, is_loader(batch)):
                squares.append(gathered(parts(where, task, one, **options), summed))
    result = squares[0] if len(squares) == 1 else torch.cat(squares)
    return result if squared else result.sqrt()
