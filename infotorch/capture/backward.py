"""Gradients at the outputs of the recorded products, and of the weights at once for a check."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from infotorch.capture.assemble import assemble
from infotorch.capture.graph import Graph
from infotorch.capture.hooks import Call
from infotorch.capture.layers.linear import Linear
from infotorch.capture.pair import LayerPair
from infotorch.capture.refusals import check_inputs_kept

__all__ = ["batch_gradient", "gradients", "handed_over", "unit_call"]

T = TypeVar("T")


def unit_call(seeds: object, outputs: Tensor, calls: Sequence[Call]) -> Call | None:
    """The call of a Linear that is the model's output, whose gradients under unit seeds are the seeds."""
    if not (isinstance(seeds, str) and seeds == "logits" and outputs.dim() == 2):
        return None
    edge = get_gradient_edge(outputs)
    return next((call for call in calls if call.edge == edge and type(call.product) is Linear), None)


def gradients(
    total: Tensor, calls: Sequence[Call], cotangents: Sequence[Tensor | None], unit: Call | None, *, keep_graph: bool
) -> list[Tensor]:
    """For each call, gradients at its output, samples first and K on the product's place; zero where none arrives."""
    K = len(cotangents)
    asked = [call for call in calls if call is not unit]
    edges = [call.edge for call in asked]
    stacked: dict[int, Tensor] = {}
    for k, cotangent in enumerate(cotangents):
        grads: Sequence[Tensor | None] = ()
        if edges:
            keep = keep_graph or k < K - 1
            grads = torch.autograd.grad(total, edges, cotangent, retain_graph=keep, allow_unused=True)
        for call, grad in zip(asked, grads, strict=True):
            if grad is None:
                continue
            placed = call.placed(grad)
            if K == 1:
                stacked[id(call)] = placed
                continue
            dim = call.product.seed_dim % placed.dim()
            if id(call) not in stacked:
                stacked[id(call)] = grad.new_zeros(*placed.shape[:dim], K, *placed.shape[dim + 1 :])
            stacked[id(call)].narrow(dim, k, 1).copy_(placed)
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
) -> dict[str, T]:
    """What ``each`` makes of every pair, by its first parameter, during one backward.

    A pair is assembled when its last gradient arrives, and let go of.

    Args:
        total: What is differentiated.
        calls: Products that reach it; taken out of the list.
        cotangent: Of ``total``.
        graph: That of ``total``.
        selected: Parameters in question, by name.
        each: Run under no_grad.
        seeds: Pairs keep an axis of one seed.
    """
    ends = graph.ends(call.edge.node for call in calls)
    found: dict[str, T] = {}

    def complete(part: list[Call], grads: list[Tensor]) -> None:
        check_inputs_kept(part)  # a reversible network rebuilds its activations in place, in its backward
        own = {name: selected[name] for call in part for name in (call.weight, call.bias) if name}
        with torch.no_grad():
            pairs = assemble(part, grads, own, None, seeds=seeds)
            found.update((next(iter(pair.shapes)), each(pair)) for pair in pairs.values())

    asked, handles = _awaited(calls, ends, complete)
    calls.clear()
    try:
        grads = torch.autograd.grad(total, [edge for edge, _, _ in asked], cotangent, allow_unused=True)
    finally:
        for handle in handles:  # a hook and its node hold each other, which no collector sees
            handle.remove()
    for (_, waiting, place), grad in zip(asked, grads, strict=True):
        waiting.arrive(place, grad)
    return found


def _awaited(
    calls: Sequence[Call], ends: Collection[Node], complete: Callable[[list[Call], list[Tensor]], None]
) -> tuple[list[tuple[GradientEdge, "_Waiting", int]], list[RemovableHandle]]:
    """Where a backward must arrive, and for whom; and the hooks by which all others hear of it on its way there."""
    asked, handles = [], []
    for part in _connected(calls):
        waiting = _Waiting(part, complete)
        for place, call in enumerate(part):
            if call.edge.node in ends:
                asked.append((call.edge, waiting, place))
                continue
            arrive = partial(waiting.arrive_at, place, call.edge.output_nr)
            handles.append(call.edge.node.register_prehook(arrive))
    return asked, handles


class _Waiting:
    """Calls whose pairs are assembled together, until all of their gradients are there."""

    def __init__(self, calls: list[Call], complete: Callable[[list[Call], list[Tensor]], None]) -> None:
        self.calls, self.complete = calls, complete
        self.grads: dict[int, Tensor] = {}

    def arrive_at(self, place: int, output: int, grads: Sequence[Tensor | None]) -> None:
        self.arrive(place, grads[output])

    def arrive(self, place: int, grad: Tensor | None) -> None:
        call = self.calls[place]
        self.grads[place] = call.zeros(1) if grad is None else call.placed(grad)
        if len(self.grads) == len(self.calls):
            calls, given = self.calls, [self.grads[i] for i in range(len(self.calls))]
            self.calls, self.grads = [], {}
            self.complete(calls, given)


def _connected(calls: Sequence[Call]) -> list[list[Call]]:
    """Calls in their order, together with those that they share a parameter with, if only through others."""
    first: dict[str, str] = {}  # name -> one that it is connected to

    def root(name: str) -> str:
        while first.setdefault(name, name) != name:
            name = first[name]
        return name

    for call in calls:
        if call.weight and call.bias:
            first[root(call.bias)] = root(call.weight)
    parts: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        parts[root(call.weight or call.bias or "")].append(call)
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
