"""From calls of layers and gradients at their outputs to one pair for each matrix of weights.

Uses of one parameter, in one module or in several, are laid end to end along T before anything is computed: norms and
inner products of a sum have cross terms.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from infotorch.capture.hooks import Layer, Use
from infotorch.capture.pair import Factors, LayerPair

__all__ = ["assemble"]


def assemble(
    uses: Sequence[Use], grads: Sequence[Tensor], selected: Mapping[str, nn.Parameter], unit: Use | None
) -> dict[str, LayerPair]:
    """One pair a matrix, one for each smaller parameter that stands alone; in the order of ``selected``.

    Args:
        uses: Calls of layers that reach the outputs.
        grads: For each call, gradients [N, ...] with an axis of K seeds at the rule's ``seed_dim``.
        selected: Parameters in question, by name.
        unit: The call whose output is the model's, under unit seeds.
    """
    calls: dict[int, list[tuple[Use, Tensor]]] = defaultdict(list)
    for use, grad in zip(uses, grads, strict=True):
        calls[id(use.layer)].append((use, grad))
    layers = [group[0][0].layer for group in calls.values()]
    folded = _folded(layers)

    weights: dict[str, list[Factors | Tensor]] = defaultdict(list)
    biases: dict[str, list[Tensor]] = defaultdict(list)
    units = set()
    for layer in layers:
        group = calls[id(layer)]
        if layer.weight:
            inputs = [_wide(_as(use.input, grad)) for use, grad in group]
            weights[layer.weight].append(layer.rule.weight(layer.module, inputs, [_wide(grad) for _, grad in group]))
            if len(group) == 1 and group[0][0] is unit:
                units.add(layer.weight)
        if layer.bias and layer.bias not in folded.values():
            biases[layer.bias] += [layer.rule.bias(layer.module, _wide(grad)) for _, grad in group]

    pairs = {}
    for name, parameter in selected.items():
        shapes = {name: parameter.shape}
        whole: Factors | Tensor | None = _concatenated(weights[name]) if weights[name] else None
        if whole is None and (weights[name] or biases[name]):
            whole = sum((_formed(part, parameter) for part in weights[name]), start=torch.zeros(())) + sum(biases[name])
        if isinstance(whole, Factors):
            path = name.rpartition(".")[0]
            if name in folded:
                shapes[folded[name]] = selected[folded[name]].shape
            alone = name in units and len(weights[name]) == 1
            pairs[path] = _pair(whole, path, shapes, bias=name in folded, unit=alone)
        elif whole is not None:
            b = whole.flatten(2)[:, :, None]  # [N, K, 1, size]
            pairs[name] = _pair(Factors(a=b.new_ones(len(b), 1, 1), b=b), name, shapes)
    return pairs


def _pair(
    factors: Factors, name: str, shapes: dict[str, torch.Size], bias: bool = False, unit: bool = False
) -> LayerPair:
    own = {field.name: getattr(factors, field.name) for field in fields(Factors)}
    return LayerPair(name=name, shapes=shapes, bias=bias, unit=unit, **own)


def _folded(layers: Iterable[Layer]) -> dict[str, str]:
    """{weight: bias} of those that are only ever used together, in layers where a bias is one more in-feature."""
    partners: dict[str, set[str | None]] = defaultdict(set)
    for layer in layers:
        for name, other in ((layer.weight, layer.bias), (layer.bias, layer.weight)):
            if name:
                partners[name].add(other if layer.rule.folds_bias else None)
    return {
        layer.weight: layer.bias
        for layer in layers
        if layer.weight and layer.bias and partners[layer.weight] == {layer.bias}
        if partners[layer.bias] == {layer.weight}
    }


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
        return part
    G = part.gradients()
    return (G.mT if part.transposed else G).reshape(*G.shape[:2], *parameter.shape)


def _as(x: Tensor, grad: Tensor) -> Tensor:
    """A layer's input as its product saw it: under autocast it may still have the wider type."""
    return x.to(grad.dtype) if x.is_floating_point() else x


def _wide(x: Tensor) -> Tensor:
    """Half precision holds the values exactly but not their sums."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
