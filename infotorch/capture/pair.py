"""What is kept of a layer: two factors of each sample's gradient."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Factors", "LayerPair"]


@dataclass(frozen=True, kw_only=True)
class Factors:
    r"""One matrix of weights as it was used: :math:`G_n = \sum_t b_{nt} a_{nt}^\top` of shape [O, I] a sample.

    A grouped weight is several such matrices, [groups, O / groups, I]: the group is the inner part of the batch axis.
    """

    a: Tensor
    """[N * groups, *T, *I] in any strides, floating; or int64 [N, T], the places of the ones of a one-hot input."""
    b: Tensor
    """Gradients of the summed loss at the outputs, [N * groups, T, O], or [N * groups, K, T, O] for K seeds."""
    t_dims: int = 1
    """How many axes of ``a`` are positions."""
    in_features: int | None = None
    """I of a one-hot ``a``; None where ``a`` has it."""
    groups: int = 1
    transposed: bool = False
    """The parameter is [I, O], as an embedding's."""

    @property
    def N(self) -> int:
        return len(self.b) // self.groups

    @property
    def T(self) -> int:
        return self.b.shape[-2]

    @property
    def O(self) -> int:  # noqa: E743  (the alphabet's letter)
        return self.b.shape[-1]

    @property
    def I(self) -> int:  # noqa: E743  (the alphabet's letter)
        return self.in_features or self.a.shape[1 + self.t_dims :].numel()

    def rows(self) -> Tensor:
        """``a`` written out, [N * groups, T, I] in b's dtype: what the strided and one-hot forms stand for."""
        if self.in_features is not None:
            return F.one_hot(self.a, self.in_features).to(self.b.dtype)
        return self.a.reshape(len(self.a), self.T, self.I)

    def gradients(self, bias: bool = False) -> Tensor:
        """[N, groups * O, I (+ 1 with ``bias``)], [N, K, groups * O, ...] for seeds, by one plain product."""
        a = F.pad(self.rows(), (0, 1), value=1.0) if bias else self.rows()
        b = self.b if self.b.dim() == 4 else self.b[:, None]  # [N * groups, K, T, O]
        G = torch.einsum("nkto,nti->nkoi", b, a).unflatten(0, (self.N, self.groups))
        G = G.transpose(1, 2).flatten(2, 3)  # [N, K, groups * O, I]
        return G if self.b.dim() == 4 else G[:, 0]


@dataclass(frozen=True, kw_only=True)
class LayerPair(Factors):
    """The factors of a layer and the parameters whose gradients they make.

    A parameter that is small and not a matrix (the scale of a normalization, a bias without its weight) has its
    gradient g itself for ``b``, [N, 1, O] with O its size, and a single one for ``a``.
    """

    name: str
    """Path of the module, or name of the parameter where it stands alone."""
    shapes: dict[str, torch.Size]
    """Parameter name -> shape: the weight, then the bias."""
    bias: bool = False
    """The bias is the last in-feature, which is always 1 and not stored."""
    unit: bool = False
    """The seeds are unit vectors on this layer's own output: b[n, k] is the k-th of them at every sample."""

    @property
    def geometry(self) -> dict[str, Any]:
        """The options that every op takes beside ``a`` and ``b``."""
        return {"bias": self.bias, "t_dims": self.t_dims, "in_features": self.in_features}

    def grad(self, n: int) -> Tensor:
        """Sample n's gradient [groups * O, I (+ 1)], [K, ...] for seeds, written out: for checks, not for speed."""
        return self.sample(n).gradients(self.bias)[0]

    def sample(self, n: int) -> Factors:
        """Sample n's factors alone."""
        block = slice(n * self.groups, (n + 1) * self.groups)
        return Factors(
            a=self.a[block],
            b=self.b[block],
            t_dims=self.t_dims,
            in_features=self.in_features,
            groups=self.groups,
        )

    def split(self, G: Tensor) -> dict[str, Tensor]:
        """Gradients G [..., groups * O, I (+ 1)] as views {parameter name: [..., *shape]}, transposed ones copied."""
        weight, *bias = self.shapes
        W = G[..., : self.I]
        parts = {weight: (W.mT if self.transposed else W).reshape(*G.shape[:-2], *self.shapes[weight])}
        return parts | {name: G[..., self.I].reshape(*G.shape[:-2], *self.shapes[name]) for name in bias}

    def nbytes(self) -> int:
        """Bytes that a and b address, an element that several places share counted once."""
        return _addressed(self.a) + _addressed(self.b)


def _addressed(tensor: Tensor) -> int:
    if not tensor.numel():
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return min(last + 1, tensor.numel()) * tensor.element_size()
