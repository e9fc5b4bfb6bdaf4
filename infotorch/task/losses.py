"""The built-in losses: one number a sample, the curvature of it in the outputs, and labels drawn from the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from infotorch.errors import ConfigError, NotSupported
from infotorch.task.factor import softmax_factor
from infotorch.task.nest import name_of
from infotorch.task.targets import IGNORED_LABEL, check_classes, check_unit_interval, like_outputs

__all__ = ["LOSSES", "BinaryCrossEntropy", "Generative", "Loss", "UserLoss"]


@runtime_checkable
class Loss(Protocol):
    """One loss a sample, with the curvature of it in the outputs."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N], in nats, of outputs [N, C]; summed over positions where outputs are [N, T, C]."""

    def hessian_sqrt(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        """S [N, C, R] with S S^T the Hessian [N, C, C] of a sample's loss in its outputs [N, C].

        Outputs [N, *T, C] have S [N, *T, C, R]: positions must be separate, the Hessian zero between them.
        """


@runtime_checkable
class Generative(Loss, Protocol):
    """A loss that is -log of a probability of labels, and can draw them."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Labels or targets for every sample from the model's own distribution; ``generator`` is the CPU's."""


class CrossEntropy:
    """-log softmax(outputs)[y] for int64 labels [N], or its mean under probability targets [N, C]."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N], in nats."""
        check_classes(outputs, y)
        if y.is_floating_point():
            return -(y * outputs.log_softmax(-1)).flatten(1).sum(1)
        if outputs.dim() == 2:
            return F.cross_entropy(outputs, y, reduction="none")
        losses = F.cross_entropy(outputs.flatten(0, -2), y.flatten(), reduction="none", ignore_index=IGNORED_LABEL)
        return losses.view(len(outputs), -1).sum(1)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        """The lower-triangular root of diag p - p p^T, [N, *T, C, C-1]; zero at positions whose label is ignored."""
        S = softmax_factor(outputs.softmax(-1))
        return S if y is None or y.is_floating_point() else S.masked_fill((y == IGNORED_LABEL)[..., None, None], 0)

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Classes [N, *T] with the probabilities softmax(outputs)."""
        p = outputs.detach().softmax(-1).double().cpu()
        classes = torch.multinomial(p.flatten(0, -2), 1, generator=generator)
        return classes.view(outputs.shape[:-1]).to(outputs.device)


class MeanSquaredError:
    """Half the squared norm of outputs - y, y [N, C]: with the Gaussian of unit variance, nats up to a constant."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N]."""
        y = like_outputs("mse", outputs, y)
        return 0.5 * (outputs - y).square().flatten(1).sum(1)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        """The identity, [N, *T, C, C]."""
        eye = torch.eye(outputs.shape[-1], dtype=outputs.dtype, device=outputs.device)
        return eye.expand(*outputs.shape, outputs.shape[-1])

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Outputs plus normal noise of variance 1."""
        noise = torch.randn(outputs.shape, dtype=torch.float64, generator=generator)
        return outputs.detach() + noise.to(outputs.device, outputs.dtype)


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

    def hessian_sqrt(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        """sqrt(s (1 - s)), the outputs' shape [N, ..., 1] and one more axis of 1."""
        return (outputs.sigmoid() * (-outputs).sigmoid()).sqrt()[..., None]

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """0 or 1, the second with probability s, in the outputs' shape and dtype."""
        s = outputs.detach().sigmoid().double().cpu()
        return torch.bernoulli(s, generator=generator).to(outputs.device, outputs.dtype)


@dataclass(frozen=True)
class UserLoss:
    """A caller's ``fn(outputs, y) -> [N]``; its curvature in the outputs is not known."""

    fn: Callable[[Tensor, Tensor], Tensor]

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.fn(outputs, y)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        raise NotSupported(
            f"task: the loss's output Hessian must be known; got the function {name_of(self.fn)}. "
            "Give loss= an object with value(outputs, y) and hessian_sqrt(outputs, y), or a built-in loss."
        )


LOSSES: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(),
    "mse": MeanSquaredError(),
    "binary_cross_entropy": BinaryCrossEntropy(),
}
