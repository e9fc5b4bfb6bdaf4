"""One pair's part of each result, whatever its groups, seeds and layout.

Rows are samples, or (sample, seed) for seeds: [N] or [N, K]. The ops see one matrix of weights and one cotangent a
sample, so groups are rows of theirs that are summed or laid side by side, and seeds are out-features that share one
reading of the inputs, or one call each. A bias is the sum of b over positions and goes its own way, so that weight and
bias are each written where they belong, without a copy of both.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from infotorch import ops
from infotorch.capture import LayerPair
from infotorch.ops.pair import no_autocast

__all__ = [
    "FORMED_BYTES",
    "biases",
    "geometry",
    "group",
    "inner_products",
    "input_moments",
    "output_moments",
    "sample_slice",
    "seed_cotangents",
    "seed_squares",
    "squared_norms",
    "squared_products",
    "summed_squares",
    "weight_rows",
    "weighted_sums",
    "write_gradients",
]

FORMED_BYTES = 16 * 2**20
"""Of gradients that are formed on their way into another layout."""
NARROW = 64
"""Features up to which the ops multiply squares as fast as torch, which then has no exact sums for them."""


def group(pair: LayerPair, g: int) -> LayerPair:
    """One group's matrix alone."""
    if pair.groups == 1:
        return pair
    return replace(pair, a=pair.a[g :: pair.groups], b=pair.b[g :: pair.groups], groups=1)


def sample_slice(pair: LayerPair, samples: slice) -> LayerPair:
    """Some samples alone."""
    rows = slice(samples.start * pair.groups, samples.stop * pair.groups)
    return replace(pair, a=pair.a[rows], b=pair.b[rows])


def seed_cotangents(pair: LayerPair) -> list[Tensor]:
    """Every seed's b [N * groups, T, O]; the loss's, where there are none."""
    return [pair.b] if pair.b.dim() == 3 else list(pair.b.unbind(1))


def weight_rows(pair: LayerPair) -> Tensor:
    """The seeds among the out-features of b, [N * groups, T, K * O]."""
    return pair.b if pair.b.dim() == 3 else pair.b.transpose(1, 2).flatten(2)


def biases(pair: LayerPair) -> Tensor:
    """sum_t b, the gradient of a bias: [N, groups * O], or [N, K, groups * O]."""
    sums = pair.b.sum(-2) if pair.T != 1 else pair.b.select(-2, 0)  # [N * groups, (K,) O]
    if pair.groups == 1:
        return sums
    return sums.unflatten(0, (pair.N, pair.groups)).movedim(1, -2).flatten(-2)


def geometry(pair: LayerPair) -> dict[str, Any]:
    """How ``a`` lies, without the bias."""
    return {"t_dims": pair.t_dims, "in_features": pair.in_features}


def squared_norms(pair: LayerPair) -> Tensor:
    """[N] or [N, K], by the route that costs less."""
    squares = [ops.norms(pair.a, b, **pair.geometry) for b in seed_cotangents(pair)]
    if pair.groups > 1:
        squares = [square.view(pair.N, pair.groups).sum(1) for square in squares]
    return squares[0] if pair.b.dim() == 3 else torch.stack(squares, 1)


def write_gradients(pair: LayerPair, out: Mapping[str, Tensor]) -> None:
    """Write every sample's gradient into ``out``, {parameter name: contiguous [N, (K,) *shape]}."""
    weight, *bias = pair.shapes
    K = 1 if pair.b.dim() == 3 else pair.b.shape[1]
    into = out[weight]
    plain = not pair.transposed and (K == 1 or pair.groups == 1)
    if pair.in_features is not None and pair.transposed and pair.groups == 1:
        _write_looked_up(pair, into, K)
    elif plain:
        to = into.view(len(pair.b), K * pair.O, pair.I)
        ops.grads(pair.a, weight_rows(pair), **geometry(pair), out=to)
    elif pair.transposed and K * pair.groups == 1 and pair.t_dims == 1 and pair.in_features is None:
        b = pair.b if pair.b.dim() == 3 else pair.b[:, 0]
        ops.grads(b, pair.rows(), out=into.view(pair.N, pair.I, pair.O))
    else:
        _write_in_pieces(pair, into, K)
    for name in bias:
        out[name].view(pair.N, *pair.b.shape[1:-2], -1).copy_(biases(pair))


