"""Gradients at the outputs of the recorded products, and of the weights at once for a check."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from infotorch.capture.assemble import assemble
from infotorch.capture.graph import Graph
from infotorch.capture.hooks import Call
from infotorch.capture.layers.linear import Linear
from infotorch.capture.pair import LayerPair
from infotorch.capture.refusals import check_inputs_kept
from infotorch.errors import CaptureError

__all__ = ["batch_gradient", "exactly", "gradients", "handed_over", "unit_call"]

T = TypeVar("T")


def unit_call(seeds: object, outputs: Tensor, calls: Sequence[Call]) -> Call | None:
    """The call of a Linear that is the model's output, whose gradients under unit seeds are the seeds."""
    if not (isinstance(seeds, str) and seeds == "logits" and outputs.dim() == 2):
        return None
    edge = get_gradient_edge(outputs)
    return next((call for call in calls if call.edge == edge and type(call.product) is Linear), None)


def gradients(
    total: Tensor,
    calls: Sequence[Call],
    cotangents: Sequence[Tensor | None],
    unit: Call | None,
    graph: Graph,
    *,
    keep_graph: bool,
) -> list[Tensor]:
    """For each call, gradients at its output, samples first and K on the product's place; zero where none arrives."""
    K = len(cotangents)
    asked = [call for call in calls if call is not unit]
    edges = [call.edge for call in asked]
    ends = graph.ends(edge.node for edge in edges)
    stacked: dict[int, Tensor] = {}
    missing: dict[int, set[int]] = {}

    def keep(k: int, place: int, grad: Tensor | None) -> None:
        if grad is None:
            return
        call = asked[place]
        grad = call.placed(grad)
        if K == 1:
            stacked[id(call)] = grad
            return
        dim = call.product.seed_dim % grad.dim()
        if id(call) not in stacked:
            stacked[id(call)] = _room(grad, dim, K)
            missing[id(call)] = set(range(K))
        stacked[id(call)].narrow(dim, k, 1).copy_(grad)
        missing[id(call)].discard(k)

    for k, cotangent in enumerate(cotangents):
        _run_backward(total, edges, ends, cotangent, partial(keep, k), keep_graph=keep_graph or k < K - 1)
    for call in asked:
        for k in missing.get(id(call), ()):
            stacked[id(call)].select(call.product.seed_dim, k).zero_()
    if unit is not None:
        eye = torch.eye(K, dtype=total.dtype, device=total.device)
        stacked[id(unit)] = eye.expand(len(total), K, K)
    return [stacked[id(call)] if id(call) in stacked else call.zeros(K) for call in calls]


def handed_over(
    total: Tensor,
    calls: list[Call],
    cotangent: Tensor | None,
    graph: Graph,
    selected: Mapping[str, nn.Parameter],
    each: Callable[[LayerPair], T],
    *,
    seeds: bool,
    keep_graph: bool = False,
) -> dict[str, T]:
    """What ``each`` makes of every pair, by its first parameter, during one backward.

    A pair is assembled when its last gradient arrives, and let go of.

    Args:
        total: What is differentiated.
        calls: Products that reach it; taken out of the list, unless the graph is kept.
        cotangent: Of ``total``.
        graph: That of ``total``.
        selected: Parameters in question, by name.
        each: Run under no_grad.
        seeds: Pairs keep the axis of one seed.
        keep_graph: There are more backwards to come.
    """
    found: dict[str, T] = {}
    edges, waiting = _awaited(calls)
    if not keep_graph:
        calls.clear()

    def arrive(place: int, grad: Tensor | None) -> None:
        part, own = waiting[place]
        part.grads[own] = part.calls[own].zeros(1) if grad is None else part.calls[own].placed(grad)
        if len(part.grads) < len(part.calls):
            return
        complete, grads = part.calls, [part.grads[i] for i in range(len(part.calls))]
        part.calls, part.grads = [], {}
        check_inputs_kept(complete)  # a reversible network rebuilds its activations in place, in its backward
        with exactly(total):
            parameters = {name: selected[name] for call in complete for name in call.names}
            pairs = assemble(complete, grads, parameters, None, seeds=seeds)
            found.update((next(iter(pair.shapes)), each(pair)) for pair in pairs.values())

    _run_backward(total, edges, graph.ends(edge.node for edge in edges), cotangent, arrive, keep_graph=keep_graph)
    return found


