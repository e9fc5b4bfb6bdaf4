"""What the ops share about a pair in Python: what fake kernels check, and the way back from a gradient of G."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

Sizes = tuple[int, int, int, int]
Gradients = tuple[Tensor | None, ...]
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check(op: str, holds: bool, must: str, got: str, todo: str) -> None:
    """The kernels' INFOTORCH_CHECK."""
    torch._check_value(holds, lambda: f"{op}: {must}; got {got}. {todo}")


def sizes(
    op: str, a: Tensor, b: Tensor, bias: bool, t_dims: int, in_features: int | None, *beside: Tensor | None
) -> Sizes:
    """(N, T, I, O) of a pair, the bias counted in I, for a fake kernel that takes the tensors ``beside`` it too.

    Checks what the kernels check (csrc/ops/pair.h), in their words and order, but for the values of indices.
    """
    must = partial(check, op)
    index = a.dtype == torch.int64
    a_type, b_type = (str(x.dtype).removeprefix("torch.") for x in (a, b))
    known = "must be float64, float32, bfloat16"
    todo = f"Convert with a.{'float' if in_features is None else 'long'}()."
    must(index or a.dtype in FLOATS, f"a {known}, float16, or int64 indices", a_type, todo)
    must(b.dtype in FLOATS, f"b {known} or float16", b_type, "Convert with b.float().")
    todo = "Pass the number of embeddings as in_features, or a.float()."
    must(not index or in_features is not None, "int64 a needs in_features", "none", todo)
    todo = "Leave in_features out."
    must(index or in_features is None, "in_features is for int64 indices", f"a of {a_type}", todo)
    todo = "Convert one with .to(dtype)."
    must(index or a.dtype == b.dtype, "a and b must have one dtype", f"{a_type} and {b_type}", todo)
    for x in (a, *beside):
        got = f"{b.device} and {b.device if x is None else x.device}"
        todo = "Move one with .to(device)."
        must(x is None or x.device == b.device, "all tensors must be on one device", got, todo)
    rule = "t_dims must be 1 for indices" if index else "t_dims must be 1 to 4"
    must(1 <= t_dims <= (1 if index else 4), rule, str(t_dims), "Count the axes of positions in a.")
    got = f"a {list(a.shape)} and b {list(b.shape)}"
    rule = "indices must be [N, T] and b [N, T, O]"
    must(not index or (a.dim() == 2 and b.dim() == 3), rule, got, "Flatten the axes of positions.")
    rule = "a must be [N, *T, *I] with t_dims axes of positions, and b [N, T, O]"
    todo = "Insert the T axis with unsqueeze(1) if it is missing."
    must(index or (t_dims + 2 <= a.dim() <= t_dims + 5 and b.dim() == 3), rule, got, todo)
    I = a.shape[1 + t_dims :].numel() if in_features is None else in_features
    must(I >= 0, "in_features must not be negative", str(I), "Pass the number of embeddings.")
    N, T, O = b.shape
    for size, same in ((a.shape[0], N), (a.shape[1 : 1 + t_dims].numel(), T)):
        must(size == same, "a and b must agree on N and T", got, "Capture both from the same forward pass.")
    return N, T, I + bias, O


def check_name(op: str, what: str, names: tuple[str, ...], got: str) -> None:
    """The kernels' refusal of a name that is none of an option's; the first is the default."""
    *rest, last = map(repr, names)
    check(op, got in names, f"{what} must be {', '.join(rest)} or {last}", repr(got), f"Leave it out for {names[0]!r}.")


def result_dtype(b: Tensor) -> torch.dtype:
    """What sums over the pair of ``b`` run in: float64 for float64, float32 for float32, bfloat16 and float16."""
    return torch.float64 if b.dtype == torch.float64 else torch.float32


def new_empty(b: Tensor, *size: int) -> Tensor:
    """A result for the pair of ``b``, as the kernels allocate it."""
    return b.new_empty(size, dtype=result_dtype(b))


def no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Products of ``x`` in its own dtype, whatever torch.autocast says: the way back is as exact as the op."""
    known = torch.amp.is_autocast_available(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if known else nullcontext()


def pull(
    g: Tensor,
    a: Tensor,
    b: Tensor,
    needs: tuple[bool, bool],
    bias: bool,
    in_features: int | None,
    scale: Tensor | None = None,
) -> Gradients:
    """Gradients of sum(g * G) with respect to a and b, where needed and in their dtypes.

    ``g`` is [N, O, I], or [O, I] where all samples share it; sample n's share is then that times ``scale`` [N].
    """
    N, T, O = b.shape
    weight = g[..., :-1] if bias else g
    grad_a = grad_b = None
    with no_autocast(g):
        if needs[0]:
            grad_a = b.to(g.dtype) @ weight  # [N, T, I]
        if needs[1]:
            if in_features is None:
                grad_b = a.reshape(N, T, weight.shape[-1]).to(g.dtype) @ weight.mT  # [N, T, O]
            else:
                grad_b = g.mT[a] if g.dim() == 2 else g.mT.gather(1, a[:, :, None].expand(N, T, O))
            grad_b = grad_b + g[..., None, :, -1] if bias else grad_b
    return as_gradient(grad_a, a, scale), as_gradient(grad_b, b, scale)


def as_gradient(grad: Tensor | None, x: Tensor, scale: Tensor | None) -> Tensor | None:
    """A gradient [N, T, ...] with respect to ``x``, times ``scale`` [N], in x's shape and rounded to its dtype."""
    if grad is None:
        return None
    scaled = grad if scale is None else grad * scale[:, None, None]
    return scaled.reshape(x.shape).to(x.dtype)
