"""A batch through the model, and the pairs that it leaves."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from threading import RLock
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from infotorch.capture.assemble import assemble
from infotorch.capture.backward import batch_gradient, exactly, gradients, handed_over, unit_call
from infotorch.capture.captured import Capture
from infotorch.capture.fallback import dense_pairs
from infotorch.capture.graph import Graph
from infotorch.capture.hooks import Call, Layer, Recording, layers_of, recording
from infotorch.capture.layers.wrapper import Wrapper
from infotorch.capture.pair import LayerPair
from infotorch.capture.plan import CapturePlan
from infotorch.capture.probe import Verdict, follow, verdict_of
from infotorch.capture.refusals import astray, check_inputs_kept, check_memory, check_real, uncovered
from infotorch.capture.seeds import Seeds, check_seeds, cotangents, is_curvature
from infotorch.capture.verify import RTOL, check_alone, check_sum
from infotorch.errors import CaptureError, NotSupported, check_choice, check_limit
from infotorch.task import Task, select

__all__ = ["Fallback", "Options", "capture", "captured"]

Fallback = Literal["func"]

T = TypeVar("T")


def capture(
    task: Task,
    batch: Any,
    *,
    seeds: Seeds | None = None,
    labels: None = None,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
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
    if labels is not None:
        raise NotSupported(
            f"capture: labels must be None; got {labels!r}. Pass seeds, or output cotangents [K, N, ...] as seeds."
        )
    options = Options(seeds=seeds, memory_limit=memory_limit, fallback=fallback, check=check, verify=verify)
    return captured(task, batch, options)[0]


@dataclass(frozen=True, kw_only=True)
class Options:
    """As :func:`capture` takes them."""

    seeds: Seeds | None = None
    memory_limit: int | None = None
    fallback: Fallback | None = None
    check: bool = True
    verify: bool = False
    by_seed: bool = False
    """What is made of a pair adds up over seeds: where pairs are large, it may be given one seed after the other."""


HELD_BYTES = 16 * 2**20
"""Pairs of at most so many bytes are held at once, which takes less time."""

_LOCKS: WeakKeyDictionary[nn.Module, AbstractContextManager[bool]] = WeakKeyDictionary()
"""Hooks are the model's own, so that a second thread's forward would be recorded with the first one's."""


def captured(
    task: Task, batch: Any, options: Options, each: Callable[[LayerPair], T] | None = None
) -> tuple[Capture, list[T]]:
    """A Capture; or one without pairs, and what ``each`` made of them under no_grad, in parameter order.

    Where pairs are large, those of a loss or of one seed are handed over during the backward: the whole takes little
    more memory than a plain forward and backward. Those of several seeds are where ``options.by_seed`` says so; then
    what ``each`` makes of the last is returned.
    """
    check_seeds(options.seeds)
    check_limit("capture", options.memory_limit)
    check_choice("capture", "fallback", options.fallback, (None, "func"))
    with _LOCKS.setdefault(task.model, RLock()):
        return _backward(task, batch, options, _forward(task, batch, options), each)


@dataclass(kw_only=True)
class _Forward:
    """One pass through the model, and what is known of it."""

    x: Any
    y: Tensor | None
    N: int
    modules: Mapping[str, nn.Module]
    layers: Sequence[Layer]
    selected: Mapping[str, nn.Parameter]
    verdict: Verdict | None
    unproved: Verdict | None
    """The same, where it is not proved yet and this batch can."""
    seen: Recording
    outputs: Tensor
    losses: Tensor | None
    total: Tensor
    """What is differentiated: the sum of the losses, or the outputs."""
    graph: Graph
    """The total's."""


