"""A penalty that holds weights where a former task needs them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.blocks import Diagonal
from infotorch.errors import ConfigError, NumericsError, ShapeError, check_number

__all__ = ["ewc"]

Vectors = Tensor | Mapping[str, Tensor]


def ewc(weights: Vectors | nn.Module, anchor: Vectors, fisher: Vectors | Diagonal, strength: float) -> Tensor:
    r"""Elastic weight consolidation, :math:`\frac12 \lambda \sum_i F_i (w_i - w^*_i)^2`, to add to a summed loss.

    Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks" (arXiv:1612.00796), equation 3. F is
    summed over the former task's samples, as :func:`infotorch.fisher` gives it: with a mean over N samples the same
    penalty has N times the strength. The gradient is :math:`\lambda F (w - w^*)`.

    Args:
        weights: One tensor, {name: [\*shape]}, or a module for its parameters; entries that ``fisher`` lacks are free.
        anchor: The former task's weights, in the same form.
        fisher: The diagonal, in the same form, or what ``fisher(task, data, structure="diagonal")`` returns.
        strength: :math:`\lambda`, at least 0.

    Returns:
        A number, summed in float64 and differentiable in ``weights``, of their dtype, in units of the loss.

    Raises:
        ConfigError: ``strength`` is out of range, or the forms differ.
        NumericsError: A Fisher is negative or not finite.
        ShapeError: Sizes disagree.

    Example:
        >>> ewc(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]), torch.tensor([3.0, 5.0]), 2.0)
        tensor(3.)
    """
    strength = check_number("ewc", "strength", strength, "Pass lambda of the penalty.")
    if not 0 <= strength < math.inf:
        raise ConfigError(f"ewc: strength must be finite and at least 0; got {strength}. Pass lambda of the penalty.")
    if isinstance(weights, nn.Module):
        weights = dict(weights.named_parameters())
    if isinstance(fisher, Diagonal):
        fisher = fisher.diag() if isinstance(weights, Tensor) else fisher.values
    given = {"weights": weights, "anchor": anchor, "fisher": fisher}
    forms: dict[str, Any] = {what: {"": v} if isinstance(v, Tensor) else v for what, v in given.items()}
    if len({isinstance(v, Tensor) for v in given.values()}) > 1 or not all(
        isinstance(v, Mapping) for v in forms.values()
    ):
        got = ", ".join(type(v).__name__ for v in given.values())
        raise ConfigError(
            f"ewc: weights, anchor and fisher must all be tensors or all be dicts; got {got}. Convert them."
        )
    if not forms["fisher"]:
        raise ConfigError("ewc: fisher must hold a parameter; got none. Pass that of the former task.")
    parts = []
    for name, F in forms["fisher"].items():
        shapes = [list(forms[what][name].shape) if name in forms[what] else "nothing" for what in forms]
        if shapes[0] != shapes[1] or shapes[1] != shapes[2]:
            of = f" for {name!r}" if name else ""
            raise ShapeError(
                f"ewc: weights, anchor and fisher must agree in shape; got {shapes[0]}, {shapes[1]} and {shapes[2]}"
                f"{of}. Take them of one network."
            )
        if not bool(((F >= 0) & F.isfinite()).all()):
            raise NumericsError(
                f"ewc: a Fisher must be finite and at least 0; got {float(F.min())} at least"
                f"{f' in {name!r}' if name else ''}. Look at the data that it is of."
            )
        w = forms["weights"][name]
        moved = w.double() - forms["anchor"][name].detach().to(w.device, torch.float64)
        parts.append((F.detach().to(w.device, torch.float64) * moved.square()).sum())
    total = 0.5 * strength * torch.stack(parts).sum()
    return total.to(next(iter(forms["weights"].values())).dtype)
