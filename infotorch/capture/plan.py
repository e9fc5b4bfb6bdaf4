"""What a capture did beside the plain way."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CapturePlan"]


@dataclass(frozen=True, kw_only=True)
class CapturePlan:
    """What was allowed, expanded and fallen back; as text, a line each."""

    allowed: tuple[str, ...] = ()
    """What would not be there in a plain model and makes no difference: compilation, wrappers, checkpoints."""
    expanded: tuple[str, ...] = ()
    """Paths of layers whose input was given an axis of samples."""
    fallback: tuple[str, ...] = ()
    """Parameters whose gradients were taken by torch.func."""
    verified: bool = False
    """Sums and a sample alone were compared with autograd's."""

    def __str__(self) -> str:
        lines = [*self.allowed]
        lines += _line("expanded to one input a sample", self.expanded)
        lines += _line("by torch.func", self.fallback)
        lines += ["verified"] if self.verified else []
        return "\n".join(lines) or "every layer by its own rule"


def _line(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what}: {', '.join(names)}"] if names else []
