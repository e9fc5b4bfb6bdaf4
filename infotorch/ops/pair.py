"""What the ops share in Python: loading the binary, sizes of a pair, and the way back from a gradient of G."""

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from infotorch import _C  # loading it registers torch.ops.infotorch.*; torch's libraries must be loaded before
from infotorch.errors import NotSupported

Sizes = tuple[int, int, int, int]
Gradients = tuple[Tensor | None, ...]


def call(op: OpOverload, *args: Any) -> Tensor:
    """``op(*args)``, below autograd where no gradient is wanted: its Python dispatch would cost 20 us a call.

    Raises:
        NotSupported: A tensor is on a device that this build has no kernels for; nothing is copied in silence.
    """
    if (args[0].is_cuda or args[1].is_cuda) and not _C.build["cuda_archs"]:
        where = op.name().removeprefix("infotorch::")
        raise NotSupported(f"{where}: this build has CPU kernels only; got a tensor on cuda. Move it with .cpu().")
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and torch._C._any_requires_grad(*args)):
        return op(*args)
    with torch._C._AutoDispatchBelowAutograd():
        return op(*args)


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


def pull(g: Tensor, a: Tensor, b: Tensor, needs: tuple[bool, bool], bias: bool, in_features: int | None) -> Gradients:
    """Gradients of sum(g * G) with respect to a and b, where needed; g [N, O, I]."""
    N, T, O = b.shape
    if in_features is not None:
        picked = g.mT.gather(1, a[:, :, None].expand(N, T, O))  # [N, T, O]
        return None, (picked + g[:, None, :, -1] if bias else picked) if needs[1] else None
    rows = a.reshape(N, T, g.shape[2] - bias)  # [N, T, I]
    weight = g[:, :, :-1] if bias else g
    grad_a = (b @ weight).reshape(a.shape) if needs[0] else None
    grad_b = rows @ weight.mT if needs[1] else None
    if grad_b is not None and bias:
        grad_b = grad_b + g[:, None, :, -1]
    return grad_a, grad_b
