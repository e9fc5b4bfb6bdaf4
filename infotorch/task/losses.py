"""The built-in losses: one number a sample, and the curvature of it in the outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from infotorch.errors import ConfigError, NotSupported
from infotorch.task.nest import name_of
from infotorch.task.targets import IGNORED_LABEL, check_classes, check_unit_interval, like_outputs

__all__ = ["LOSSES", "BinaryCrossEntropy", "Loss", "UserLoss"]


@runtime_checkable
class Loss(Protocol):
    """One loss a sample, with the curvature of it in the outputs."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N], in nats, of outputs [N, C]; summed over positions where outputs are [N, T, C]."""

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        """S [N, C, R] with S S^T the Hessian [N, C, C] of a sample's loss in its outputs [N, C]."""


class CrossEntropy:
    """-log softmax(outputs)[y] for int64 labels [N], or its mean under probability targets [N, C]."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N], in nats."""
        check_classes(outputs, y)
        if y.is_floating_point():
            return -(y * outputs.log_softmax(-1)).flatten(1).sum(1)
        losses = F.cross_entropy(outputs.flatten(0, -2), y.flatten(), reduction="none", ignore_index=IGNORED_LABEL)
        return losses.view(len(outputs), -1).sum(1)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        """diag(sqrt p) - p sqrt(p)^T, [N, C, C]: times its transpose it is diag p - p p^T."""
        p = outputs.softmax(-1)  # [N, C]
        return p.sqrt().diag_embed() - p[:, :, None] * p.sqrt()[:, None, :]


class MeanSquaredError:
    """Half the squared norm of outputs - y, y [N, C]: with the Gaussian of unit variance, nats up to a constant."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N]."""
        y = like_outputs("mse", outputs, y)
        return 0.5 * (outputs - y).square().flatten(1).sum(1)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The identity, [N, C, C]."""
        return torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device).expand(len(outputs), -1, -1)


class BinaryCrossEntropy:
    """-y log s - (1 - y) log(1 - s) with s the sigmoid of one logit, y [N] in [0, 1]."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N], in nats."""
        if outputs.shape[1:].numel() != 1:
            raise ConfigError(
                f"task: binary_cross_entropy must see one logit a sample; got outputs {list(outputs.shape)}. "
                'Use loss="cross_entropy" for several classes.'
            )
        y = like_outputs("binary_cross_entropy", outputs, y.to(outputs.dtype))
        check_unit_interval(y)
        return F.binary_cross_entropy_with_logits(outputs, y, reduction="none").flatten(1).sum(1)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        """sqrt(s (1 - s)), [N, 1, 1]."""
        return (outputs.sigmoid() * (-outputs).sigmoid()).sqrt().reshape(-1, 1, 1)


@dataclass(frozen=True)
class UserLoss:
    """A caller's ``fn(outputs, y) -> [N]``; its curvature in the outputs is not known."""

    fn: Callable[[Tensor, Tensor], Tensor]

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.fn(outputs, y)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        raise NotSupported(
            f"task: the loss's output Hessian must be known; got the function {name_of(self.fn)}. "
            "Give loss= an object with value(outputs, y) and hessian_sqrt(outputs, y), or a built-in loss."
        )


LOSSES: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(),
    "mse": MeanSquaredError(),
    "binary_cross_entropy": BinaryCrossEntropy(),
}
