"""The truth of every op: one einsum each, float64 inside, no care for speed or memory.

Letters: n, m sample, t position, i in-feature, o out-feature, k weighting, direction or place in a sketch.
"""

import math
from typing import Any

import numpy as np
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


def project(
    a: Tensor,
    b: Tensor,
    *,
    k: int,
    seed: int,
    kind: str = "sjlt",
    name: str = "",
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
) -> Tensor:
    """Sketches [N, k] of the per-sample gradients, by the whole matrix [O I, k]."""
    g = grads(a, b, bias=bias, t_dims=t_dims, in_features=in_features)
    _, O, I = g.shape
    I -= bias  # elements are numbered without it
    if O == 0 or I + bias == 0:
        return g.new_zeros(len(g), k)
    if kind == "kron":
        k_O, k_I = factors(k, O, I)
        r_O = normals(seed, name, 2, O * k_O).reshape(O, k_O).to(g.device)
        r_I = normals(seed, name, 1, (I + bias) * k_I).reshape(I + bias, k_I).to(g.device)
        return torch.einsum("op,noi,iq->npq", r_O, g, r_I).reshape(-1, k) / math.sqrt(k)
    words = words_of(seed, name, 0, 2 * (O * I + O))
    matrix = torch.zeros(O * I + O, k, dtype=torch.float64)
    matrix[torch.arange(O * I + O), torch.tensor([int(u) * k >> 32 for u in words[0::2]])] = torch.tensor(
        [-1.0 if v & 1 else 1.0 for v in words[1::2]], dtype=torch.float64
    )
    matrix = matrix.to(g.device)
    out = torch.einsum("noi,oik->nk", g[:, :, :I], matrix[: O * I].reshape(O, I, k))
    return out + torch.einsum("no,ok->nk", g[:, :, I], matrix[O * I :]) if bias else out


def words_of(seed: int, name: str, draw: int, count: int) -> "np.ndarray[Any, Any]":
    """The first words of a sketch's stream: Philox4x32-10 of 64-bit integers, block by block."""
    digest = 0xCBF29CE484222325
    for byte in name.encode():
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    low = np.uint64(0xFFFFFFFF)
    block = np.arange(-(-count // 4), dtype=np.uint64)
    c = [block & low, (block >> np.uint64(32)) + np.uint64(draw << 30)]
    c += [np.full_like(block, digest % 2**32), np.full_like(block, digest >> 32)]
    keys = [seed % 2**32, seed >> 32]
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (q >> np.uint64(32)) ^ c[1] ^ np.uint64(keys[0]), q & low,
            (p >> np.uint64(32)) ^ c[3] ^ np.uint64(keys[1]), p & low,
        ]  # fmt: skip
        keys = [(keys[0] + 0x9E3779B9) % 2**32, (keys[1] + 0xBB67AE85) % 2**32]
    return np.stack(c, 1).ravel()[:count]


def normals(seed: int, name: str, draw: int, count: int) -> Tensor:
    """The first normal numbers of a factor, by Box and Muller, rounded to float32."""
    words = words_of(seed, name, draw, count + count % 2).astype(np.float64)
    radius, angle = np.sqrt(-2 * np.log((words[0::2] + 0.5) / 2**32)), 2 * np.pi * words[1::2] / 2**32
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return torch.from_numpy(pairs.ravel()[:count].astype(np.float32)).double()


def factors(k: int, O: int, I: int) -> tuple[int, int]:
    """(k_O, k_I): of all divisors that fit the nearest, the larger one on the side with more features."""
    fit = [(p, k // p) for p in range(1, O + 1) if k % p == 0 and k // p <= max(1, I)]
    return min(fit, key=lambda pair: (max(pair), pair[0] > pair[1] if I >= O else pair[1] > pair[0]))
