"""Sketches of per-sample gradients."""

import operator
from typing import Literal, SupportsIndex, get_args

import torch
from torch import Tensor

from infotorch.errors import ConfigError
from infotorch.ops.dispatch import call, call_out, refuse_grad, refuse_unserved
from infotorch.ops.pair import check, check_name, new_empty, sizes

__all__ = ["add_projections", "project"]

Kind = Literal["sjlt", "kron"]


def project(
    a: Tensor,
    b: Tensor,
    *,
    k: int,
    seed: SupportsIndex,
    kind: Kind = "sjlt",
    name: str = "",
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
) -> Tensor:
    r"""Linear sketch of each sample's gradient, k numbers, :math:`E\langle p(G), p(G')\rangle = \langle G, G'\rangle`.

    ``"sjlt"`` adds every element of the gradient to one of k buckets, with a sign (Kane and Nelson, "Sparser
    Johnson-Lindenstrauss Transforms", arXiv:1012.1577, with one bucket an element). The gradient is formed tile
    by tile, at T I O multiply-adds a sample. The inner product of two sketches has a root mean square
    error of about :math:`1/\sqrt k` of the product of the norms.

    ``"kron"`` is :math:`\operatorname{vec}(R_O^\top G_n R_I)` with normal factors [O, k_O] and [I, k_I] of variance
    1/k_O and 1/k_I, at T (I k_I + O k_O + k) multiply-adds. It never forms a gradient, but is less exact at equal k:
    with one position the error is about :math:`\sqrt{1/k_O + 1/k_I}`. k_O and k_I are the divisors of k nearest to
    each other with k_O <= O and k_I <= I, the larger one on the side with more features (on I if both have as many);
    the bias does not count in I.

    Seed and name alone decide on the numbers: the words of Philox4x32-10 with the seed as its key and, in its counter,
    the hash of the name and the place of an element in the weight (csrc/philox.h states the format). So a sample's
    sketch has the same bits whatever its batch, and sketches with one seed and name are comparable across batches and
    machines; those of two layers need two names. A sketch with the bias is the sketch without it plus that of the bias
    alone. Sketches of several layers add.

    bfloat16 and float16 are widened where they are read: products and sums run in float32.

    Args:
        a: Layer inputs, float64, float32, bfloat16 or float16: [N, T, I], or [N, *T, *I] with ``t_dims`` axes of
            positions, read as they lie. Or int64 [N, T], the rows of an embedding that were looked up.
        b: Gradients of the summed loss with respect to the layer's outputs, [N, T, O], of a's dtype, any strides.
        k: Size of the sketch, up to 2^31.
        seed: From 0 to 2^64 - 1.
        kind: Which family of sketches.
        name: The weight's name, any text.
        bias: Append the in-feature that is always 1, without copying ``a``.
        t_dims: Number of T axes in ``a``.
        in_features: I, given exactly when ``a`` holds indices.

    Returns:
        [N, k], of b's dtype, or float32 where that has 16 bits, in units of the loss over units of the weight.

    Raises:
        ValueError: Shapes, dtypes or devices disagree, an index is out of range, k is not in 1 to 2^31 or, for
            ``"kron"``, has no such divisors, or ``kind`` is neither.
        ConfigError: ``seed`` is out of range.
        NotSupported: A tensor on a device without kernels, or an input that requires grad.

    Example:
        >>> project(torch.ones(2, 1, 3), torch.ones(2, 1, 2), k=1, seed=0).shape
        torch.Size([2, 1])
    """
    key = _key(seed)
    return call(torch.ops.infotorch.project.default, a, b, k, key, kind, name, bias, t_dims, in_features)


def add_projections(
    out: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    seed: SupportsIndex,
    name: str = "",
    t_dims: int = 1,
    in_features: int | None = None,
) -> Tensor:
    """Add to ``out`` the ``"sjlt"`` sketches that :func:`project` makes of K gradients of each sample.

    The K share the sample's inputs, which are read once, and no sketch of one layer is written only to be added to the
    others'. On a GPU it is ``project`` K times. Row (n, j) depends on what it held, a[n] and b[n, j] alone, to the bit.

    Args:
        out: [N, K, k], of the dtype of ``project``'s result, contiguous.
        a: As ``project`` takes it.
        b: [N, K, T, O].
        seed: As ``project`` takes it; likewise what follows.
        name: The weight's name.
        t_dims: Number of T axes in ``a``.
        in_features: I, given exactly when ``a`` holds indices.

    Returns:
        ``out``.

    Raises:
        ValueError: Shapes, dtypes or devices disagree, or an index is out of range.
        ConfigError: ``seed`` is out of range.
        NotSupported: A tensor on a device without kernels, or one that requires grad.

    Example:
        >>> add_projections(torch.zeros(2, 3, 1), torch.ones(2, 1, 4), torch.ones(2, 3, 1, 5), seed=0).shape
        torch.Size([2, 3, 1])
    """
    if b.is_cuda:
        k = out.shape[-1]
        for j, one in enumerate(b.unbind(1)):
            out[:, j] += project(a, one, k=k, seed=seed, name=name, t_dims=t_dims, in_features=in_features)
        return out
    return call_out(torch.ops.infotorch.project.add, a, b, _key(seed), name, t_dims, in_features, out=out)


def _key(seed: SupportsIndex) -> int:
    """The seed's 64 bits, signed, as the dispatcher's integers are."""
    key = operator.index(seed)
    if not 0 <= key < 2**64:
        raise ConfigError(f"project: seed must be 0 to 2^64 - 1; got {key}. Take it modulo 2^64.")
    return key - 2**64 if key >= 2**63 else key


@torch.library.register_fake("infotorch::project")
def _fake(
    a: Tensor,
    b: Tensor,
    k: int,
    seed: int,
    kind: str = "sjlt",
    name: str = "",
    bias: bool = False,
    t_dims: int = 1,
    in_features: int | None = None,
) -> Tensor:
    N, _, _, _ = sizes("project", a, b, bias, t_dims, in_features)
    check_name("project", "kind", get_args(Kind), kind)
    return new_empty(b, N, k)


@torch.library.register_fake("infotorch::project.add")
def _fake_add(a: Tensor, b: Tensor, seed: int, name: str, t_dims: int, in_features: int | None, *, out: Tensor) -> None:
    got = f"b {list(b.shape)} and out {list(out.shape)}"
    rule = "b must be [N, K, T, O] and out [N, K, k]"
    check("project", b.dim() == 4 and out.dim() == 3, rule, got, "Insert the K axis with unsqueeze(1).")
    N, _, _, _ = sizes("project", a, b[:, 0] if b.shape[1] else b.flatten(1, 2), False, t_dims, in_features)
    want = [N, b.shape[1], out.shape[2]]
    check(
        "project", list(out.shape) == want, f"out must be {want}", str(list(out.shape)), "Allocate it with that shape."
    )


refuse_grad("project")
refuse_unserved("project")
