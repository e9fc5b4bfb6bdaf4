"""Embeddings: ids [N, *T], outputs [N, *T, O]; the gradient is the one-hot ids times that of the outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from infotorch.capture.layers.linear import positions
from infotorch.capture.layers.rule import Product, Use
from infotorch.capture.pair import Factors

__all__ = ["Embedding", "EmbeddingBag"]


class Embedding(Product):
    """nn.Embedding; the row of ``padding_idx`` has gradient zero, as in torch."""

    seed_dim: ClassVar[int] = -2
    any_axis: ClassVar[bool] = True

    def refusal(self, module: nn.Module) -> str | None:
        assert isinstance(module, (nn.Embedding, nn.EmbeddingBag))
        if module.max_norm is not None:
            return "max_norm changes the weight in each forward"
        return "scale_grad_by_freq couples the samples" if module.scale_grad_by_freq else None

    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Factors:
        assert isinstance(module, nn.Embedding)
        ids = torch.cat([x.reshape(x.shape[0], x.shape[1:].numel()) for x in inputs], 1).long()  # [N, T]
        b = [positions(grad) for grad in grads]
        b_all = b[0] if len(b) == 1 else torch.cat(b, 2)  # [N, K, T, O]
        if module.padding_idx is not None:
            b_all = b_all.masked_fill((ids == module.padding_idx)[:, None, :, None], 0)
        return Factors(a=ids, b=b_all, in_features=module.num_embeddings, transposed=True)

    def bias(self, module: nn.Module, grad: Tensor) -> Tensor:
        raise AssertionError("an embedding has no bias")


class EmbeddingBag(Embedding):
    """nn.EmbeddingBag with sums or means of ids [N, T], or of runs of ids that offsets [N] begin."""

    def refusal(self, module: nn.Module) -> str | None:
        assert isinstance(module, nn.EmbeddingBag)
        if module.mode == "max":
            return "a maximum over a bag is no product"
        return super().refusal(module)

    def uses(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Sequence[Use]:
        assert isinstance(module, nn.EmbeddingBag)
        ids, offsets, weights = (*inputs, None, None)[:3]
        share = torch.ones_like(ids, dtype=output.dtype) if weights is None else weights.detach()
        if ids.dim() == 1:
            ids, share = _bags(ids, share, offsets, module.include_last_offset)
        if module.padding_idx is not None:
            share = share.masked_fill(ids == module.padding_idx, 0)
        if module.mode == "mean":
            share = share / share.sum(1, keepdim=True).clamp(min=1)
        return (Use(a=ids, params=("weight",), output=output, kind=_Bag(share)),)


@dataclass(frozen=True)
class _Bag(Embedding):
    """One call of a bag."""

    share: Tensor
    """How much of each id [N, T] is in its bag."""

    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Factors:
        (ids,), (grad,) = inputs, grads  # [N, T], [N, K, O]
        b = grad[:, :, None] * self.share.to(grad.dtype)[:, None, :, None]  # [N, K, T, O]
        assert isinstance(module, nn.EmbeddingBag)
        return Factors(a=ids.long(), b=b, in_features=module.num_embeddings, transposed=True)


def _bags(ids: Tensor, share: Tensor, offsets: Tensor, last: bool) -> tuple[Tensor, Tensor]:
    """Runs of ids as rows [N, T] of the longest one's length; what is added has no share."""
    ends = offsets[1:] if last else torch.cat([offsets[1:], offsets.new_tensor([len(ids)])])
    starts = offsets[: len(ends)]
    lengths = ends - starts
    T = int(lengths.max()) if len(lengths) else 0
    places = torch.arange(T, device=ids.device) + starts[:, None]  # [N, T]
    inside = torch.arange(T, device=ids.device) < lengths[:, None]
    places = places.masked_fill(~inside, 0)
    return ids[places], share[places].masked_fill(~inside, 0)