def _forward(task: Task, batch: Any, options: Options) -> _Forward:
    y = task.labels(batch) if is_curvature(options.seeds) else None
    if options.seeds is None or y is not None:
        x, y = task.split(batch)
        N = len(y)
    else:
        x = task.inputs(batch)
        N = task.check_inputs(x)
    selected = task.parameters()
    check_real(selected)
    modules = dict(task.model.named_modules())
    layers = layers_of(modules, selected)
    verdict = verdict_of(task, x, layers, run=options.check)
    # One sample alone proves nothing about several.
    unproved = verdict if verdict is not None and not verdict.proved and N > 1 else None
    losses = None
    with torch.enable_grad():
        with recording(layers, verdict.expansions if verdict else None, N) as seen:
            outputs = task.outputs(x)
        if options.seeds is None and y is not None:
            losses = task.losses(outputs, y)
        total = outputs if losses is None else losses.sum()
    if losses is None and y is not None:
        with torch.no_grad():
            task.losses(outputs.detach(), y)  # refuses what is no label
    if total.grad_fn is None:
        raise CaptureError(
            "capture: outputs must depend on a selected parameter; got outputs without a graph. "
            "Remove torch.no_grad() or detach() from the forward, or select other parameters."
        )
    if unproved and unproved.expansions and not _proved(task, x, outputs, layers, seen, unproved):
        unproved.withdraw()
        return _forward(task, batch, options)
    return _Forward(
        x=x,
        y=y,
        N=N,
        modules=modules,
        layers=layers,
        selected=selected,
        verdict=verdict,
        unproved=unproved,
        seen=seen,
        outputs=outputs,
        losses=losses,
        total=total,
        graph=Graph(total.grad_fn),
    )


def _backward(
    task: Task, batch: Any, options: Options, fwd: _Forward, each: Callable[[LayerPair], T] | None
) -> tuple[Capture, list[T]]:
    seeds, selected, total, verdict = options.seeds, fwd.selected, fwd.total, fwd.verdict
    verify, graph = options.verify, fwd.graph
    if fwd.unproved:
        tested = fwd.unproved.ran and not fwd.unproved.expansions and all(layer.rule.tested for layer in fwd.layers)
        verify = verify or not tested
    counted = graph.uses(selected)
    calls, fallen = _covered(fwd, counted, options.fallback)
    fwd.seen.calls.clear()
    check_inputs_kept(calls)
    sent = cotangents(task, seeds, fwd.outputs, fwd.y)
    nbytes = sum(call.nbytes(len(sent)) for call in calls)
    # Half precision rounds each sample's products, and those of a batch in another order.
    rtol = max([RTOL, *(4 * torch.finfo(call.dtype).eps for call in calls)])
    unit = unit_call(seeds, fwd.outputs, calls)
    pairs: dict[str, LayerPair] = {}
    found: dict[str, T] = {}
    singly = len(sent) == 1 or options.by_seed
    hand_over = each if singly and unit is None and not verify and nbytes > HELD_BYTES else None
    if hand_over and len(sent) > 1:
        calls = [call.ready() for call in calls]
    check_memory(sum(call.nbytes(1) for call in calls) if hand_over else nbytes, options.memory_limit)
    with _recomputing(fwd.layers, fwd.seen, verdict, fwd.N):
        upstream = _upstream(total, fwd.outputs, sent, selected, fallen) if fallen else []
        if hand_over:
            for k, cotangent in enumerate(sent):
                keep = {"seeds": seeds is not None, "keep_graph": k < len(sent) - 1}
                found = handed_over(total, calls, cotangent, graph, selected, hand_over, **keep)
        else:
            grads = gradients(total, calls, sent, unit, graph, keep_graph=verify)
        truth = batch_gradient(total, selected, sent) if verify else {}
    if not hand_over:
        check_inputs_kept(calls)  # again: a reversible network rebuilds its activations in place, in its backward
        with torch.no_grad(), exactly(total):
            pairs = assemble(calls, grads, selected, unit, seeds=seeds is not None)
    if fallen:
        pairs |= dense_pairs(task, fwd.x, fallen, upstream, options.memory_limit, seeds=seeds is not None)
        place = {name: i for i, name in enumerate(selected)}
        pairs = dict(sorted(pairs.items(), key=lambda item: place[next(iter(item[1].shapes))]))
    result = Capture(
        pairs=pairs,
        outputs=fwd.outputs.detach(),
        losses=None if fwd.losses is None else fwd.losses.detach(),
        shapes={name: p.shape for name, p in selected.items()},
        unused=tuple(name for name, count in counted.items() if not count),
        seeds=None if seeds is None else len(sent),
        asked="tensor" if isinstance(seeds, Tensor) else seeds,
        plan=CapturePlan(
            allowed=_allowed(fwd),
            expanded=tuple(verdict.expansions) if verdict else (),
            fallback=tuple(fallen),
            verified=verify,
        ),
    )
    if verify:
        check_sum(result, truth, rtol)
        last = slice(fwd.N - 1, fwd.N)
        one = select(batch if seeds is None else (fwd.x, None), last)
        alone_seeds = None if seeds is None else torch.stack([c[last] for c in sent if c is not None])
        check_alone(result, capture(task, one, seeds=alone_seeds, fallback=options.fallback, check=False), rtol)
    if fwd.unproved:
        fwd.unproved.proved = True
    if each is not None:
        with torch.no_grad(), exactly(total):
            found |= {next(iter(pair.shapes)): each(pair) for pair in pairs.values()}
        result.close()
    return result, [found[name] for name in selected if name in found]


