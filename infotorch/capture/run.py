"""A batch through the model, and the pairs that it leaves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from infotorch.capture.assemble import assemble
from infotorch.capture.graph import Graph
from infotorch.capture.hooks import Use, layers_of, recording
from infotorch.capture.layers.linear import Linear
from infotorch.capture.pair import LayerPair
from infotorch.capture.refusals import check_batch_axis, check_complete, check_inputs_kept, check_memory
from infotorch.capture.seeds import Seeds, check_seeds, cotangents, is_curvature
from infotorch.capture.verify import check_alone, check_sum
from infotorch.errors import CaptureError, NotSupported
from infotorch.task import Task, select

__all__ = ["Capture", "capture"]


@dataclass(frozen=True, kw_only=True)
class Capture:
    """The pairs of one batch. A context manager: leaving it lets go of them."""

    pairs: dict[str, LayerPair]
    """By module path, or by parameter name where one stands alone; in parameter order."""
    outputs: Tensor
    """[N, C], or as the model gives them; detached."""
    losses: Tensor | None
    """[N], detached; None for seeds."""
    shapes: dict[str, torch.Size]
    """Every selected parameter, in order."""
    unused: tuple[str, ...]
    """Selected parameters that the outputs do not depend on: their gradient is zero."""
    seeds: int | None
    """K; None for a loss, whose pairs have no axis of seeds."""

    @property
    def N(self) -> int:
        return len(self.outputs)

    @property
    def C(self) -> int:
        return self.outputs.shape[1:].numel()

    @property
    def K(self) -> int:
        return self.seeds or 1

    @property
    def P(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.shapes)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the flat vector [P]."""
        slices, start = {}, 0
        for name, shape in self.shapes.items():
            slices[name] = slice(start, start + shape.numel())
            start += shape.numel()
        return slices

    @property
    def nbytes(self) -> int:
        return sum(pair.nbytes() for pair in self.pairs.values())

    def close(self) -> None:
        """Let go of the pairs."""
        self.pairs.clear()

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def capture(
    task: Task,
    batch: Any,
    *,
    seeds: Seeds | None = None,
    labels: None = None,
    memory_limit: int | None = None,
    fallback: None = None,
    check: bool = True,
    verify: bool = False,
) -> Capture:
    r"""The factors of every sample's gradient, :math:`G_n = \sum_t b_{nt} a_{nt}^\top`, from one pass over a batch.

    One forward, and one backward a seed that stops at the layers' outputs: gradients of the weights themselves are not
    computed. The model is left as it was, with its hooks, ``training`` flags, ``.grad`` and ``requires_grad``. Inputs
    are kept, not copied: do not overwrite the batch while the capture is in use.

    Args:
        task: Model, loss and parameters.
        batch: ``(x, y)`` or a dict; with seeds, ``x`` alone will do.
        seeds: None for the loss of each sample; ``"logits"`` for every output in turn, K = C; ``"fisher"`` for the
            columns of a root of the loss's output Hessian (C - 1 for each position of cross-entropy), whose outer
            products sum to the exact Fisher information; ``("mc", draws, seed)`` for gradients at labels drawn from the
            model, over the root of ``draws``; or output cotangents [K, N, ...].
        labels: None; other meanings of the label need seeds of their own.
        memory_limit: Bytes that the pairs may take.
        fallback: None; parameters outside of supported layers are refused.
        check: Also see, by a forward of two samples, that every layer's size follows the batch's.
        verify: Also compare the sum over samples with autograd's gradient, and the last sample with itself alone, to
            1e-4 relative: finds a wrong layer rule, and samples that are coupled.

    Returns:
        A :class:`Capture` with pairs in the dtype of the forward.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, an input was overwritten, a layer does
            not carry the batch, or a verification fails.
        DataError: The batch is empty, not finite, of the wrong dtype or device, or its labels are out of range.
        ConfigError: The model is in train mode, or an option is unknown.
        NotSupported: The loss is a function, whose output Hessian nobody knows.

    Example:
        >>> task = Task(nn.Linear(3, 2).eval(), loss="mse")
        >>> with capture(task, (torch.ones(5, 3), torch.zeros(5, 2))) as cap:
        ...     cap.pairs[""].a.shape, cap.pairs[""].b.shape
        (torch.Size([5, 1, 3]), torch.Size([5, 1, 2]))
    """
    _check_options(labels, fallback)
    check_seeds(seeds)
    x, y = task.split(batch) if seeds is None else (_inputs(batch), None)
    N = task.check_inputs(x)
    selected = task.parameters()
    layers = layers_of(task.model, selected)
    if check:
        check_batch_axis(task, x, layers)

    with torch.enable_grad():
        with recording(layers) as uses:
            outputs = task.outputs(x)
        losses = None if y is None else task.losses(outputs, y)
        total = outputs if losses is None else losses.sum()
    if total.grad_fn is None:
        raise CaptureError(
            "capture: outputs must depend on a selected parameter; got outputs without a graph. "
            "Remove torch.no_grad() or detach() from the forward, or select other parameters."
        )
    graph = Graph(total.grad_fn)
    counted = graph.uses(selected)
    uses = [use for use in uses if use.edge.node in graph]
    check_complete(task.model, selected, uses, counted, N)

    check_inputs_kept(uses)
    sent = cotangents(task, seeds, outputs, _labels(task, batch) if is_curvature(seeds) else None)
    if memory_limit is not None:
        check_memory(uses, len(sent), memory_limit)
    unit = _unit(seeds, outputs, uses)
    grads = _gradients(total, uses, sent, unit, keep_graph=verify)
    check_inputs_kept(uses)  # again: a reversible network rebuilds its activations in place, in its backward
    with torch.no_grad():
        pairs = assemble(uses, grads, selected, unit)
    if seeds is None:
        pairs = {name: replace(pair, b=pair.b[:, 0]) for name, pair in pairs.items()}
    result = Capture(
        pairs=pairs,
        outputs=outputs.detach(),
        losses=None if losses is None else losses.detach(),
        shapes={name: p.shape for name, p in selected.items()},
        unused=tuple(name for name, count in counted.items() if not count),
        seeds=None if seeds is None else len(sent),
    )
    if verify:
        check_sum(result, _batch_gradient(total, selected, sent))
        last = slice(N - 1, N)
        one = select(batch if seeds is None else x, last)
        alone_seeds = None if seeds is None else torch.stack([c[last] for c in sent if c is not None])
        check_alone(result, capture(task, one, seeds=alone_seeds, check=False))
    return result