def _write_looked_up(pair: LayerPair, into: Tensor, K: int) -> None:
    """A table's rows: all zero but those that a sample looked up."""
    N, V = pair.N, pair.I
    starts = torch.arange(N * K, device=into.device).view(N, K, 1) * V
    rows = (pair.a[:, None] + starts).flatten()  # [N * K * T]
    into.zero_().view(N * K * V, pair.O).index_add_(0, rows, pair.b.reshape(-1, pair.O).to(into.dtype))


def _write_in_pieces(pair: LayerPair, into: Tensor, K: int) -> None:
    """Formed for some samples at a time and laid out as the parameter is."""
    G, O, I = pair.groups, pair.O, pair.I
    step = max(1, FORMED_BYTES // max(1, K * G * O * I * into.element_size()))
    for start in range(0, pair.N, step):
        few = sample_slice(pair, slice(start, min(start + step, pair.N)))
        formed = ops.grads(few.a, weight_rows(few), **geometry(pair))
        formed = formed.view(few.N, G, K, O, I).transpose(1, 2)  # [n, K, groups, O, I]
        piece = into[start : start + few.N]
        if pair.transposed:
            piece.view(few.N, K, I, G, O).copy_(formed.permute(0, 1, 4, 2, 3))
        else:
            piece.view(few.N, K, G, O, I).copy_(formed)


def inner_products(pair: LayerPair, V: Mapping[str, Tensor]) -> Tensor:
    """<G, V_j> for tangents {parameter name: [J, *shape]}: [N, J], or [N, K, J]."""
    weight, *bias = pair.shapes
    directions = _matrices(pair, V[weight])  # [J, groups * O, I]
    total: Tensor | None = None  # [N, (K,) J]
    with no_autocast(pair.b):
        for g, v in enumerate(directions.split(pair.O, 1) if pair.groups > 1 else (directions,)):
            one = group(pair, g)
            found = _along(one, one.b, v) if one.b.dim() == 3 else _along_by_seed(one, v)
            total = found if total is None else total + found
        assert total is not None
        for name in bias:
            total = total + biases(pair).to(total.dtype) @ V[name].flatten(1).mT.to(total.dtype)
    return total


def _along_by_seed(pair: LayerPair, v: Tensor) -> Tensor:
    """[N, K, J] of one group for v [J, O, I]: the seeds of a sample share its inputs."""
    N, K, T, O = pair.b.shape
    J, dense = len(v), pair.in_features is None
    if dense and T == 1 and K > 1:
        moved = pair.a.reshape(N, pair.I) @ v.reshape(J * O, pair.I).mT  # [N, J * O]
        return pair.b[:, :, 0] @ moved.view(N, J, O).mT
    if not dense or min(J, K) == 1:
        return torch.stack([_along(pair, b, v) for b in pair.b.unbind(1)], 1)
    directions = v.reshape(J, O * pair.I)
    step = max(1, FORMED_BYTES // max(1, K * O * pair.I * pair.b.element_size()))
    pieces = []
    for start in range(0, N, step):
        few = sample_slice(pair, slice(start, min(start + step, N)))
        G = ops.grads(few.a, weight_rows(few), **geometry(pair))  # [n, K * O, I]
        pieces.append((G.view(few.N * K, O * pair.I) @ directions.mT).view(few.N, K, J))
    return torch.cat(pieces)


def _along(pair: LayerPair, b: Tensor, v: Tensor) -> Tensor:
    """[N, J] of one group and seed for v [J, O, I]."""
    if pair.T == 1 and not v.is_contiguous():  # the op would copy all of v, which takes as long as multiplying it
        return torch.stack([ops.jvp(pair.a, b, one, **geometry(pair)) for one in v], 1)
    return ops.jvp(pair.a, b, v, **geometry(pair))


def weighted_sums(pair: LayerPair, u: Tensor) -> dict[str, Tensor]:
    """sum_r u[j, r] G[r] for u [J, N] or [J, N, K]: {parameter name: [J, *shape]}."""
    weight, *bias = pair.shapes
    with no_autocast(pair.b):
        grouped = [_weighted(group(pair, g), u) for g in range(pair.groups)]
    W = grouped[0] if pair.groups == 1 else torch.cat(grouped, 1)  # [J, groups * O, I]
    if pair.transposed:
        W = W.mT
    sums = {weight: W.reshape(len(u), *pair.shapes[weight])}
    for name in bias:
        g = biases(pair)
        with no_autocast(g):
            sums[name] = (u.flatten(1).to(g.dtype) @ g.reshape(-1, g.shape[-1])).view(len(u), *pair.shapes[name])
    return sums


def _weighted(pair: LayerPair, u: Tensor) -> Tensor:
    """[J, O, I] of one group. Seeds of a sample share its inputs, so they are added before anything is formed."""
    if pair.b.dim() == 3:
        return ops.vjp(pair.a, pair.b, u.to(pair.b.dtype), **geometry(pair))
    ones = pair.b.new_ones(pair.N)
    mixed = (torch.einsum("nk,nkto->nto", one, pair.b) for one in u.to(pair.b.dtype))
    return torch.stack([ops.vjp(pair.a, b, ones, **geometry(pair)) for b in mixed])


def _matrices(pair: LayerPair, V: Tensor) -> Tensor:
    """Tangents [J, *shape] of a weight as matrices of the pair, [J, groups * O, I], views where strides allow."""
    rows = pair.groups * pair.O
    if pair.transposed:
        return V.reshape(len(V), pair.I, rows).mT.to(pair.b.dtype)
    return V.reshape(len(V), rows, pair.I).to(pair.b.dtype)


def summed_squares(pair: LayerPair) -> dict[str, Tensor]:
    """sum_r G[r]^2 over rows, element by element: {parameter name: [*shape]}."""
    if pair.T == 1 and pair.b.dim() == 4:
        return squared_products(seed_squares(pair))
    weight, *bias = pair.shapes
    # Patches are packed in any case, a bias with them; beside plain matrices its own sums cost less.
    together = bool(bias) and pair.in_features is None and pair.a.dim() > 3
    options = pair.geometry if together else geometry(pair)
    squares = []
    for g in range(pair.groups):
        one = group(pair, g)
        rows = ops.fisher(one.a, weight_rows(one), **options)  # [K * O, I (+ 1)]
        squares.append(rows if len(rows) == pair.O else rows.view(-1, pair.O, rows.shape[1]).sum(0))
    W = squares[0] if pair.groups == 1 else torch.cat(squares)
    sums = {weight: _as_parameter(pair, W[:, : pair.I])}
    for name in bias:
        own = W[:, pair.I] if together else biases(pair).flatten(0, -2).square().sum(0)
        sums[name] = own.reshape(pair.shapes[name])
    return sums


def _as_parameter(pair: LayerPair, W: Tensor) -> Tensor:
    """A matrix [groups * O, I] of the weight in the weight's shape."""
    return (W.mT if pair.transposed else W).reshape(pair.shapes[next(iter(pair.shapes))])


def seed_squares(pair: LayerPair) -> LayerPair:
    """The squares of b, summed over seeds, in its place: at one position all of them share the squares of a."""
    first, *others = pair.b.unbind(1)
    squares = first.square()
    for b in others:  # squares of all seeds at once would be K times as large, and torch's norm is 100 times as slow
        squares.addcmul_(b, b)
    return replace(pair, b=squares)


def squared_products(pair: LayerPair) -> dict[str, Tensor]:
    """As :func:`summed_squares`, of a pair at one position whose b has been squared."""
    plain = pair.in_features is None and min(pair.I, pair.O) > NARROW and pair.b.device.type == "cpu"
    if not plain:
        return summed_squares(replace(pair, b=pair.b.sqrt()))
    weight, *bias = pair.shapes
    step = max(1, FORMED_BYTES // (pair.b.element_size() * pair.I))
    squares = []
    with no_autocast(pair.b):
        for g in range(pair.groups):
            one = group(pair, g)
            a, b = one.a.reshape(len(one.b), pair.I), one.b[:, 0]
            W = b.new_zeros(pair.O, pair.I)
            for start in range(0, len(b), step):
                W.addmm_(b[start : start + step].mT, a[start : start + step].square())
            squares.append(W)
    sums = {weight: _as_parameter(pair, squares[0] if pair.groups == 1 else torch.cat(squares))}
    for name in bias:
        sums[name] = biases(pair).sum(0).view(pair.shapes[name])
    return sums


def input_moments(pair: LayerPair, g: int) -> Tensor:
    """A [I (+ 1), I (+ 1)] of one group, summed over samples and positions."""
    one = group(pair, g)
    return ops.kron(one.a, _nothing(pair.N, pair.T, one.b), **pair.geometry)[0]


def output_moments(pair: LayerPair, g: int) -> Tensor:
    """B [O, O] of one group, summed over samples, positions and seeds."""
    b = group(pair, g).b
    return ops.kron(b, _nothing(pair.N, b.shape[1:-1].numel(), b), t_dims=b.dim() - 2)[0]


def _nothing(N: int, T: int, like: Tensor) -> Tensor:
    """The other side of ``kron``, which costs nothing."""
    return like.new_ones(1, 1, 1).expand(N, T, 1)
