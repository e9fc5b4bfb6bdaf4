"""Products of the samples' gradients with tangents, and weighted sums of them."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

import torch
from torch import Tensor

from infotorch.blocks.factors import inner_products, weighted_sums
from infotorch.blocks.layout import Vectors, vectors_of
from infotorch.blocks.linearize import has_padding, output_tangents
from infotorch.blocks.loading import refuse_loader
from infotorch.blocks.parts import check_task, gathered, parts, summed, wide
from infotorch.blocks.plan import MEMORY_LIMIT
from infotorch.capture import Capture
from infotorch.capture.run import Fallback
from infotorch.errors import CaptureError, ConfigError, ShapeError
from infotorch.task import Task, select

__all__ = ["jvp", "vjp"]


@torch.no_grad()
def jvp(
    task: Task | Capture,
    batch: Any = None,
    V: Vectors | None = None,
    *,
    seeds: Literal["logits"] | Tensor | None = None,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
) -> Tensor:
    r"""Derivative of each sample's loss as the parameters move along V, :math:`\langle \nabla_w \ell_n, v_j \rangle`.

    From one forward and one backward, without forming a gradient where that is dearer. Layers add in float64.

    Args:
        task: Model, loss and parameters; or a :class:`Capture` in place of task and batch, as in ``jvp(cap, V)``.
        batch: (x, y) or a dict; with seeds, x alone will do.
        V: Tangents, [P] or [J, P] in the order of the selected parameters, or {name: [\*shape] or [J, \*shape]}.
        seeds: ``"logits"`` for the outputs in place of the losses, by forward-mode differentiation, or by one backward
            an output where that takes fewer passes; or cotangents [K, N, ...], one backward each.
        memory_limit: Bytes of pairs: a batch that would leave more is taken some samples, then some seeds, at a time.
            With it, and for tables with a ``padding_idx``, outputs come from pairs too. Default: no limit.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.

    Returns:
        [N] for one tangent, [N, J] for several; [N, K] and [N, K, J] for K seeds, which are the C outputs for
        ``"logits"``. Of the forward's dtype (float32 for 16 bits), in units of the loss, or of the outputs.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or samples are coupled.
        ConfigError: The model is in train mode, or one sample exceeds ``memory_limit``.
        DataError: The batch is empty, not finite, or of the wrong dtype or device.
        NotSupported: With ``"logits"``, an operation of the forward has no forward-mode derivative.
        ShapeError: V has other names or sizes than the parameters.

    Example:
        >>> task = Task(torch.nn.Linear(2, 1, bias=False).eval(), loss=lambda f, y: f[:, 0])
        >>> jvp(task, (torch.tensor([[1.0, 2.0]]), torch.zeros(1)), torch.tensor([10.0, 1.0]))
        tensor([12.])
    """
    check_task("jvp", task)
    if isinstance(task, Capture) and V is None:
        batch, V = None, batch
    refuse_loader("jvp", batch)
    tangents, single = vectors_of("jvp", "V", V, task.shapes)
    outputs = isinstance(seeds, str) and seeds == "logits" and memory_limit is None
    if isinstance(task, Task) and outputs and not has_padding(task):
        result = _of_outputs(task, task.inputs(batch), tangents)
    else:
        options: dict[str, Any] = {"seeds": seeds, "memory_limit": memory_limit, "fallback": fallback}
        result = _by_pairs(task, batch, tangents, options)
    return result[..., 0] if single else result


def _by_pairs(task: Task | Capture, batch: Any, tangents: Mapping[str, Tensor], options: Mapping[str, Any]) -> Tensor:
    """[N, (K,) J]."""
    J = len(next(iter(tangents.values())))
    found = parts("jvp", task, batch, each=lambda pair: inner_products(pair, tangents), **options)
    return gathered(found, lambda part: summed(part, J))


def _of_outputs(task: Task, x: Any, tangents: Mapping[str, Tensor]) -> Tensor:
    """[N, C, J]: a pass an output, or where there are fewer of them one a tangent."""
    J = len(next(iter(tangents.values())))
    if J > 1 and _num_outputs(task, x) <= J:
        with suppress(CaptureError):  # what no rule covers has a tangent all the same
            options = {"seeds": "logits", "memory_limit": MEMORY_LIMIT, "try_whole": True}
            return _by_pairs(task, (x, None), tangents, options)
    return wide(output_tangents(task, x, tangents))


def _num_outputs(task: Task, x: Any) -> int:
    task.check_inputs(x)
    return task.outputs(select(x, slice(0, 1)))[0].numel()


@torch.no_grad()
def vjp(
    task: Task | Capture,
    batch: Any = None,
    u: Tensor | None = None,
    *,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
) -> dict[str, Tensor]:
    r"""Weighted sums of the samples' gradients, :math:`\sum_n u_{jn} \nabla_w \ell_n`.

    From one forward and one backward, whatever the number of weightings. A weight of 0 multiplies, it does not select:
    0 times NaN is NaN.

    Args:
        task: Model, loss and parameters; or a :class:`Capture` in place of task and batch, as in ``vjp(cap, u)``.
        batch: (x, y) or a dict.
        u: Weights [N], or [J, N]; for a Capture of K seeds [N, K], or [J, N, K].
        memory_limit: Bytes of pairs: a batch that would leave more is taken some samples at a time. Default: no limit.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.

    Returns:
        {name: [\*shape]}, or [J, \*shape], of the forward's dtype (float32 for 16 bits), in units of the loss over
        those of the parameter.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or samples are coupled.
        ConfigError: The model is in train mode, or one sample exceeds ``memory_limit``.
        DataError: The batch is empty, not finite, or of the wrong dtype or device.
        ShapeError: ``u`` does not fit the samples.

    Example:
        >>> task = Task(torch.nn.Linear(2, 1, bias=False).eval(), loss=lambda f, y: f[:, 0])
        >>> vjp(task, (torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0]))
        {'weight': tensor([[3., 4.]])}
    """
    if isinstance(task, Capture) and u is None:
        batch, u = None, batch
    refuse_loader("vjp", batch)
    if not isinstance(u, Tensor):
        raise ConfigError(f"vjp: u must be a tensor of weights; got {type(u).__name__}. Pass one weight a sample.")
    result: dict[str, Tensor] = {}
    single = True
    for part in parts("vjp", task, batch, memory_limit=memory_limit, fallback=fallback):
        rows = (part.N,) if part.K is None else (part.N, part.K)
        single = u.shape == rows
        if not single and u.shape[1:] != rows:
            raise ShapeError(
                f"vjp: u must be {list(rows)} or [J, ...] of it; got {list(u.shape)}. Pass one weight a "
                f"{'sample' if part.K is None else 'sample and seed'}."
            )
        weights = (u[None] if single else u)[:, part.samples]
        for name, sums in _sums(part.cap, weights).items():
            result[name] = sums if name not in result else result[name] + sums
    return {name: sums[0] for name, sums in result.items()} if single else result


def _sums(cap: Capture, u: Tensor) -> Mapping[str, Tensor]:
    """{name: [J, *shape]} of every selected parameter."""
    found: dict[str, Tensor] = {}
    for pair in cap.pairs.values():
        found |= weighted_sums(pair, u)
    zero = {name: wide(cap.outputs.new_zeros(len(u), *cap.shapes[name])) for name in cap.unused}
    return {name: (found | zero)[name] for name in cap.shapes}
