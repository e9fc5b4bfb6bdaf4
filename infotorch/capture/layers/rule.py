"""What a kind of layer must tell capture: the products it makes of its parameters, and how each becomes factors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from infotorch.capture.pair import Factors

__all__ = ["Product", "Record", "Rule", "Use"]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Use:
    r"""One product that a module makes of its parameters: ``output`` is ``a`` times a weight, plus a bias.

    The gradient at ``output`` becomes b, so that the weight's gradient is :math:`\sum_t b_{nt} a_{nt}^\top`.
    """

    a: Tensor
    """What the weight is multiplied with: [N, *T, I], the samples first."""
    params: Sequence[str]
    """Names within the module, the weight's and then the bias's; ``""`` for one that is not there."""
    output: Tensor
    """[N, *T, O] as it stands in the autograd graph, before anything else is done to it."""
    kind: "Literal['linear', 'scale'] | Product" = "linear"
    """``"linear"``: the weight is viewed as [O, *I]. ``"scale"``: it multiplies ``a`` elementwise on its last axes."""


Record = Callable[[Use], None]
"""Takes note of a product while the forward runs."""


class Rule:
    """One kind of module."""

    tested: ClassVar[bool] = True
    """Its products are known to be right; others are held against autograd's gradient on a model's first batch."""

    def refusal(self, module: nn.Module) -> str | None:
        """Why this module has no gradient of one sample, if it has none."""
        return None

    def applies(self, module: nn.Module) -> bool:
        """The module is what its class promises; otherwise it is one that no rule knows."""
        return True

    def watches(self, module: nn.Module, selected: Collection[int]) -> bool:
        """The module matters though no selected parameter (by id) is its own."""
        return False

    def uses(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Sequence[Use]:
        """The products of one call, known when it is over."""
        return ()

    def forward(self, module: nn.Module, record: Record) -> Callable[..., Any] | None:
        """What computes the same outputs in its place, to rounding, and records its products as they are made."""
        return None


class Product(Rule, ABC):
    """A module that is one product. Gradients at an output [N, ...] come for K seeds at once, K on ``seed_dim``."""

    seed_dim: ClassVar[int] = 1
    """Where K is inserted into the output's shape, so that b [N, K, T, O] is a view of it."""
    folds_bias: ClassVar[bool] = True
    """The bias may ride along as one more in-feature."""
    any_axis: ClassVar[bool] = False
    """Samples may lie on another axis than the first."""

    def batched(self, module: nn.Module, x: Tensor) -> bool:
        """The first axis of x is one of samples, and not one that the layer itself works on."""
        return True

    def uses(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Sequence[Use]:
        return (Use(a=inputs[0], params=("weight", "bias"), output=output, kind=self),)

    def ready(self, module: nn.Module, x: Tensor) -> "tuple[Product, Tensor]":
        """The product and its input in a form that several passes over it need not make again."""
        return self, x

    @abstractmethod
    def weight(self, module: nn.Module, inputs: Sequence[Tensor], grads: Sequence[Tensor]) -> Factors | Tensor:
        """Factors with b [N * groups, K, T, O] of all calls of a module, or its gradient [N, K, *shape] itself."""

    @abstractmethod
    def bias(self, module: nn.Module, grad: Tensor) -> Tensor:
        """[N, K, *shape of the bias] of one call."""
