"""Sample information between Laplace posteriors, in closed form for the linearized network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.errors import ConfigError, NumericsError
from infotorch.measures.kernel_input import Array, kernel_input
from infotorch.measures.spectrum import spectrum

WHERE = "laplace_sample_information"
LARGEST_LEVERAGE = 1 - 1e-10


@dataclass(frozen=True, kw_only=True)
class LaplaceInformation:
    """KL divergences in nats between posteriors with and without each sample, float64."""

    weights: Tensor
    """KL(full || without), [N]."""
    reverse: Tensor
    """KL(without || full), [N]."""


@torch.no_grad()
def laplace_sample_information(
    K: Array, residual: Array, *, ridge: float, noise_variance: float = 1.0
) -> LaplaceInformation:
    r"""KL divergence between the Gaussian posteriors with and without each sample.

    The posterior of the linearized network has precision :math:`(J^\top J + \text{ridge}\,I) / s^2`. With the leverage
    :math:`H_i = J_i (J^\top J + \text{ridge}\,I)^{-1} J_i^\top`, the residual after training :math:`e_i` and
    :math:`u_i = (I - H_i)^{-1} e_i`,

    .. math::
        KL(\text{full} \| \text{without}) &= \tfrac12 [-\operatorname{tr} H_i - \ln\det(I - H_i)
            + u_i^\top H_i e_i / s^2] \\
        KL(\text{without} \| \text{full}) &= \tfrac12 [\operatorname{tr}(I - H_i)^{-1} - C + \ln\det(I - H_i)
            + u_i^\top H_i u_i / s^2].

    The measure is that of arXiv 2505.15303; the closed form for this model is ours.

    Args:
        K: Kernel of the Jacobian, [N C, N C], rows by sample, then by output.
        residual: y - f0, [N, C].
        ridge: Weight of half the squared distance from the initial weights, on the summed loss.
        noise_variance: s², variance of the targets around the outputs.

    Returns:
        Both directions, [N] each.

    Raises:
        ConfigError: An option is out of range.
        NumericsError: A sample's leverage reaches 1: it alone determines a direction.
    """
    check_options(ridge, noise_variance)
    data = kernel_input(WHERE, K, residual)
    N, C = data.residual.shape
    eigen = spectrum(WHERE, data.kernel, input_eps=data.input_eps, overwrite=data.owned)
    values = eigen.values
    learnt = torch.where(values > 0, values / (values + ridge), 0.0)  # leverage along each eigenvector
    open_ = torch.where(values > 0, ridge / (values + ridge), 1.0)  # one minus it, without the subtraction
    by_sample = eigen.vectors.view(-1, N, C).permute(1, 2, 0)  # [N, C, m]
    H, rest = _blocks(by_sample, learnt), _blocks(by_sample, open_)  # [N, C, C]
    e = (eigen.vectors.mT @ (open_ * (eigen.vectors @ data.residual.reshape(-1)))).view(N, C, 1)
    return divergences(H, rest, e, noise_variance)


def check_options(ridge: float, noise_variance: float) -> None:
    """Raise ConfigError for the first option out of range."""
    for name, value in (("ridge", ridge), ("noise_variance", noise_variance)):
        if not 0 <= value < float("inf") or (name == "noise_variance" and value == 0):
            least = "at least 0" if name == "ridge" else "above 0"
            raise ConfigError(f"{WHERE}: {name} must be finite and {least}; got {value}. Correct {name}.")


def divergences(H: Tensor, rest: Tensor, e: Tensor, noise_variance: float) -> LaplaceInformation:
    """Both directions from leverages H [N, b, b], ``rest`` = 1 - H, and residuals after training e [N, b, V].

    V right-hand sides share the leverages.

    Raises:
        NumericsError: A leverage reaches 1.
    """
    h, g = torch.linalg.eigvalsh(H), torch.linalg.eigvalsh(rest).flip(1)  # [N, b], g = 1 - h
    if not (g > 1 - LARGEST_LEVERAGE).all():
        first = int((~(g > 1 - LARGEST_LEVERAGE)).any(1).nonzero()[0])
        raise NumericsError(
            f"{WHERE}: leverage of sample {first} must be < 1 - 1e-10; got {float(1 - g[first].min()):.10g}. "
            "Removing it leaves a direction undetermined; give ridge > 0."
        )
    u, V = torch.linalg.solve(rest, e), e.shape[2]
    full = (u * (H @ e)).sum((1, 2)) / noise_variance
    without = (u * (H @ u)).sum((1, 2)) / noise_variance
    return LaplaceInformation(
        weights=(V * _tail(h, g, (1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6)) + full) / 2,
        reverse=(V * _tail(h, g, (1 / 2, 2 / 3, 3 / 4, 4 / 5, 5 / 6), reverse=True) + without) / 2,
    )


def _blocks(by_sample: Tensor, weights: Tensor) -> Tensor:
    """Diagonal blocks of a function of K, [N, C, C], from eigenvectors [N, C, m]; a few samples at a time."""
    tiles = by_sample.split(max(1, (1 << 25) // by_sample[0].numel()))
    return torch.cat([(tile * weights) @ tile.mT for tile in tiles])


def _tail(h: Tensor, g: Tensor, series: tuple[float, ...], reverse: bool = False) -> Tensor:
    """-h - ln(g), or h / g + ln(g) in reverse, summed over [N, C]; by their series in h where they would cancel."""
    closed = h / g + g.log() if reverse else -h - g.log()
    power = sum(factor * h ** (k + 2) for k, factor in enumerate(series))
    return torch.where(h < 1e-3, power, closed).sum(1)
