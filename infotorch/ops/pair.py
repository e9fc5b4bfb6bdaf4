"""What the ops share in Python: loading the binary, sizes of a pair, and the way back from a gradient of G."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._ops import OpOverload

from infotorch import _C  # loading it registers torch.ops.infotorch.*; torch's libraries must be loaded before
from infotorch.errors import NotSupported

LIBRARY = torch.library.Library("infotorch", "FRAGMENT")  # what is registered here stays for as long as it lives
Sizes = tuple[int, int, int, int]
Gradients = tuple[Tensor | None, ...]


def call(op: OpOverload, *args: Any) -> Any:
    """``op(*args)``, below autograd where no gradient is wanted: its Python dispatch would cost 20 us a call.

    Raises:
        ValueError: Tensors are on several devices.
        NotSupported: A tensor is on a device that this build has no kernels for; nothing is copied in silence.
    """
    check_device(op, *args)
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and torch._C._any_requires_grad(*args)):
        return op(*args)
    with torch._C._AutoDispatchBelowAutograd():
        return op(*args)


def check_device(op: OpOverload, *args: Any) -> None:
    """Refuse tensors on several devices, or on one without kernels.

    Raises:
        ValueError: Tensors among ``args`` are on several devices.
        NotSupported: This build has no kernels for their device.
    """
    if all(x.is_cpu for x in args if isinstance(x, Tensor)):
        return  # to compare devices takes longer
    device = args[1].device
    for x in args:
        if isinstance(x, Tensor) and x.device != device:
            got = f"{device} and {x.device}"
            raise ValueError(f"{name(op)}: all tensors must be on one device; got {got}. Move one with .to(device).")
    if device.type == "cuda" and not _C.build["cuda_archs"]:
        raise NotSupported(
            f"{name(op)}: this build has CPU kernels only; got a tensor on cuda. "
            "Build with INFOTORCH_CUDA=1 where nvcc is, or move it with .cpu()."
        )


def name(op: OpOverload) -> str:
    """``grads`` for both torch.ops.infotorch.grads.default and .out."""
    return op.name().removeprefix("infotorch::").removesuffix(".out")


def allows_tf32(b: Tensor) -> bool:
    """Whether torch may round float32 factors on b's device to tf32: ``torch.backends.cuda.matmul.allow_tf32``."""
    return b.is_cuda and torch.backends.cuda.matmul.allow_tf32


def check_no_grad(where: str, *tensors: Tensor | None) -> None:
    """Refuse ``out=`` where autograd would have to follow.

    Raises:
        NotSupported: Grad mode is on and a tensor requires grad.
    """
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors):
        raise NotSupported(
            f"{where}: out= takes no part in autograd; got an input that requires grad. "
            "Leave out= away, or call under torch.no_grad()."
        )


def sizes(a: Tensor, b: Tensor, bias: bool, t_dims: int, in_features: int | None) -> Sizes:
    """(N, T, I, O) of a pair, the bias counted in I."""
    N, T, O = b.shape
    I = in_features if in_features is not None else a.shape[1 + t_dims :].numel()
    return N, T, I + bias, O


def result_dtype(b: Tensor) -> torch.dtype:
    """What sums over the pair of ``b`` run in: float64 for float64, float32 for float32, bfloat16 and float16."""
    return torch.float64 if b.dtype == torch.float64 else torch.float32


def new_empty(b: Tensor, *size: int) -> Tensor:
    """A result for the pair of ``b``, as the kernels allocate it."""
    return b.new_empty(size, dtype=result_dtype(b))


def refuse_vmap(op: str) -> None:
    """Make ``torch.func.vmap`` over the op raise: an op takes a batch already, and a loop over it would be slow."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupported(
            f"{op}: no tensor may be mapped by torch.func.vmap; got a mapped one. "
            "Fold the mapped axis into N, or pass K weights or tangents at once."
        )

    for overload in getattr(torch.ops.infotorch, op).overloads():  # register_vmap takes no out=
        LIBRARY.impl(f"{op}.{overload}".removesuffix(".default"), refuse, "FuncTorchBatched")


def refuse_grad(op: str) -> None:
    """Make an op without an autograd formula raise where one is wanted: torch would only warn, on the way back."""

    def guard(overload: OpOverload) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled() and torch._C._any_requires_grad(*args, *kwargs.values()):
                raise NotSupported(
                    f"{op}: no tensor may require grad, for there is no way back; got one that does. "
                    "Detach it, or call under torch.no_grad()."
                )
            with torch._C._AutoDispatchBelowAutograd():
                return overload(*args, **kwargs)

        return guarded

    packet = getattr(torch.ops.infotorch, op)
    for overload in packet.overloads():
        LIBRARY.impl(f"{op}.{overload}".removesuffix(".default"), guard(getattr(packet, overload)), "Autograd")


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
