"""Which parameters to train, of a budget."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from infotorch.blocks import Diagonal
from infotorch.edit.merge import matching
from infotorch.errors import ConfigError, NumericsError

__all__ = ["mask"]


@torch.no_grad()
def mask(
    scores: Mapping[str, Tensor] | Diagonal, *, keep: int | float, always: Sequence[str] = ()
) -> dict[str, Tensor]:
    """True for the ``keep`` entries with the highest scores, over all parameters together.

    With the diagonal of the Fisher matrix on some samples as the score it is the FISH mask: Sung, Nair and Raffel,
    "Training neural networks with fixed sparse masks" (arXiv:2111.09839). Of equal scores those that come first are
    taken, in the order of the dict and row-major within a parameter, so exactly ``keep`` entries are True.

    Args:
        scores: {name: [*shape]}, high is kept; or what ``fisher(task, data, structure="diagonal")`` returns.
        keep: How many: a number of entries, 0 and all included, or a share in [0, 1], rounded down.
        always: Names or globs of parameters that are kept whole, such as a new head; they count as kept.

    Returns:
        {name: bool [*shape]}.

    Raises:
        ConfigError: ``keep`` is out of range, or less than what is always kept.
        NumericsError: A score is NaN.

    Example:
        >>> mask({"w": torch.tensor([1.0, 3.0, 3.0, 2.0])}, keep=1)
        {'w': tensor([False,  True, False, False])}
    """
    parts = scores.values if isinstance(scores, Diagonal) else scores
    tensors = isinstance(parts, Mapping) and all(isinstance(part, Tensor) for part in parts.values())
    if not tensors or not parts:
        got = "an empty one" if tensors else type(scores).__name__
        raise ConfigError(f"mask: scores must be a dict of tensors; got {got}. Pass one score an entry of a parameter.")
    for name, part in parts.items():
        if bool(part.isnan().any()):
            raise NumericsError(f"mask: scores must be numbers; got NaN in {name!r}. Look at the gradients behind it.")
    P = sum(part.numel() for part in parts.values())
    whole = matching("mask", "always", always, parts)
    k = _count(keep, P)
    fixed = sum(parts[name].numel() for name in whole)
    if k < fixed:
        raise ConfigError(
            f"mask: keep must be at least the {fixed} entries that are always kept; got {k}. Raise keep, or shorten "
            "always."
        )
    device = next(iter(parts.values())).device
    rest = {name: part for name, part in parts.items() if name not in whole}
    flat = torch.cat([part.to(device).flatten() for part in rest.values()]) if rest else torch.zeros(0, device=device)
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=device)
    chosen[flat.argsort(descending=True, stable=True)[: k - fixed]] = True
    pieces = dict(zip(rest, chosen.split([part.numel() for part in rest.values()]), strict=True))
    return {
        name: torch.ones_like(part, dtype=torch.bool) if name in whole else pieces[name].view(part.shape)
        for name, part in parts.items()
    }


def _count(keep: int | float, P: int) -> int:
    whole = isinstance(keep, int) and not isinstance(keep, bool)
    if whole and 0 <= keep <= P:
        return int(keep)
    if isinstance(keep, float) and 0 <= keep <= 1:
        return math.floor(keep * P + 1e-9)  # 0.29 of 100 are 29
    raise ConfigError(
        f"mask: keep must be a number of entries, 0 to {P}, or a share in [0, 1]; got {keep!r}. Choose one."
    )
