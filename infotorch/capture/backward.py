"""Gradients at the outputs of the recorded products, and of the weights at once for a check."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from infotorch.capture.hooks import Call
from infotorch.capture.layers.linear import Linear

__all__ = ["batch_gradient", "gradients", "unit_call"]


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
            grad = grad.movedim(call.axis, 0) if call.axis else grad
            dim = call.product.seed_dim % (grad.dim() + 1)
            if K == 1:
                stacked[id(call)] = grad.unsqueeze(dim)
                continue
            if id(call) not in stacked:
                stacked[id(call)] = grad.new_zeros(*grad.shape[:dim], K, *grad.shape[dim:])
            stacked[id(call)].select(dim, k).copy_(grad)
    if unit is not None:
        eye = torch.eye(K, dtype=total.dtype, device=total.device)
        stacked[id(unit)] = eye.expand(len(total), K, K)
    return [stacked[id(call)] if id(call) in stacked else call.zeros(K) for call in calls]


def batch_gradient(
    total: Tensor, selected: Mapping[str, nn.Parameter], cotangents: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    """The gradient of everything at once, by autograd."""
    seed = None
    for cotangent in cotangents:
        seed = cotangent if seed is None or cotangent is None else seed + cotangent
    grads = torch.autograd.grad(total, list(selected.values()), seed, materialize_grads=True, allow_unused=True)
    return dict(zip(selected, grads, strict=True))
