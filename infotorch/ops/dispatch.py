"""How the ops meet torch's dispatcher: calls that cost little, the way back, and what is refused in words."""

import re
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.autograd import forward_ad
from torch.autograd.graph import increment_version

from infotorch import _C  # loading it registers torch.ops.infotorch.*; torch's libraries must be loaded before
from infotorch.errors import NotSupported
from infotorch.ops.pair import check

LIBRARY = torch.library.Library("infotorch", "FRAGMENT")  # what is registered here stays for as long as it lives
MISTYPED = re.compile(r"Expected a value of type '(.+?)' for argument '(.+?)' but instead found type '(.+?)'")


def call(op: OpOverload, *args: Any, **out: Tensor) -> Any:
    """``op(*args, **out)``, below autograd where that has nothing to do: its Python dispatch would cost 20 us a call.

    Raises:
        TypeError: An argument is of another type than the op takes.
    """
    if torch.compiler.is_compiling():
        return op(*args, **out)
    try:
        if concerns_autograd(*args, **out) or forward_ad._current_level >= 0:
            return op(*args, **out)
        return below_autograd(op, *args, **out)
    except RuntimeError as error:
        refuse_types(op, args, str(error))
        raise


def call_out(op: OpOverload, *args: Any, out: Tensor) -> Tensor:
    """``out``, once ``op`` has written it."""
    call(op, *args, out=out)
    return out


def below_autograd(op: OpOverload, *args: Any, **out: Tensor) -> Any:
    """``op(*args, **out)`` by its kernel; autograd hears that ``out`` was written."""
    with torch._C._AutoDispatchBelowADInplaceOrView():
        result = op(*args, **out)
    for x in out.values():
        if not x.is_inference():
            increment_version(x)
    return result


def name(op: OpOverload) -> str:
    """``grads`` for both torch.ops.infotorch.grads.default and .out."""
    return op.name().removeprefix("infotorch::").partition(".")[0]


def overloads(op: str) -> list[OpOverload]:
    packet = getattr(torch.ops.infotorch, op)
    return [getattr(packet, overload) for overload in packet.overloads()]


def concerns_autograd(*args: Any, **out: Tensor) -> bool:
    return torch.is_grad_enabled() and torch._C._any_requires_grad(*args, **out)


def has_tangent(x: Any) -> bool:
    return isinstance(x, Tensor) and forward_ad.unpack_dual(x).tangent is not None


def allows_tf32(b: Tensor) -> bool:
    """Whether torch may round float32 factors on b's device to tf32: ``torch.backends.cuda.matmul.allow_tf32``."""
    return isinstance(b, Tensor) and b.is_cuda and torch.backends.cuda.matmul.allow_tf32


def refuse_types(op: OpOverload, args: tuple[Any, ...], says: str) -> None:
    """Refuse an argument of a wrong type, if that is what an error of torch ``says``, or a tensor that is None."""
    wrong = MISTYPED.findall(says)
    for argument, value in zip(op._schema.arguments, args, strict=False):
        if value is None and str(argument.type) == "Tensor":  # which the dispatcher lets through
            wrong.append(("Tensor", argument.name, "None"))
    for wanted, which, got in wrong:
        todo = "Convert it, or leave out what has a default."
        raise TypeError(f"{name(op)}: {which} must be of type {wanted}; got {got}. {todo}") from None


def refusal(op: str, says: str) -> Callable[..., NoReturn]:
    """A kernel that raises."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupported(f"{op}: {says}")

    return refuse


def refuse_unserved(op: str) -> None:
    """Make an op raise where no kernel of ours would run.

    Under ``torch.func.vmap``: an op takes a batch already, and a loop over it would be slow. And for tensors on a
    device that this build has no kernels for: nothing is copied in silence.
    """
    says = "no tensor may be mapped by torch.func.vmap; got a mapped one. "
    refuse_vmap = refusal(op, says + "Fold the mapped axis into N, or pass K weights or tangents at once.")
    says = "this build has CPU kernels only; got a tensor on cuda. "
    refuse_cuda = refusal(op, says + "Build with INFOTORCH_CUDA=1 where nvcc is, or move it with .cpu().")
    for overload in overloads(op):
        LIBRARY.impl(overload, refuse_vmap, "FuncTorchBatched")  # register_vmap takes no out=
        if not _C.build["cuda_archs"]:
            LIBRARY.impl(overload, refuse_cuda, "CUDA")


def refuse_grad(op: str) -> None:
    """Make an op without an autograd formula raise where one is wanted: torch would only warn, on the way back."""
    says = "no tensor may require grad, for there is no way back; got one that does. "
    refuse = refusal(op, says + "Detach it, or call under torch.no_grad().")
    for overload in overloads(op):
        set_autograd(overload, refuse, "Detach it.")


def register_autograd(op: str, setup_context: Callable[..., None], backward: Callable[..., Any]) -> None:
    """Give an op its way back, and make its ``out=`` raise where one is wanted.

    Not by ``torch.library.register_autograd``, which drops the tangents of forward mode in silence.
    """
    packet = getattr(torch.ops.infotorch, op)
    defaults = [argument.default_value for argument in packet.default._schema.arguments]
    methods = {
        "forward": lambda *args: below_autograd(packet.default, *args),
        "setup_context": setup_context,
        "backward": backward,
    }
    function: Any = type(op, (torch.autograd.Function,), {key: staticmethod(run) for key, run in methods.items()})
    says = "no tensor may be differentiated by torch.func; got one that is. Call torch.autograd.grad."
    refuse_transform = refusal(op, says)

    def record(*args: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            refuse_transform()
        return function.apply(*args, *defaults[len(args) :])  # the dispatcher leaves out trailing defaults

    set_autograd(packet.default, record, "Call torch.autograd.grad, or detach it.")
    if "out" in packet.overloads():
        says = "out= takes no part in autograd; got a tensor that requires grad. "
        refuse_out = refusal(op, says + "Leave out= away, or call under torch.no_grad().")
        set_autograd(packet.out, refuse_out, "Leave out= away, or detach it.")


def set_autograd(overload: OpOverload, record: Callable[..., Any], todo: str) -> None:
    """Run ``record`` where a gradient is wanted, and the kernel elsewhere; refuse tangents of forward mode."""
    refuse_tangent = refusal(name(overload), f"no tensor may carry a forward-mode tangent; got one that does. {todo}")

    def guard(*args: Any, **out: Tensor) -> Any:
        if forward_ad._current_level >= 0 and any(map(has_tangent, (*args, *out.values()))):
            refuse_tangent()
        if concerns_autograd(*args, **out):
            return record(*args, **out)
        return below_autograd(overload, *args, **out)

    LIBRARY.impl(overload, guard, "Autograd")


def register_fake_out(op: str, fake: Callable[..., Tensor]) -> None:
    """Give ``out=`` a fake kernel: that of the op, whose result tells what ``out`` must be."""

    def fake_out(*args: Any, out: Tensor) -> None:
        want = fake(*args)
        got, todo = str(list(out.shape)), "Allocate it with that shape."
        check(op, out.shape == want.shape, f"out must be {list(want.shape)}", got, todo)
        got, todo = f"{want.device} and {out.device}", "Move one with .to(device)."
        check(op, out.device == want.device, "all tensors must be on one device", got, todo)

    torch.library.register_fake(f"infotorch::{op}.out", fake_out)