def _check_options(labels: object, fallback: object) -> None:
    for name, value, remedy in (
        ("labels", labels, "Pass output cotangents [K, N, ...] as seeds."),
        ("fallback", fallback, "Freeze unsupported parameters, or leave them out with params=[...]."),
    ):
        if value is not None:
            raise NotSupported(f"capture: {name} must be None; got {value!r}. {remedy}")


def _inputs(batch: Any) -> Any:
    return batch[0] if isinstance(batch, (tuple, list)) and len(batch) == 2 else batch


def _labels(task: Task, batch: Any) -> Tensor | None:
    """The batch's labels where it has some: with seeds they are asked for no loss."""
    whole = isinstance(batch, dict)
    if not whole and not (isinstance(batch, (tuple, list)) and len(batch) == 2):
        return None
    y = task.target(batch) if task.target else batch.get("labels") if whole else batch[1]
    return y if isinstance(y, Tensor) else None


def _unit(seeds: object, outputs: Tensor, uses: Sequence[Use]) -> Use | None:
    """The call of a Linear that is the model's output, whose gradients under unit seeds are the seeds."""
    edge = get_gradient_edge(outputs)
    hits = [use for use in uses if use.edge == edge and isinstance(use.layer.rule, Linear)]
    unit = isinstance(seeds, str) and seeds == "logits" and outputs.dim() == 2
    return hits[0] if hits and unit else None


def _gradients(
    total: Tensor, uses: Sequence[Use], cotangents: Sequence[Tensor | None], unit: Use | None, keep_graph: bool
) -> list[Tensor]:
    """For each call, gradients at its output with K on the rule's ``seed_dim``; zero where none reaches it."""
    K = len(cotangents)
    asked = [use for use in uses if use is not unit]
    stacked: dict[int, Tensor] = {}
    for k, cotangent in enumerate(cotangents):
        keep = keep_graph or k < K - 1
        edges = [use.edge for use in asked]
        grads: Sequence[Tensor | None] = ()
        if edges:
            grads = torch.autograd.grad(total, edges, cotangent, retain_graph=keep, allow_unused=True)
        for use, grad in zip(asked, grads, strict=True):
            if grad is None:
                continue
            dim = use.layer.rule.seed_dim % (grad.dim() + 1)
            if K == 1:
                stacked[id(use)] = grad.unsqueeze(dim)
                continue
            if id(use) not in stacked:
                stacked[id(use)] = grad.new_zeros(*grad.shape[:dim], K, *grad.shape[dim:])
            stacked[id(use)].select(dim, k).copy_(grad)
    if unit is not None:
        eye = torch.eye(K, dtype=total.dtype, device=total.device)
        stacked[id(unit)] = eye.expand(len(total), K, K)
    return [stacked[id(use)] if id(use) in stacked else use.zeros(K) for use in uses]


def _batch_gradient(
    total: Tensor, selected: dict[str, torch.nn.Parameter], cotangents: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    """The gradient of everything at once, by autograd."""
    seed = None
    for cotangent in cotangents:
        seed = cotangent if seed is None or cotangent is None else seed + cotangent
    grads = torch.autograd.grad(total, list(selected.values()), seed, materialize_grads=True, allow_unused=True)
    return dict(zip(selected, grads, strict=True))
