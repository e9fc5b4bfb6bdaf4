"""MultiheadAttention, whose forward calls no layer: its projections as products of their own."""

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.capture.layers.linear import SequenceLinear
from infotorch.capture.layers.rule import Record, Rule, Use
from infotorch.errors import CaptureError

__all__ = ["Attention"]

_PRODUCT = SequenceLinear()


class Attention(Rule):
    """nn.MultiheadAttention with any of its options."""

    def watches(self, module: nn.Module, selected: Collection[int]) -> bool:
        # out_proj is a layer that is only called where the forward is this one.
        return any(id(p) in selected for p in module.parameters())

    def forward(self, module: nn.Module, record: Record) -> Callable[..., Any]:
        return partial(_attention, module, record)


def _attention(
    module: Any,
    record: Record,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    if query.dim() != 3:
        raise CaptureError(
            f"capture: MultiheadAttention must see queries with an axis of samples; got {list(query.shape)}. "
            "Give it one sequence a sample, [N, L, E] with batch_first=True or [L, N, E]."
        )
    flip = not module.batch_first
    if flip:
        first = query.transpose(0, 1)
        second = first if key is query else key.transpose(0, 1)
        query, key, value = first, second, second if value is key else value.transpose(0, 1)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")  # as torch says it
    q, k, v = (_heads(module, y) for y in _projected(module, record, query, key, value))  # [N, H, L or S, E / H]
    causal = is_causal and key_padding_mask is None and not need_weights  # then torch goes by the hint alone
    mask = None if causal else _mask(module, q, k.shape[2], attn_mask, key_padding_mask)
    weights = None
    if need_weights:
        scores = (q * math.sqrt(1.0 / q.shape[3])) @ k.mT
        weights = (scores if mask is None else scores + mask).softmax(-1)  # [N, H, L, S]
        mixed = weights @ v
        weights = weights.mean(1) if average_attn_weights else weights
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
    out = module.out_proj(mixed.transpose(1, 2).flatten(2))  # [N, L, E]
    return (out.transpose(0, 1) if flip else out), weights


def _projected(module: Any, record: Record, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
    """Queries [N, L, E], keys and values [N, S, E]. A shared matrix acts whole on each distinct input."""
    bias, E = module.in_proj_bias, module.embed_dim
    if module._qkv_same_embed_dim:
        parts: dict[int, tuple[Tensor, ...]] = {}
        names = ("in_proj_weight", "" if bias is None else "in_proj_bias")
        for x in (query, key, value):
            if id(x) not in parts:
                y = F.linear(x, module.in_proj_weight, bias)
                record(Use(a=x.detach(), params=names, output=y, kind=_PRODUCT))
                parts[id(x)] = y.chunk(3, -1)
        projected = [parts[id(x)][i] for i, x in enumerate((query, key, value))]
    else:
        projected = []
        for x, name in zip((query, key, value), ("q_proj_weight", "k_proj_weight", "v_proj_weight"), strict=True):
            projected.append(F.linear(x, getattr(module, name)))
            record(Use(a=x.detach(), params=(name,), output=projected[-1], kind=_PRODUCT))
        if bias is not None:
            shift = _of_each(record, "in_proj_bias", bias, query)  # [N, 3E]
            projected = [y + shift[:, None, i * E : (i + 1) * E] for i, y in enumerate(projected)]
    for i, name in ((1, "bias_k"), (2, "bias_v")):
        if getattr(module, name) is not None:
            more = _of_each(record, name, getattr(module, name).view(-1), query)
            projected[i] = torch.cat([projected[i], more[:, None]], 1)
    if module.add_zero_attn:
        projected[1:] = [F.pad(y, (0, 0, 0, 1)) for y in projected[1:]]
    return projected


def _of_each(record: Record, name: str, parameter: Tensor, x: Tensor) -> Tensor:
    """A vector once for each sample, [N, size]: the gradient there is the sample's own."""
    each = parameter.expand(len(x), -1)
    record(Use(a=x.detach(), params=("", name), output=each, kind=_PRODUCT))
    return each


def _heads(module: Any, y: Tensor) -> Tensor:
    return y.unflatten(-1, (module.num_heads, -1)).transpose(1, 2)


def _mask(module: Any, q: Tensor, S: int, attn_mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
    """What is added to the scores, [N or 1, H or 1, L or 1, S]."""
    mask = None
    if attn_mask is not None:
        mask = _additive(attn_mask, q.dtype)
        mask = mask.unflatten(0, (-1, module.num_heads)) if mask.dim() == 3 else mask[None, None]
        mask = F.pad(mask, (0, S - mask.shape[-1]))
    if padding is not None:
        hidden = _additive(padding, q.dtype)[:, None, None]
        hidden = F.pad(hidden, (0, S - hidden.shape[-1]))
        mask = hidden if mask is None else mask + hidden
    return mask


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.is_floating_point():
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(mask, float("-inf"))
