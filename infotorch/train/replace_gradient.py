"""A gradient of one's own choice in place of the one that comes back."""

from typing import Any

import torch
from torch import Tensor

from infotorch.errors import ShapeError

__all__ = ["replace_gradient"]


def replace_gradient(logits: Tensor, grad: Tensor) -> Tensor:
    """``logits``, whose gradient will be ``grad`` whatever comes from above: no loss scale, divisor or weight arrives.

    A building block for other predictors of gradients; :func:`infotorch.train.limit_gradient` multiplies by what comes
    from above and is what training uses.

    Args:
        logits: Any tensor.
        grad: Of its shape, dtype and device; detached.

    Returns:
        The same numbers as ``logits``.

    Raises:
        ShapeError: ``grad`` has another shape, dtype or device.

    Example:
        >>> z = torch.zeros(2, requires_grad=True)
        >>> replace_gradient(z, torch.tensor([1.0, 2.0])).sum().mul(100).backward()
        >>> z.grad
        tensor([1., 2.])
    """
    if (grad.shape, grad.dtype, grad.device) != (logits.shape, logits.dtype, logits.device):
        form = [f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)} on {x.device}" for x in (logits, grad)]
        raise ShapeError(
            f"replace_gradient: grad must be as logits are, {form[0]}; got {form[1]}. Convert it with .to(logits)."
        )
    return _Replace.apply(logits, grad.detach())


class _Replace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, grad: Tensor) -> Tensor:
        ctx.save_for_backward(grad)
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None
