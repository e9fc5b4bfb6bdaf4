"""An auxiliary network on features that never saw a label."""

import copy

import torch
from torch import Tensor, nn

from infotorch.errors import ConfigError, ShapeError

__all__ = ["PretrainedHead", "pretrained_head"]

HIDDEN = 128


class PretrainedHead(nn.Module):
    """A frozen encoder and a head that is trained; the encoder stays in eval mode."""

    def __init__(self, encoder: nn.Module, head: nn.Module, dim: int) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.head = head
        self.dim = dim

    def train(self, mode: bool = True) -> "PretrainedHead":
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, C].

        Raises:
            ShapeError: The encoder's features are not [N, dim].
        """
        with torch.no_grad():
            features = self.encoder(x)
        if features.dim() != 2 or features.shape[1] != self.dim:
            raise ShapeError(
                f"pretrained_head: the encoder must return [N, {self.dim}]; got {list(features.shape)}. "
                "Give its width as dim, and pool what it returns more of."
            )
        return self.head(features)


def pretrained_head(encoder: nn.Module, dim: int, num_classes: int) -> PretrainedHead:
    """An auxiliary network of a frozen encoder and the head Linear(dim, 128), ReLU, Linear(128, C).

    Where the encoder was trained without labels, only the head can memorise them (Harutyunyan et al., arXiv
    2002.07933, section 4: LIMIT with a pretrained auxiliary network). The encoder is copied, so that it stays as it is
    whatever becomes of the original.

    Args:
        encoder: Returns features [N, dim] of a batch of inputs.
        dim: Width of its features.
        num_classes: C.

    Raises:
        ConfigError: A size below 1.
    """
    for name, size in (("dim", dim), ("num_classes", num_classes)):
        if size < 1:
            raise ConfigError(f"pretrained_head: {name} must be at least 1; got {size}. Pass the encoder's own sizes.")
    head = nn.Sequential(nn.Linear(dim, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_classes))
    return PretrainedHead(copy.deepcopy(encoder), head, dim)