def _recomputing(
    layers: Sequence[Layer], seen: Recording, verdict: Verdict | None, N: int
) -> AbstractContextManager[object]:
    """What a backward must run under."""
    if not seen.checkpointed:
        return nullcontext()
    return recording(layers, verdict.expansions if verdict else None, N, silent=True)


def _proved(task: Task, x: Any, outputs: Tensor, layers: Sequence[Layer], seen: Recording, verdict: Verdict) -> bool:
    """The model without its expansions computes the same; with them the first and the last output have their rows."""
    with torch.no_grad():
        plain = task.outputs(x)
    calls = [call for call in seen.calls if call.layer.path in verdict.expansions]
    edges = [call.edge for call in calls]
    for n, others in ((0, slice(1, None)), (-1, slice(None, -1))):
        cotangent = torch.zeros_like(outputs)
        cotangent[n] = torch.linspace(1, 2, outputs[n].numel()).view_as(outputs[n])
        with _recomputing(layers, seen, verdict, len(outputs)):
            grads = torch.autograd.grad(outputs, edges, cotangent, retain_graph=True, allow_unused=True)
        for call, grad in zip(calls, grads, strict=True):
            if grad is not None and bool(grad.reshape(call.output)[others].any()):
                return False
    return bool((plain - outputs).double().norm() <= RTOL * plain.double().norm())


def _covered(fwd: _Forward, counted: Mapping[str, int], fallback: str | None) -> tuple[list[Call], list[str]]:
    """Products that carry the batch and reach the outputs, and the parameters that they leave uncovered.

    Raises:
        CaptureError: There are such parameters and no fallback.
    """
    calls, known = list(fwd.seen.calls), set()
    if fwd.verdict is not None:
        calls = follow(calls, fwd.verdict) if fwd.verdict.ran else calls
        known = set(fwd.verdict.apart)
    calls = [call for call in calls if call.edge.node in fwd.graph]
    apart: dict[str, dict[str, None]] = {}
    for call in calls:
        if call.layer.path in known or not call.carries(fwd.N):
            apart.setdefault(call.layer.path, {}).update(dict.fromkeys(call.names))
    missed = astray(calls, counted)
    if not missed and not apart:
        return calls, []
    if fallback is None:
        raise uncovered(fwd.modules, missed, {path: [*names] for path, names in apart.items()})
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


def _allowed(fwd: _Forward) -> tuple[str, ...]:
    """What is no part of a plain model and changes nothing."""
    allowed = []
    for path, module in fwd.modules.items() if "torch._dynamo" in sys.modules else ():
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
            allowed.append(f"compiled, run eagerly: {path or 'the model'}")
    for layer in fwd.layers:
        if isinstance(layer.rule, Wrapper):
            allowed.append(f"{type(layer.module).__name__}, its module used: {layer.path or 'the model'}")
    return (*allowed, *(["checkpointed, run again in the backward"] if fwd.seen.checkpointed else []))
