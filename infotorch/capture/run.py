"""A batch through the model, and the pairs that it leaves."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import RLock
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from infotorch.capture.assemble import assemble
from infotorch.capture.backward import batch_gradient, gradients, unit_call
from infotorch.capture.captured import Capture
from infotorch.capture.fallback import dense_pairs
from infotorch.capture.graph import Graph
from infotorch.capture.hooks import Call, Layer, Recording, layers_of, recording
from infotorch.capture.layers.wrapper import Wrapper
from infotorch.capture.plan import CapturePlan
from infotorch.capture.probe import Verdict, follow, verdict_of
from infotorch.capture.refusals import astray, check_inputs_kept, check_memory, check_real, uncovered
from infotorch.capture.seeds import Seeds, check_seeds, cotangents, is_curvature
from infotorch.capture.verify import RTOL, check_alone, check_sum
from infotorch.errors import CaptureError, NotSupported, unknown
from infotorch.task import Task, select

__all__ = ["capture"]


def capture(
    task: Task,
    batch: Any,
    *,
    seeds: Seeds | None = None,
    labels: None = None,
    memory_limit: int | None = None,
    fallback: Literal["func"] | None = None,
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
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func, one vmap over the
            batch; None refuses them.
        check: Also find, by forwards on fake tensors of two batch sizes, which axis of every layer follows the batch;
            once for each model and shapes of inputs. A layer that is called once for all samples (a position embedding)
            is given one input a sample.
        verify: Also compare the sum over samples with autograd's gradient, and the last sample with itself alone, to
            1e-4 relative: finds a wrong layer rule, and samples that are coupled. Done for the first batch in any case
            where ``check`` could not follow the forward, as where it branches on data.

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
    with _alone(task.model):
        return _capture(task, batch, seeds, memory_limit, fallback, check, verify)


_LOCKS: WeakKeyDictionary[nn.Module, AbstractContextManager[bool]] = WeakKeyDictionary()
"""Hooks are the model's own, so that a second thread's forward would be recorded with the first one's."""


def _alone(model: nn.Module) -> AbstractContextManager[bool]:
    return _LOCKS.setdefault(model, RLock())


def _capture(
    task: Task,
    batch: Any,
    seeds: Seeds | None,
    memory_limit: int | None,
    fallback: Literal["func"] | None,
    check: bool,
    verify: bool,
) -> Capture:
    x, y = task.split(batch) if seeds is None else (_inputs(batch), None)
    N = task.check_inputs(x)
    selected = task.parameters()
    check_real(selected)
    layers = layers_of(task.model, selected)
    verdict = verdict_of(task, x, layers, run=check)
    # One sample alone proves nothing about several.
    first = verdict is not None and not verdict.proved and N > 1
    if first and verdict is not None:
        tested = verdict.ran and not verdict.expansions and all(layer.rule.tested for layer in layers)
        verify = verify or not tested

    with torch.enable_grad():
        with recording(layers, verdict.expansions if verdict else None, N) as seen:
            outputs = task.outputs(x)
        losses = None if y is None else task.losses(outputs, y)
        total = outputs if losses is None else losses.sum()
    if total.grad_fn is None:
        raise CaptureError(
            "capture: outputs must depend on a selected parameter; got outputs without a graph. "
            "Remove torch.no_grad() or detach() from the forward, or select other parameters."
        )
    if first and verdict is not None and verdict.expansions and not _proved(task, x, outputs, seen, verdict):
        verdict.withdraw()
        return _capture(task, batch, seeds, memory_limit, fallback, check, verify)
    graph = Graph(total.grad_fn)
    counted = graph.uses(selected)
    calls, fallen = _covered(task, seen, verdict, graph, counted, N, fallback)
    check_inputs_kept(calls)
    given = _labels(task, batch, outputs) if is_curvature(seeds) else None
    sent = cotangents(task, seeds, outputs, given)
    if memory_limit is not None:
        check_memory(calls, len(sent), memory_limit)
    unit = unit_call(seeds, outputs, calls)
    upstream = _upstream(total, outputs, sent, selected, fallen) if fallen else []
    grads = gradients(total, calls, sent, unit, keep_graph=verify)
    check_inputs_kept(calls)  # again: a reversible network rebuilds its activations in place, in its backward
    with torch.no_grad():
        pairs = assemble(calls, grads, selected, unit, seeds=seeds is not None)
    if fallen:
        pairs |= dense_pairs(task, x, fallen, upstream, memory_limit, seeds=seeds is not None)
        place = {name: i for i, name in enumerate(selected)}
        pairs = dict(sorted(pairs.items(), key=lambda item: place[next(iter(item[1].shapes))]))
    result = Capture(
        pairs=pairs,
        outputs=outputs.detach(),
        losses=None if losses is None else losses.detach(),
        shapes={name: p.shape for name, p in selected.items()},
        unused=tuple(name for name, count in counted.items() if not count),
        seeds=None if seeds is None else len(sent),
        asked="tensor" if isinstance(seeds, Tensor) else seeds,
        plan=CapturePlan(
            allowed=_allowed(task.model, layers, seen),
            expanded=tuple(verdict.expansions) if verdict else (),
            fallback=tuple(fallen),
            verified=verify,
        ),
    )
    if verify:
        # Half precision rounds each sample's products, and those of a batch in another order.
        rtol = max([RTOL, *(4 * torch.finfo(call.dtype).eps for call in calls)])
        check_sum(result, batch_gradient(total, selected, sent), rtol)
        last = slice(N - 1, N)
        one = select(batch if seeds is None else x, last)
        alone_seeds = None if seeds is None else torch.stack([c[last] for c in sent if c is not None])
        check_alone(result, capture(task, one, seeds=alone_seeds, fallback=fallback, check=False), rtol)
    if first and verdict is not None:
        verdict.proved = True
    return result


