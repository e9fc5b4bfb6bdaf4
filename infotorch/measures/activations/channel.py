"""The Gaussian channel from a jitter of the input to a layer's noisy output, of every sample, in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.errors import NumericsError

__all__ = [
    "Whitening",
    "covariance_root",
    "local_information",
    "logdet",
    "noiseless",
    "spectrum",
    "whitening",
    "whole_spectrum",
]

WHERE = "activations_information"


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """What turns a layer's noise into white noise, where it has some."""

    W: Tensor
    """[N, D, D] with W Sigma_z W^T = I on ``rank`` rows, and zeros on the others."""
    rank: Tensor
    """Directions of z with noise, int64 [N]."""
    dropped: Tensor
    """Units without noise, int64 [N]."""
    silent: Tensor
    """[N, D, D], rows are the directions without noise, of units in their standard deviations; other rows are zero."""


def whitening(covariance: Tensor) -> Whitening:
    """A root of the inverse of Sigma_z [N, D, D] on its range.

    The rank is that of the correlations, so that units on different scales are told apart from dependent ones.

    Raises:
        NumericsError: A covariance has a negative eigenvalue, beyond rounding.
    """
    D = covariance.shape[-1]
    deviations = covariance.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()  # [N, D]
    dead = deviations == 0
    scale = torch.where(dead, 1.0, 1 / deviations)
    correlation = scale[:, :, None] * covariance * scale[:, None]
    values, vectors = torch.linalg.eigh((correlation + correlation.mT) / 2)
    reach = D * torch.finfo(torch.float64).eps * values.abs().amax(1, keepdim=True)  # [N, 1]
    negative = (values < -1e3 * reach).any(1)
    if negative.any():
        n = int(negative.nonzero()[0])
        raise NumericsError(
            f"{WHERE}: the posterior's covariance must be positive semi-definite; got a direction of the layer with "
            f"variance {float(values[n, 0]):.3g} of its units' at sample {n}. Look at the posterior."
        )
    kept = values > reach
    roots = torch.where(kept, values.clamp(min=torch.finfo(torch.float64).tiny).rsqrt(), 0.0)
    axes = vectors.mT * scale[:, None]  # [N, D, D], one direction a row
    return Whitening(
        W=roots[:, :, None] * axes, rank=kept.sum(1), dropped=dead.sum(1), silent=(~kept)[:, :, None] * axes
    )


def noiseless(found: Whitening, gram: Tensor, eps: float) -> Tensor:
    """Directions of z without noise along which it follows the input, int64 [N].

    Args:
        found: The whitening of Sigma_z.
        gram: J_x J_x^T, [N, D, D].
        eps: Rounding of J_x.
    """
    D = gram.shape[1]
    count = torch.zeros(len(gram), dtype=torch.int64, device=gram.device)
    some = (found.rank < D).nonzero()[:, 0]
    if len(some):
        S = found.silent[some]
        values = torch.linalg.eigvalsh(S @ gram[some] @ S.mT)
        size = S.square().sum((1, 2)) * gram[some].diagonal(dim1=1, dim2=2).sum(1)
        reach = max(D * torch.finfo(torch.float64).eps, (D * eps) ** 2)
        count[some] = (values > reach * size[:, None]).sum(1)
    return count


def spectrum(found: Whitening, gram: Tensor) -> Tensor:
    """Eigenvalues of the mean part of F, or the same with other zeros, increasing, [N, D]; ``gram`` as above."""
    return torch.linalg.eigvalsh(found.W @ gram @ found.W.mT).clamp(min=0)  # rounding may dip below zero


def covariance_root(found: Whitening, slopes: Tensor) -> Tensor:
    """R [N, D², I] with R^T R the covariance's part of F, of the derivatives of Sigma_z in x, [N, D, D, I]."""
    whitened = torch.einsum("nij,njkx,nlk->nilx", found.W, slopes, found.W)
    return whitened.flatten(1, 2) * 0.5**0.5


def whole_spectrum(found: Whitening, J: Tensor, root: Tensor) -> Tensor:
    """Eigenvalues of F with both parts, increasing, [N, I]."""
    R = torch.cat([found.W @ J, root], 1)
    return torch.linalg.eigvalsh(R.mT @ R).clamp(min=0)


def local_information(values: Tensor, tau: float) -> Tensor:
    """1/2 log|I + tau^2 F| in nats, [N], of F's eigenvalues [N, m]."""
    return 0.5 * torch.log1p(tau**2 * values).sum(1)


def logdet(values: Tensor, I: int) -> Tensor:
    """log|F| [N] of the largest eigenvalues [N, m] of F [I, I]; minus infinity where F is singular."""
    values = values[:, -I:]
    if values.shape[1] < I:
        return values.new_full((len(values),), -torch.inf)
    reach = I * torch.finfo(torch.float64).eps * values.amax(1, keepdim=True)
    return torch.where(values > reach, values, 0.0).log().sum(1)