def _room(grad: Tensor, dim: int, K: int) -> Tensor:
    """For K gradients on axis ``dim``, each a dense piece as autograd lays it out: channels last, for convolutions."""
    shape = (*grad.shape[:dim], K, *grad.shape[dim + 1 :])
    each = torch.empty_strided(grad.shape[dim + 1 :], grad.stride()[dim + 1 :], device="meta")
    strides, size = [*torch.empty_like(each).stride()], each.numel()
    for length in reversed(shape[: dim + 1]):
        strides.insert(0, size)
        size *= length
    return grad.new_empty_strided(shape, strides)


def exactly(x: Tensor) -> AbstractContextManager[object]:
    """Products in the dtype of their factors, whatever torch.autocast says."""
    kind = x.device.type
    known = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if known and torch.is_autocast_enabled(kind) else nullcontext()


def _run_backward(
    total: Tensor,
    edges: Sequence[GradientEdge],
    ends: Collection[Node],
    cotangent: Tensor | None,
    arrive: Callable[[int, Tensor | None], None],
    *,
    keep_graph: bool,
) -> None:
    """``arrive(place, gradient)`` for every edge on the way of one backward; for its ends when it is over.

    What arrives is what the edge's node works on: after the hooks that the caller has put on the tensor.
    """
    came: set[int] = set()

    def come(place: int, grad: Tensor | None) -> None:
        if place in came:
            raise CaptureError(
                "capture: one backward must come to every layer once; got a layer twice. Take away the hook that "
                "differentiates the same graph again."
            )
        came.add(place)
        arrive(place, grad)

    def on_the_way(place: int, output: int) -> Callable[[tuple[Tensor | None, ...]], None]:
        return lambda grads: come(place, grads[output])

    last = [place for place, edge in enumerate(edges) if edge.node in ends]
    handles = []
    try:
        for place, edge in enumerate(edges):
            if edge.node not in ends:
                handles.append(edge.node.register_prehook(on_the_way(place, edge.output_nr)))
        asked = [edges[place] for place in last]
        options: dict[str, bool] = {"retain_graph": keep_graph, "allow_unused": True}
        grads = torch.autograd.grad(total, asked, cotangent, **options) if asked else ()
    finally:
        for handle in handles:  # a hook and its node hold each other, which no collector sees
            handle.remove()
    with torch.no_grad():
        for place, grad in zip(last, grads, strict=True):
            come(place, grad)
    assert len(came) == len(edges), "a backward passes every node between its root and its ends"


@dataclass(eq=False)
class _Waiting:
    """Calls whose pairs are assembled together, until all of their gradients are there."""

    calls: list[Call]
    grads: dict[int, Tensor] = field(default_factory=dict)


def _awaited(calls: Sequence[Call]) -> tuple[list[GradientEdge], list[tuple[_Waiting, int]]]:
    """Where gradients arrive, and of which call of which part."""
    edges, waiting = [], []
    for part in _connected(calls):
        own = _Waiting(part)
        for place, call in enumerate(part):
            edges.append(call.edge)
            waiting.append((own, place))
    return edges, waiting


def _connected(calls: Sequence[Call]) -> list[list[Call]]:
    """Calls in their order, together with those that they share a parameter with, if only through others."""
    first: dict[str, str] = {}  # name -> one that it is connected to

    def root(name: str) -> str:
        while first.setdefault(name, name) != name:
            name = first[name]
        return name

    for call in calls:
        for name in call.names:
            first[root(name)] = root(call.names[0])
    parts: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        parts[root(call.names[0])].append(call)
    return list(parts.values())


def batch_gradient(
    total: Tensor, selected: Mapping[str, nn.Parameter], cotangents: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    """The gradient of everything at once, by autograd."""
    seed = None
    for cotangent in cotangents:
        seed = cotangent if seed is None or cotangent is None else seed + cotangent
    grads = torch.autograd.grad(total, list(selected.values()), seed, materialize_grads=True, allow_unused=True)
    return dict(zip(selected, grads, strict=True))
