"""What training sees of a data set, in its features: sums over samples, of a size that does not grow with them."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from infotorch import ops
from infotorch.linalg.eigen import Eigen
from infotorch.measures.schedule import WHERE
from infotorch.measures.spectrum import EPS, spectrum
from infotorch.measures.training import Training

TILE_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Sums over samples of products of their features, float64; those of two parts of a data set add."""

    second: Tensor
    """Phi^T Phi, [k, k]."""
    cross: Tensor
    """Phi^T r, [k, V]."""
    num_samples: int
    """N."""
    log_odds: "Moments | None" = None
    """Of the gradients of the labels' log-odds, where TRAK's self-scores are asked for."""

    @cached_property
    def eigen(self) -> Eigen:
        """Of the second moment. Its own rounding is float64's, so that only that may make an eigenvalue negative."""
        return spectrum(WHERE, self.second, input_eps=EPS)

    def effective_dimension(self, training: Training) -> float:
        """Directions that training uses: the trace of K (K + ridge I)^-1, or of its like at a finite time."""
        values = self.eigen.values
        return float((values * training.gain(values)).where(values > 0, 0).sum())

    def to(self, device: torch.device) -> "Moments":
        log_odds = None if self.log_odds is None else self.log_odds.to(device)
        return replace(self, second=self.second.to(device), cross=self.cross.to(device), log_odds=log_odds)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            second=self.second + other.second,
            cross=self.cross + other.cross,
            num_samples=self.num_samples + other.num_samples,
            log_odds=None if self.log_odds is None or other.log_odds is None else self.log_odds + other.log_odds,
        )


def moments_of(features: Tensor, residual: Tensor, num_samples: int) -> Moments:
    """Of rows of features [m, k] in any float dtype, and residual [m, V], of so many samples."""
    k = features.shape[1]
    cross = residual.new_zeros(k, residual.shape[1])
    for rows, r in zip(*(x.split(_tile(k)) for x in (features, residual)), strict=True):
        cross.addmm_(rows.to(torch.float64).mT, r)
    return Moments(second=second_moment(features), cross=cross, num_samples=num_samples)


def second_moment(features: Tensor) -> Tensor:
    """Phi^T Phi [k, k] in float64 of features [m, k], symmetric to the bit."""
    k = features.shape[1]
    second = torch.zeros(k, k, dtype=torch.float64, device=features.device)
    for rows in features.split(_tile(k)):
        tile = rows.to(torch.float64)[:, None]
        second += ops.kron(tile, tile.new_zeros(len(tile), 1, 1))[0]  # computes one triangle, half of a product
    return second


def _tile(k: int) -> int:
    return max(1, TILE_BYTES // (8 * max(1, k)))
