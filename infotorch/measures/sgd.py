"""Unique information under the steady state of stochastic gradient descent."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from infotorch.errors import ConfigError, NumericsError, check_choice
from infotorch.measures.by_eigen import ByEigen
from infotorch.measures.kernel_input import Array, kernel_input
from infotorch.measures.spectrum import spectrum
from infotorch.measures.training import Training

WHERE = "sgd_unique_information"
Scale = Literal["mean", "paper", "discrete"]
SCALES = ("mean", "paper", "discrete")
# Beyond this condition number of the covariance its inverse holds fewer than four digits.
LARGEST_CONDITION = 1e12
# Residuals this small beside those before training mean that the optimum interpolates.
INTERPOLATES = 1e-10


@dataclass(frozen=True, kw_only=True)
class SgdInformation:
    """Scores under the SGD covariance."""

    weights: Tensor
    """Information in the weights in nats, [N], float64."""
    condition: float
    """Largest over smallest eigenvalue of the covariance (jitter added) on the span of the Jacobian's rows."""


@torch.no_grad()
def sgd_unique_information(
    K: Array, residual: Array, *, ridge: float, lr: float, batch_size: int, scale: Scale = "mean", jitter: float = 0.0
) -> SgdInformation:
    r"""Unique information :math:`\frac12\delta^\top\Sigma^{-1}\delta` with the steady state of SGD as the noise.

    :math:`\delta` is the change of the converged weights when the sample leaves (the ridge stays). :math:`\Sigma` is
    taken once, for the full data: it solves :math:`H\Sigma + \Sigma H = \frac{\text{lr}}{b}\Lambda` with
    :math:`H = J^\top J + \text{ridge}\,I` and :math:`\Lambda` the covariance of the samples' gradients at the optimum
    (Harutyunyan et al., arXiv 2101.06640, Prop. 5.1 and eqs. 12-15). All is done on the span of J's rows, in H's
    eigenbasis, where :math:`\Sigma_{ab} = \frac{\text{lr}}{b}\Lambda_{ab} / (h_a + h_b)`.

    The paper's equation pairs H of the summed loss with the noise of the mean gradient. The default departs from it:
    simulated SGD has the covariance of H / N, so ``"mean"``, which is N times the paper's.

    Args:
        K: Kernel of the Jacobian at the initial weights, [N C, N C], rows by sample, then by output.
        residual: y - f0, [N, C].
        ridge: Weight of half the squared distance from the initial weights, on the summed loss.
        lr: Learning rate of SGD on the mean loss.
        batch_size: Samples a step.
        scale: ``"mean"``: H / N, the limit of small lr. ``"discrete"``: exact for this lr where Lambda is constant,
            :math:`\Sigma_{ab} = \frac{\text{lr}^2}{b}\Lambda_{ab} / (h_a + h_b - h_a h_b)`, h = lr s / N.
            ``"paper"``: H as printed.
        jitter: Added to Sigma's diagonal, absolute; never silently.

    Returns:
        Scores [N] in nats, and the condition number of Sigma.

    Raises:
        ConfigError: An option is out of range.
        NumericsError: The optimum interpolates (Lambda = 0), Sigma is singular, or ``"discrete"`` diverges.
    """
    _check_options(ridge, lr, batch_size, scale, jitter)
    data = kernel_input(WHERE, K, residual)
    N, C = data.residual.shape
    r = data.residual.reshape(-1, 1)
    eigen = spectrum(WHERE, data.kernel, input_eps=data.input_eps, limit_ridge=ridge, overwrite=data.owned)
    solver = ByEigen(eigen, r, nodes=40)
    values, vectors = eigen.values, eigen.vectors
    left = vectors.mT @ (ridge / (values + ridge) * solver.rotated[:, 0])  # residual after training, [N C]
    if left.norm() <= INTERPOLATES * r.norm():
        raise NumericsError(
            f"{WHERE}: the gradients' covariance must not vanish; got residuals of norm "
            f"{float(left.norm()):.1e} at the optimum, {float(r.norm()):.1e} before training: the optimum "
            "interpolates, so SGD has no noise there. Give ridge > 0."
        )
    span = values > 0
    root = values[span].sqrt()
    gradients = -root[:, None] * (vectors[span] * left).view(-1, N, C).sum(2)  # [k, N]
    centered = gradients - gradients.mean(1, keepdim=True)
    noise = centered @ centered.mT / N
    sigma = steady_state_covariance(noise, values[span] + ridge, lr=lr, batch_size=batch_size, scale=scale, N=N)
    sigma.diagonal().add_(jitter)
    spread, axes = torch.linalg.eigh(sigma)
    condition = float(spread[-1] / spread[0]) if spread[0] > 0 else float("inf")
    if not condition <= LARGEST_CONDITION:
        raise NumericsError(
            f"{WHERE}: Sigma must be positive definite; got smallest/largest eigenvalue "
            f"{float(spread[0]):.1e} / {float(spread[-1]):.1e}. Give jitter > 0 or scale={_other(scale)!r}."
        )
    rows = torch.arange(N * C, device=r.device).view(N, C)
    training = [Training(ridge=ridge, duration=float("inf"))]
    weights = []
    for tile in rows.split(max(1, (1 << 26) // (8 * N * C * (C + 2)))):
        for _, change in solver.changes(tile, training, training):
            delta = axes.mT @ (root[:, None] * change.delta[span, :, 0])  # [k, n]
            weights.append((delta.square() / spread[:, None]).sum(0) / 2)
    return SgdInformation(weights=torch.cat(weights), condition=condition)


def steady_state_covariance(
    noise: Tensor, curvature: Tensor, *, lr: float, batch_size: int, scale: Scale, N: int
) -> Tensor:
    """Sigma [k, k] in the curvature's eigenbasis, from Lambda [k, k] there and the eigenvalues of J'J + ridge [k]."""
    if scale == "discrete":
        h = lr * curvature / N
        if not h.max() < 2:
            raise NumericsError(
                f"{WHERE}: lr * (largest eigenvalue of K + ridge) / N must be < 2; got {float(h.max()):.3g}. "
                f"Give lr < {2 * lr / float(h.max()):.3g}."
            )
        return lr**2 / batch_size * noise / (h[:, None] + h - h[:, None] * h)
    h = curvature / N if scale == "mean" else curvature
    return lr / batch_size * noise / (h[:, None] + h)


def _other(scale: str) -> str:
    return "discrete" if scale != "discrete" else "mean"


def _check_options(ridge: float, lr: float, batch_size: int, scale: str, jitter: float) -> None:
    check_choice(WHERE, "scale", scale, SCALES)
    for name, value, least in (("ridge", ridge, "at least 0"), ("jitter", jitter, "at least 0"), ("lr", lr, "above 0")):
        if not 0 <= value < float("inf") or (least == "above 0" and value == 0):
            raise ConfigError(f"{WHERE}: {name} must be finite and {least}; got {value}. Correct {name}.")
    if batch_size < 1 or batch_size != int(batch_size):
        raise ConfigError(f"{WHERE}: batch_size must be a whole number above 0; got {batch_size}. Correct batch_size.")
