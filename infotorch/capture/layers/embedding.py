"""Embedding: ids [N, *T], outputs [N, *T, O]; the gradient is the one-hot ids times that of the outputs."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from infotorch.capture.layers.linear import positions
from infotorch.capture.layers.rule import Rule
from infotorch.capture.pair import Factors

__all__ = ["Embedding"]


class Embedding(Rule):
    """nn.Embedding; the row of ``padding_idx`` has gradient zero, as in torch."""

    seed_dim: ClassVar[int] = -2

    def refusal(self, module: nn.Module) -> str | None:
        assert isinstance(module, nn.Embedding)
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
