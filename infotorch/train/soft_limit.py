"""LIMIT's penalty form: label information in the last layer's gradient costs, but still flows."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.errors import ConfigError, ShapeError
from infotorch.task.targets import check_classes

__all__ = ["SoftLimitLoss"]


class SoftLimitLoss(nn.Module):
    r"""Cross-entropy plus penalties on what the last layer's weight gradient tells of the label.

    With features h of a last layer without bias, its weight gradient is :math:`(s - t) h^\top`, and the loss is

    .. math:: \operatorname{mean}[-t^\top \log s + \lambda \|h\|^2 \|t - u\|^2 + \beta \|h\|^2 \|s - u\|^2],

    s and u the probabilities of the classifier and the auxiliary network; gradients flow into h, s and u (Harutyunyan
    et al., arXiv 2002.07933, section 3, and the authors' ``PenalizeLastLayerFixedForm``). The authors found it worse
    than replacing the gradient, which ``limit_gradient`` does.

    Args:
        lam: Weight of the mismatch of predicted and true gradient, at least 0.
        beta: Weight of the predicted gradient's norm, at least 0.

    Raises:
        ConfigError: A weight is negative or not finite.
    """

    def __init__(self, lam: float, beta: float) -> None:
        super().__init__()
        for name, value in (("lam", lam), ("beta", beta)):
            if not 0 <= value < math.inf:
                raise ConfigError(f"SoftLimitLoss: {name} must be finite and at least 0; got {value}. Correct {name}.")
        self.lam, self.beta = lam, beta

    def forward(self, features: Tensor, logits: Tensor, aux_logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar in nats.

        Args:
            features: Inputs of the classifier's last layer, [N, I].
            logits: Its outputs, [N, C].
            aux_logits: Outputs of the auxiliary network, [N, C].
            target: Labels, int64 [N], or probabilities, [N, C].

        Raises:
            ShapeError: Shapes disagree.
            DataError: A label lies outside 0..C-1, or target has another shape.
        """
        if logits.dim() != 2 or logits.shape != aux_logits.shape or features.shape[:-1] != logits.shape[:1]:
            raise ShapeError(
                "SoftLimitLoss: features, logits and aux_logits must be [N, I], [N, C] and [N, C]; got "
                f"{list(features.shape)}, {list(logits.shape)} and {list(aux_logits.shape)}. "
                "Give the auxiliary network the classifier's number of outputs."
            )
        check_classes(logits, target)
        t = target if target.is_floating_point() else F.one_hot(target, logits.shape[1]).to(logits.dtype)
        s, u = logits.softmax(1), aux_logits.softmax(1)
        power = features.square().sum(1)  # [N]
        mismatch, norm = (t - u).square().sum(1), (s - u).square().sum(1)
        return F.cross_entropy(logits, target) + (power * (self.lam * mismatch + self.beta * norm)).mean()

    def extra_repr(self) -> str:
        return f"lam={self.lam}, beta={self.beta}"
