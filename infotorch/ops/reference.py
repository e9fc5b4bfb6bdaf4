"""The truth of every op, float64 inside, no care for speed or memory: one einsum each for the ops on a pair.

Letters: n, m sample, t position, i in-feature, o out-feature, k weighting, direction or place in a sketch; c class.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

Words = np.ndarray[Any, np.dtype[np.uint64]]
LOW = np.uint64(0xFFFFFFFF)


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


def words_of(seed: int, name: str, draw: int, count: int) -> Words:
    """The first words of a sketch's stream: Philox4x32-10 of 64-bit integers, block by block."""
    digest = 0xCBF29CE484222325
    for byte in name.encode():
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    block = np.arange(-(-count // 4), dtype=np.uint64)
    counter = [block & LOW, (block >> np.uint64(32)) + np.uint64(draw << 30)]
    counter += [np.full_like(block, digest % 2**32), np.full_like(block, digest >> 32)]
    return philox(counter, seed).ravel()[:count]


def philox(c: list[Words], key: int) -> Words:
    """The four output words [..., 4] of every counter (c0, c1, c2, c3), each [...]."""
    keys = [key % 2**32, key >> 32]
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (q >> np.uint64(32)) ^ c[1] ^ np.uint64(keys[0]), q & LOW,
            (p >> np.uint64(32)) ^ c[3] ^ np.uint64(keys[1]), p & LOW,
        ]  # fmt: skip
        keys = [(keys[0] + 0x9E3779B9) % 2**32, (keys[1] + 0xBB67AE85) % 2**32]
    return np.stack(c, -1)


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


def limit(
    logits: Tensor,
    aux_logits: Tensor,
    target: Tensor,
    *,
    q: str = "gaussian",
    beta: float = 0.0,
    weight: Tensor | None = None,
    pos_weight: float | Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """What ``LimitRows`` holds, of logits [..., C], or of single logits [N] or [..., 1]; ``aux_grad`` by autograd.

    Beside it ``label_grad``, the gradient of the classifier's loss, which ``inject`` predicts.
    """
    z, v = logits.detach().double(), aux_logits.detach().double().requires_grad_()
    single = z.dim() == 1 or z.shape[-1] == 1
    if single:
        rows = z.shape[:1] if z.dim() == 1 else z.shape[:-1]
        z, v_rows, given = z.reshape(*rows, 1), v.reshape(*rows, 1), target.reshape(rows)
    else:
        v_rows, given = v, target
    valid = torch.ones(z.shape[:-1], dtype=torch.bool, device=z.device) if mask is None else mask.reshape(z.shape[:-1])
    if not given.is_floating_point():
        valid = valid & (given != ignore_index)
        given = given.where(valid, 0).double() if single else one_hot(given.where(valid, 0), z.shape[-1])
    t = given.detach().double()[..., None] if single else given.detach().double()
    t = (1 - label_smoothing) * t + label_smoothing / (2 if single else z.shape[-1])  # [..., C]
    with torch.enable_grad():
        if single:
            p = 1.0 if pos_weight is None else torch.as_tensor(pos_weight).double().to(z.device)
            s, u = z.sigmoid(), v_rows.sigmoid()
            g, mu = (s * (p * a + 1 - a) - p * a for a in (t, u))
            d = (s * (1 - p) + p) * (u - t)  # g - mu
            ce, aux_ce = (-(p * t * logsigmoid(x) + (1 - t) * logsigmoid(-x)).sum(-1) for x in (z, v_rows))
        else:
            w = torch.ones_like(t[..., :1]) if weight is None else weight.detach().double()
            s, u = z.softmax(-1), v_rows.softmax(-1)
            g, mu = ((w * a).sum(-1, keepdim=True) * s - w * a for a in (t, u))
            d = u - t if weight is None else g - mu  # in the rounding of s, u = t is no longer exact
            ce, aux_ce = (
                (w * torch.where(t > 0, -t * x.log_softmax(-1), 0)).sum(-1) for x in (z, v_rows)
            )  # 0 * inf is 0 for a class that is masked
        match = {"gaussian": d.square().sum(-1), "laplace": d.abs().sum(-1), "ce": aux_ce}[q]
        pen = mu.square().sum(-1)
        loss = torch.where(valid, match + beta * pen, 0)
        (aux_grad,) = torch.autograd.grad(loss.sum(), v)
    of_rows = {"match": match, "pen": pen, "ce": ce, "dist": (u - t).square().sum(-1).sqrt()}
    tops = [(x > 0).long().squeeze(-1) if single else x.argmax(-1) for x in (z, v_rows)]
    return {
        "inject": torch.where(valid[..., None], mu, 0).detach().reshape(logits.shape),
        "label_grad": torch.where(valid[..., None], g, 0).detach().reshape(logits.shape),
        "aux_grad": aux_grad,
        **{name: torch.where(valid, x, 0).detach() for name, x in of_rows.items()},
        "valid": valid,
        "top": tops[0],
        "aux_top": tops[1],
    }


def limit_noise(
    seed: int, step: int, ids: Tensor, num_classes: int, kind: str = "gaussian", positions: int = 1
) -> Tensor:
    """Keyed draws [N * positions, C] of unit scale, or what they are made of, "uniform" and "words"."""
    keys = ids.cpu().numpy()
    if positions > 1:
        keys = (keys[:, None] * 2**20 + np.arange(positions)).ravel()
    keys = keys.astype(np.uint64)[:, None]  # [N, 1]
    block = np.arange(-(-num_classes // 4), dtype=np.uint64)[None]  # [1, blocks]
    counter = np.broadcast_arrays(block, np.uint64(step % 2**32), keys & LOW, keys >> np.uint64(32))
    words = philox([np.array(c, dtype=np.uint64) for c in counter], seed).reshape(len(keys), 4 * block.size)
    u = (words >> np.uint64(8)).astype(np.float64) * 2.0**-24 + 2.0**-25
    if kind == "gaussian":
        radius, angle = np.sqrt(-2 * np.log(u[:, 0::2])), 2 * np.pi * u[:, 1::2]
        u = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(u.shape)
    elif kind == "laplace":
        u = -np.sign(u - 0.5) * np.log1p(-2 * np.abs(u - 0.5))
    out = words.astype(np.int64) if kind == "words" else u
    return torch.from_numpy(out[:, :num_classes].copy()).to(ids.device)
