"""From calls of layers and gradients at their outputs to one pair for each matrix of weights.

Uses of one parameter, in one module or in several, are laid end to end along T before anything is computed: norms and
inner products of a sum have cross terms.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from infotorch.capture.hooks import Call
from infotorch.capture.pair import Factors, LayerPair

__all__ = ["assemble", "formed_pair"]


def assemble(
    calls: Sequence[Call],
    grads: Sequence[Tensor],
    selected: Mapping[str, nn.Parameter],
    unit: Call | None,
    *,
    seeds: bool,
) -> dict[str, LayerPair]:
    """One pair a matrix, one for each smaller parameter that stands alone; in the order of ``selected``.

    Args:
        calls: Products of layers that reach the outputs.
        grads: For each, gradients [N, ...] with an axis of K seeds at the product's ``seed_dim``.
        selected: Parameters in question, by name.
        unit: The call whose output is the model's, under unit seeds.
        seeds: Pairs keep the axis of K.
    """
    groups: dict[tuple[int, int, str | None, str | None], list[tuple[Call, Tensor]]] = defaultdict(list)
    for call, grad in zip(calls, grads, strict=True):
        groups[id(call.layer), id(call.product), call.weight, call.bias].append((call, grad))
    folded = _folded(group[0][0] for group in groups.values())

    weights: dict[str, list[Factors | Tensor]] = defaultdict(list)
    biases: dict[str, list[Tensor]] = defaultdict(list)
    units = set()
    for group in groups.values():
        call = group[0][0]
        module, product = call.layer.module, call.product
        wide = [_wide(grad) for _, grad in group]
        if call.weight:
            inputs = [_wide(use.rows(grad.dtype)) for use, grad in group]
            if product.folds_bias:
                weights[call.weight].append(product.weight(module, inputs, wide))
            else:  # scales of uses at different numbers of positions have no sum before the parameter's shape
                pairs_of = zip(inputs, wide, strict=True)
                weights[call.weight] += [product.weight(module, [x], [grad]) for x, grad in pairs_of]
            if len(group) == 1 and call is unit:
                units.add(call.weight)
        if call.bias and call.bias not in folded.values():
            biases[call.bias] += [product.bias(module, grad) for grad in wide]

    pairs = {}
    for name, parameter in selected.items():
        shapes = {name: parameter.shape}
        whole: Factors | Tensor | None = _concatenated(weights[name]) if weights[name] else None
        if whole is None and (weights[name] or biases[name]):
            parts = [_formed(part, parameter) for part in weights[name]] + [_fit(b, parameter) for b in biases[name]]
            whole = sum(parts[1:], start=parts[0])
        if isinstance(whole, Factors):
            path = name.removesuffix(".weight") if name.endswith(".weight") else "" if name == "weight" else name
            if name in folded:
                shapes[folded[name]] = selected[folded[name]].shape
            alone = name in units and len(weights[name]) == 1
            pairs[path] = _pair(whole, path, shapes, seeds, bias=name in folded, unit=alone)
        elif whole is not None:
            pairs[name] = formed_pair(name, whole, seeds)
    return pairs


def formed_pair(name: str, G: Tensor, seeds: bool) -> LayerPair:
    """The pair of one parameter whose gradients G [N, K, *shape] are known themselves."""
    b = G.flatten(2)[:, :, None]  # [N, K, 1, size]
    return _pair(Factors(a=b.new_ones(len(b), 1, 1), b=b), name, {name: G.shape[2:]}, seeds)


def _pair(
    f: Factors, name: str, shapes: dict[str, torch.Size], seeds: bool, bias: bool = False, unit: bool = False
) -> LayerPair:
    return LayerPair(
        a=f.a,
        b=f.b if seeds else f.b[:, 0],
        t_dims=f.t_dims,
        in_features=f.in_features,
        groups=f.groups,
        transposed=f.transposed,
        name=name,
        shapes=shapes,
        bias=bias,
        unit=unit,
    )


def _folded(calls: Iterable[Call]) -> dict[str, str]:
    """{weight: bias} of those that are only ever used together, in products where a bias is one more in-feature."""
    partners: dict[str, set[str | None]] = defaultdict(set)
    together: dict[str, str] = {}
    for call in calls:
        for name, other in ((call.weight, call.bias), (call.bias, call.weight)):
            if name:
                partners[name].add(other if call.product.folds_bias else None)
        if call.weight and call.bias:
            together[call.weight] = call.bias
    return {w: b for w, b in together.items() if partners[w] == {b} and partners[b] == {w}}


def _concatenated(parts: Sequence[Factors | Tensor]) -> Factors | None:
    """All uses of one matrix as one, along T; None where they have no common factors."""
    factors = [part for part in parts if isinstance(part, Factors)]
    if len(factors) < len(parts):
        return None
    if len(factors) == 1:
        return factors[0]
    if len({f.transposed for f in factors}) == 2:
        if any(f.b.shape[1] > 1 for f in factors):
            return None  # the input side of one would be the seeds' side of the other
        factors = [f if f.transposed else _swapped(f) for f in factors]
    first, b = factors[0], torch.cat([f.b for f in factors], 2)
    if all(f.in_features for f in factors):
        return replace(first, a=torch.cat([f.a for f in factors], 1), b=b)
    # Strides of different layers are not one view, and a one-hot input beside a dense one is written out.
    return replace(first, a=torch.cat([f.rows() for f in factors], 1), b=b, t_dims=1, in_features=None)


def _swapped(f: Factors) -> Factors:
    """The same gradient, transposed: inputs and output gradients change places."""
    return Factors(a=f.b[:, 0], b=f.rows()[:, None], transposed=True)


def _formed(part: Factors | Tensor, parameter: nn.Parameter) -> Tensor:
    """[N, K, *shape]."""
    if isinstance(part, Tensor):
        return _fit(part, parameter)
    G = part.gradients()
    return (G.mT if part.transposed else G).reshape(*G.shape[:2], *parameter.shape)


def _fit(G: Tensor, parameter: nn.Parameter) -> Tensor:
    """G [N, K, *T, *shape] summed over positions, and over what the parameter was broadcast to."""
    if G.shape[2:].numel() == parameter.numel():
        return G.reshape(*G.shape[:2], *parameter.shape)
    extra = range(2, G.dim() - parameter.dim())
    G = G.sum([*extra]) if extra else G
    return G.sum_to_size(*G.shape[:2], *parameter.shape)


def _wide(x: Tensor) -> Tensor:
    """Half precision holds the values exactly but not their sums."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
