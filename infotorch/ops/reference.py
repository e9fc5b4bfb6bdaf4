"""The truth of every op: one einsum each, float64 inside, no care for speed or memory.

Letters: n, m sample, t position, i in-feature, o out-feature, k weighting or direction.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def rows(a: Tensor, b: Tensor, *, bias: bool = False, t_dims: int = 1, in_features: int | None = None) -> Tensor:
    """The inputs [N, T, I] of a [N, *T, *I] or int64 [N, T], and b [N, T, O]: one-hot, and with the bias."""
    N, T, _ = b.shape
    if in_features is not None:
        a = one_hot(a, in_features) if a.numel() else a.new_zeros(N, T, in_features)
    a = a.double().reshape(N, T, a.shape[1 + t_dims :].numel())  # [N, T, I]
    return torch.cat([a, a.new_ones(N, T, 1)], 2) if bias else a


def grads(a: Tensor, b: Tensor, *, bias: bool = False, t_dims: int = 1, in_features: int | None = None) -> Tensor:
    """Per-sample gradients G [N, O, I] of a [N, *T, *I] or int64 [N, T], and b [N, T, O]."""
    a = rows(a, b, bias=bias, t_dims=t_dims, in_features=in_features)
    return torch.einsum("nto,nti->noi", b.double(), a)


def norms(a: Tensor, b: Tensor, *, bias: bool = False, t_dims: int = 1, in_features: int | None = None) -> Tensor:
    """Squared norms [N] of the per-sample gradients."""
    g = grads(a, b, bias=bias, t_dims=t_dims, in_features=in_features)
    return torch.einsum("noi,noi->n", g, g)


def gram(
    a: Tensor,
    b: Tensor,
    a2: Tensor | None = None,
    b2: Tensor | None = None,
    *,
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
) -> Tensor:
    """Inner products [N, M] of the per-sample gradients of two sets."""
    g = grads(a, b, bias=bias, t_dims=t_dims, in_features=in_features)
    g2 = g if a2 is None or b2 is None else grads(a2, b2, bias=bias, t_dims=t_dims, in_features=in_features)
    return torch.einsum("noi,moi->nm", g, g2)


def vjp(
    a: Tensor, b: Tensor, w: Tensor, *, bias: bool = False, t_dims: int = 1, in_features: int | None = None
) -> Tensor:
    """Weighted sums [O, I] or [K, O, I] of the per-sample gradients, w [N] or [K, N]."""
    g = grads(a, b, bias=bias, t_dims=t_dims, in_features=in_features)
    return torch.einsum("...n,noi->...oi", w.double(), g)


def jvp(
    a: Tensor, b: Tensor, v: Tensor, *, bias: bool = False, t_dims: int = 1, in_features: int | None = None
) -> Tensor:
    """Inner products [N] or [N, K] of the per-sample gradients with directions v [O, I] or [K, O, I]."""
    g = grads(a, b, bias=bias, t_dims=t_dims, in_features=in_features)
    return torch.einsum("noi,...oi->n...", g, v.double())


def fisher(
    a: Tensor,
    b: Tensor,
    *,
    form: str = "diagonal",
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
) -> Tensor:
    """Sum over samples of the squared gradients [O, I], or of their outer products [O * I, O * I]."""
    g = grads(a, b, bias=bias, t_dims=t_dims, in_features=in_features)
    if form == "diagonal":
        return torch.einsum("noi,noi->oi", g, g)
    g = g.flatten(1)  # [N, O * I]
    return torch.einsum("np,nq->pq", g, g)


def kron(
    a: Tensor,
    b: Tensor,
    *,
    split: str = "expand",
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Second moments [I, I] of the inputs and [O, O] of the output-gradients, of positions or of their sums."""
    x, y = rows(a, b, bias=bias, t_dims=t_dims, in_features=in_features), b.double()
    if split == "reduce":
        x, y = x.sum(1, keepdim=True), y.sum(1, keepdim=True)  # [N, 1, I], [N, 1, O]
    return torch.einsum("nti,ntj->ij", x, x), torch.einsum("nto,ntp->op", y, y)
