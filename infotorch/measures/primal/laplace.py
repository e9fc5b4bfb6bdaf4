"""Sample information between Laplace posteriors, from features and a residual."""

import torch
from torch import Tensor

from infotorch.errors import NumericsError
from infotorch.linalg.eigen import Eigen
from infotorch.measures.information import RTOL
from infotorch.measures.kernel_input import Array
from infotorch.measures.laplace import WHERE, LaplaceInformation, check_options, divergences
from infotorch.measures.primal.feature_input import feature_input
from infotorch.measures.primal.moments import moments_of
from infotorch.measures.spectrum import EPS, spectrum

BLOCK_BYTES = 1 << 27
"""Of a tile of samples in the eigenbasis."""


@torch.no_grad()
def laplace_sample_information_from_features(
    features: Array, residual: Array, *, ridge: float, noise_variance: float = 1.0
) -> LaplaceInformation:
    r"""What :func:`laplace_sample_information` computes, from features with :math:`K = \Phi \Phi^\top`.

    Nothing is approximated for these features; where they are sketches, the posteriors are those of the sketched
    network. Memory is that of the features and a few matrices [k, k]. The posterior without a sample needs one minus
    its leverage, which is a difference here: near 1, where it keeps fewer than six digits, it is refused, and the
    kernel's own form still has them.

    Args:
        features: [N, C, k], float32 or float64, or [N, k] where all outputs share them; taken as exact.
        residual: y - f0, [N, C].
        ridge: Weight of half the squared distance from the initial weights, on the summed loss.
        noise_variance: Variance of the targets around the outputs.

    Returns:
        Both directions in nats, [N] each, float64.

    Raises:
        ShapeError: Sizes disagree.
        DataError: A value is not finite, or a dtype is not a float.
        ConfigError: An option is out of range.
        NumericsError: A sample's leverage reaches 1, or is known to fewer than six digits.

    The measure is that of arXiv 2505.15303; the closed form for this model is ours.

    Example:
        >>> features = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]]], dtype=torch.float64)
        >>> residual = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        >>> laplace_sample_information_from_features(features, residual, ridge=1.0).weights
        tensor([0.2781, 0.0687], dtype=torch.float64)
    """
    check_options(ridge, noise_variance)
    data = feature_input(WHERE, features, residual)
    N, b = len(data.residual), data.rows_per_sample
    rest = data.residual.reshape(N, b, -1)  # [N, b, V]: V outputs share the features
    moments = moments_of(data.features, rest.flatten(0, 1), N)
    eigen = spectrum(WHERE, moments.second, input_eps=EPS)
    D = torch.where(eigen.values > 0, 1 / (eigen.values + ridge), 0.0)  # no sample has a share in the others
    solution = D[:, None] * (eigen.vectors @ moments.cross)  # [k, V]
    step = max(1, BLOCK_BYTES // (8 * b * len(D)))
    tiles = data.features.view(N, b, -1).split(step)
    found = [_leverages(tile, eigen, D, solution) for tile in tiles]
    H, fitted, growth = (torch.cat(parts) for parts in zip(*found, strict=True))
    open_ = torch.eye(b, dtype=H.dtype, device=H.device) - H
    result = divergences(H, open_, rest - fitted, noise_variance)
    error = 2 * EPS * (growth + 1) / torch.linalg.eigvalsh(open_)[:, 0]
    if not (error <= RTOL).all():
        first = int((~(error <= RTOL)).nonzero()[0])
        raise NumericsError(
            f"{WHERE}: one minus each leverage must be known to a relative error of {RTOL:.0e}; got an estimate of "
            f"{float(error[first]):.1e} for sample {first}. Raise ridge, or give the kernel of the features to "
            "laplace_sample_information."
        )
    return result


def _leverages(tile: Tensor, eigen: Eigen, D: Tensor, solution: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """H [n, b, b], outputs after training [n, b, V], and by how much a rounding of the moments grows in H, [n]."""
    psi = tile.to(torch.float64) @ eigen.vectors.mT  # [n, b, k]
    H = (psi * D) @ psi.mT
    return (H + H.mT) / 2, psi @ solution, eigen.values[-1] * (psi * D).square().sum((1, 2))
