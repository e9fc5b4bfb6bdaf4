"""Parameters that scale elementwise, and shifts beside them: their gradients are small and formed at once."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from infotorch.capture.layers.rule import Product

__all__ = ["Scale"]


class Scale(Product):
    """The weight multiplies the last axes of a; a bias of its shape is added."""

    folds_bias: ClassVar[bool] = False

    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        """[N, K, *T, *shape], not yet summed over positions."""
        total = sum(grad * x[:, None] for x, grad in zip(inputs, grads, strict=True))
        assert isinstance(total, Tensor)
        return total

    def bias(self, module: nn.Module, grad: Tensor) -> Tensor:
        return grad