def _check_options(labels: object, fallback: object) -> None:
    if labels is not None:
        raise NotSupported(
            f"capture: labels must be None; got {labels!r}. Pass seeds, or output cotangents [K, N, ...] as seeds."
        )
    if fallback not in (None, "func"):
        raise unknown("capture", "fallback", str(fallback), ["func"])


def _inputs(batch: Any) -> Any:
    return batch[0] if isinstance(batch, (tuple, list)) and len(batch) == 2 else batch


def _labels(task: Task, batch: Any, outputs: Tensor) -> Tensor | None:
    """The batch's labels where it has some, which must be ones that the loss takes."""
    whole = isinstance(batch, dict)
    if not whole and not (isinstance(batch, (tuple, list)) and len(batch) == 2):
        return None
    y = task.target(batch) if task.target else batch.get("labels") if whole else batch[1]
    if y is None:
        return None
    _, y = task.split(batch)
    with torch.no_grad():
        task.losses(outputs.detach(), y)
    return y


def _proved(task: Task, x: Any, outputs: Tensor, seen: Recording, verdict: Verdict) -> bool:
    """The model without its expansions computes the same; with them the first and the last output have their rows."""
    with torch.no_grad():
        plain = task.outputs(x)
    edges = [call.edge for call in seen.calls if call.layer.path in verdict.expansions]
    for n, others in ((0, slice(1, None)), (-1, slice(None, -1))):
        cotangent = torch.zeros_like(outputs)
        cotangent[n] = torch.linspace(1, 2, outputs[n].numel()).view_as(outputs[n])
        grads = torch.autograd.grad(outputs, edges, cotangent, retain_graph=True, allow_unused=True)
        if any(grad is not None and bool(grad[others].any()) for grad in grads):
            return False
    return bool((plain - outputs).double().norm() <= RTOL * plain.double().norm())


def _covered(
    task: Task,
    seen: Recording,
    verdict: Verdict | None,
    graph: Graph,
    counted: Mapping[str, int],
    N: int,
    fallback: str | None,
) -> tuple[list[Call], list[str]]:
    """Products that carry the batch and reach the outputs, and the parameters that they leave uncovered.

    Raises:
        CaptureError: There are such parameters and no fallback.
    """
    ran = verdict is not None and verdict.ran
    calls = follow(seen.calls, verdict) if ran and verdict else seen.calls
    known = set(verdict.apart) if verdict else set()
    calls = [call for call in calls if call.edge.node in graph]
    apart: dict[str, dict[str, None]] = {}
    for call in calls:
        if call.layer.path in known or not call.carries(N):
            names = [name for name in (call.weight, call.bias) if name]
            apart.setdefault(call.layer.path, {}).update(dict.fromkeys(names))
    missed = astray(calls, counted)
    if not missed and not apart:
        return calls, []
    if fallback is None:
        raise uncovered(task.model, missed, {path: [*names] for path, names in apart.items()})
    lost = {*missed, *(name for names in apart.values() for name in names)}
    kept = [
        replace(
            call,
            weight=None if call.weight in lost else call.weight,
            bias=None if call.bias in lost else call.bias,
        )
        for call in calls
    ]
    return [call for call in kept if call.weight or call.bias], [name for name in counted if name in lost]


def _upstream(
    total: Tensor,
    outputs: Tensor,
    sent: Sequence[Tensor | None],
    selected: Mapping[str, nn.Parameter],
    fallen: list[str],
) -> list[Tensor]:
    """Cotangents of the outputs alone, through which every part of a fallen parameter's gradient must come."""
    if total is outputs:
        return [cotangent for cotangent in sent if cotangent is not None]
    params = {name: selected[name] for name in fallen}
    ends = [Graph(root.grad_fn).uses(params) if root.grad_fn else {} for root in (total, outputs)]
    if ends[0] != ends[1]:
        raise CaptureError(
            f"capture: a loss must depend on parameters through the outputs; got one that uses {fallen[0]!r} itself. "
            "Take the penalty out of it: its gradient is the same for every sample."
        )
    return list(torch.autograd.grad(total, outputs, retain_graph=True))


def _allowed(model: nn.Module, layers: Sequence[Layer], seen: Recording) -> tuple[str, ...]:
    """What is no part of a plain model and changes nothing."""
    allowed = []
    for path, module in model.named_modules() if "torch._dynamo" in sys.modules else ():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            allowed.append(f"compiled, run eagerly: {path or 'the model'}")
    for layer in layers:
        if isinstance(layer.rule, Wrapper):
            allowed.append(f"{type(layer.module).__name__}, its module used: {layer.path or 'the model'}")
    return (*allowed, *(["checkpointed, run again in the backward"] if seen.checkpointed else []))
