"""What a kind of layer must tell capture: where its seeds go, and how inputs and gradients become factors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from infotorch.capture.pair import Factors

__all__ = ["Rule"]


class Rule(ABC):
    """One kind of layer. Gradients at an output of shape [N, ...] come for K seeds at once, K on ``seed_dim``."""

    seed_dim: ClassVar[int] = 1
    """Where K is inserted into the output's shape, so that b [N, K, T, O] is a view of it."""
    folds_bias: ClassVar[bool] = True
    """The bias may ride along as one more in-feature."""

    def refusal(self, module: nn.Module) -> str | None:
        """Why this module has no gradient of one sample, if it has none."""
        return None

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        """The first axis of x is one of samples, and not one that the layer itself works on."""
        return True

    @abstractmethod
    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Factors | Tensor:
        """Factors with b [N * groups, K, T, O] of all calls of a module, or its gradient [N, K, *shape] itself."""

    @abstractmethod
    def bias(self, module: nn.Module, grad: Tensor) -> Tensor:
        """[N, K, *shape of the bias] of one call."""
