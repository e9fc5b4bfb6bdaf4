"""Scores over several initializations or checkpoints."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.errors import ShapeError
from infotorch.measures.information import UniqueInformationResult


@dataclass(frozen=True, kw_only=True)
class EnsembleInformation:
    """Means over E networks and their standard errors, [times, N or G] each, nats, float64."""

    weights: Tensor
    """Mean information in the weights."""
    weights_stderr: Tensor
    """Its standard error."""
    functions: Tensor | None
    """Mean information in the outputs; None where a network has none."""
    functions_stderr: Tensor | None
    """Its standard error."""
    reliable: Tensor
    """Whether every network's score is, bool [N or G]."""


def ensemble(results: Sequence[UniqueInformationResult]) -> EnsembleInformation:
    r"""Mean and standard error of scores over networks.

    By convexity of the KL divergence the mean bounds the information of the mixture of networks from above. Kernels and
    weights are never averaged: that would be another quantity.

    Args:
        results: One for each of E >= 2 networks, on the same samples and times.

    Raises:
        ShapeError: There are fewer than two, or their shapes differ.
    """
    shapes = sorted({tuple(result.weights.shape) for result in results})
    if len(results) < 2 or len(shapes) > 1:
        raise ShapeError(
            f"ensemble: needs two or more results of one shape; got {len(results)} of shapes {shapes}. "
            "Score the same samples at the same times with each network."
        )
    weights, weights_stderr = _mean([result.weights for result in results])
    functions = [result.functions for result in results if result.functions is not None]
    mean, stderr = _mean(functions) if len(functions) == len(results) else (None, None)
    return EnsembleInformation(
        weights=weights,
        weights_stderr=weights_stderr,
        functions=mean,
        functions_stderr=stderr,
        reliable=torch.stack([result.reliable for result in results]).all(0),
    )


def _mean(each: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    values = torch.stack(list(each))
    return values.mean(0), values.std(0) / math.sqrt(len(each))
