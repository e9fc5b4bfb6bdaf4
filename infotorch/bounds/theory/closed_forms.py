r"""The right-hand sides of the bounds, as functions of given informations in nats.

``information`` is float64, [], [U] or [Z, U], and clean: what comes in is checked by ``formulas.formula``. A mean is
over U (samples, subsets of them, or pairs; one entry where the information is of all at once), then over Z
(supersamples or seeds) with ``weights`` [Z], or evenly.

The derivations rest on Donsker and Varadhan: where phi is rho-subgaussian of mean zero under the product law,
:math:`|E\,\phi| \le \sqrt{2 \rho^2 I}`.
"""

import math
from typing import Literal

import numpy as np

from infotorch.measures.kl_inverse import kl_gap

Weights = np.ndarray | None
Constant = Literal["sharp", "paper"]


def mean(values: np.ndarray, weights: Weights) -> float:
    """Mean over U, then the weighted mean over Z."""
    by_row = values.mean(-1) if values.ndim else values
    if weights is None:
        return float(by_row.mean())
    return float(by_row[weights > 0] @ weights[weights > 0])  # so that 0 times an infinite row is 0


def mean_root(information: np.ndarray, weights: Weights) -> float:
    """Mean of the square roots."""
    return mean(np.sqrt(information), weights)


def whole_weight(information: np.ndarray, weights: Weights, *, n: int, sigma: float) -> float:
    r""":math:`\sqrt{2 \sigma^2 I(W;S) / n}`."""
    return mean_root(2 * sigma**2 / n * information, weights)


def weight(information: np.ndarray, weights: Weights, *, m: int, sigma: float) -> float:
    r""":math:`E \sqrt{2 \sigma^2 I(W;S_u) / m}`."""
    return mean_root(2 * sigma**2 / m * information, weights)


def weight_of_one(information: np.ndarray, weights: Weights, *, sigma: float) -> float:
    r""":math:`\frac1n \sum_i \sqrt{2 \sigma^2 I(W;Z_i)}`."""
    return weight(information, weights, m=1, sigma=sigma)


def supersample(information: np.ndarray, weights: Weights, *, m: int) -> float:
    r""":math:`E \sqrt{2 I / m}`: phi is a mean of m terms in [-1, 1] with even signs, so rho^2 = 1/m (Hoeffding)."""
    return mean_root(2 / m * information, weights)


def supersample_of_one(information: np.ndarray, weights: Weights) -> float:
    r""":math:`E \frac1n \sum_i \sqrt{2 I_i}`."""
    return supersample(information, weights, m=1)


def supersample_inside(information: np.ndarray, weights: Weights) -> float:
    r""":math:`\frac1n \sum_i \sqrt{2 E_z I_i}`; of informations given Z, :math:`E_z I_i \ge I(\Delta_i;J_i)`.

    The bits are drawn apart from the supersample.
    """
    averaged = np.average(information, axis=0, weights=weights) if information.ndim == 2 else information
    return supersample_of_one(averaged, None)


def leave_one_out(information: np.ndarray, weights: Weights, *, n: int) -> float:
    r""":math:`\frac{n+1}{n} E \sqrt{I / 2}`.

    For fixed losses :math:`\phi(U) = \ell_U (n+1)/n - \sum \ell / n` has mean zero and range (n+1)/n, so rho is half
    of that.
    """
    return (n + 1) / n * mean_root(information / 2, weights)


def fast_rate(information: np.ndarray, weights: Weights, *, train_risk: float) -> float:
    r"""The largest R in [r, 1] with :math:`d(r \| (r+R)/2) \le \bar I`."""
    return min(1.0, train_risk + 2 * kl_gap(train_risk, mean(information, weights)))


def interpolating(information: np.ndarray, weights: Weights, *, zero_one: bool = False) -> float:
    r""":math:`2 (1 - e^{-\bar I})`, and for the 0/1 loss the smaller of that and :math:`\bar I / \ln 2`."""
    level = mean(information, weights)
    risk = -2 * math.expm1(-level)
    return min(risk, level / math.log(2)) if zero_one else risk


def squared_weight(information: np.ndarray, weights: Weights, *, n: int, sigma: float) -> float:
    r""":math:`\frac{4 \sigma^2}{n} (I + \ln 3)`.

    From :math:`E\,e^{\lambda \phi^2} \le (1 - c)^{-1/2}` with :math:`c = 2 \lambda \sigma^2 / n`; c = 1/2 would give
    ln(2)/2 in place of the paper's ln 3.
    """
    return 4 * sigma**2 / n * (mean(information, weights) + math.log(3))


def squared_supersample(information: np.ndarray, weights: Weights, *, n: int) -> float:
    r""":math:`\frac8n (I + 2)`."""
    return 8 / n * (mean(information, weights) + 2)


def squared_tight(information: np.ndarray, weights: Weights, *, n: int, c: float | None = None) -> float:
    r""":math:`\frac{2}{nc} (I + \frac12 \ln \frac{1}{1-c})`, at the best c where none is given.

    :math:`E\,e^{\lambda \phi^2} \le (1 - 2 \lambda / n)^{-1/2}` with :math:`c = 2 \lambda / n`; from the ghost samples
    to R(W) is Jensen. The derivative in c vanishes at t = 1/(1-c) with t - 1 - ln t = 2I, where the value is t/n.
    """
    nats = mean(information, weights)
    if c is not None:
        return 2 / (n * c) * (nats - math.log1p(-c) / 2)
    # s = t - 1 starts above the root, since s - ln(1+s) >= s^2 / (2(1+s)); Newton then descends, f being convex.
    s = 2 * nats + 2 * math.sqrt(nats**2 + nats)
    while 0 < s < math.inf and (lower := s - (s - math.log1p(s) - 2 * nats) * (1 + s) / s) < s:
        s = lower
    return (1 + max(s, 0.0)) / n


def squared_pairs(information: np.ndarray, weights: Weights, *, n: int, constant: Constant = "sharp") -> float:
    r""":math:`\frac1n + \frac{1}{n^2} \sum_{i \ne k} \sqrt{I(W;Z_i,Z_k) / 2}`; "paper" has 2I under the root.

    The diagonal of :math:`E (\frac1n \sum_i (R - \ell_i))^2` is at most 1/n; off it, :math:`(R-\ell_i)(R-\ell_k)` has
    mean zero under the product law and range :math:`\max(R, 1-R) \le 1`, so rho = 1/2. A sum over i ≠ k is n(n-1)
    times the mean over unordered pairs.
    """
    scale = 0.5 if constant == "sharp" else 2.0
    return 1 / n + (n - 1) / n * mean_root(scale * information, weights)


def finite(*, size: int) -> float:
    """The entropy of a variable with this many values is at most ln size."""
    return math.log(size)


def vc(*, d: int, n: int) -> float:
    r""":math:`\max\{(d+1) \ln 2,\; d \ln(2en/d)\}`: the labellings of 2n points, counted by Sauer's lemma."""
    return max((d + 1) * math.log(2), d * math.log(2 * math.e * n / d))


def stable(*, d: int, gamma: float, beta: float, constant: Constant = "sharp") -> float:
    r""":math:`2^{5/4} d^{1/4} \sqrt{\gamma \beta}`; "paper" has :math:`2^{3/2}`.

    Noise N(0, s^2) on the predictions costs at most :math:`2 \gamma s \sqrt d` and leaves :math:`I(F_i;J_i) \le
    E D^2 / (8 s^2)`, :math:`E D^2 = 2 \beta^2` (Jensen-Shannon divergence of two Gaussians at distance D; the paper's
    constant follows from the coarser 4 s^2). The value is at the best s.
    """
    return 2 ** (1.25 if constant == "sharp" else 1.5) * d**0.25 * math.sqrt(gamma * beta)


def squared_stable(*, d: int, gamma: float, beta: float, beta1: float, beta2: float, n: int) -> float:
    r""":math:`32/n + 12^{3/2} \sqrt d\, \gamma \sqrt{2 \beta^2 + n \beta_1^2 + n \beta_2^2}`.

    With B the sum under the root: noise N(0, s^2) leaves at most :math:`n B / (4 s^2)` nats (chain rule over the bits),
    so :math:`2 \cdot \frac8n (I + 2)` is :math:`32/n + 4 B / s^2`, and the noise costs :math:`8 \gamma^2 s^2 d`. At
    the best s that is :math:`32/n + 8 \sqrt2\, \sqrt d\, \gamma \sqrt B`; :math:`8 \sqrt2 < 12^{3/2}`.
    """
    moved = 2 * beta**2 + n * (beta1**2 + beta2**2)
    return 32 / n + 12**1.5 * math.sqrt(d) * gamma * math.sqrt(moved)


def bagged(*, d: int, gamma: float, beta: float, k: int, n: int, constant: Constant = "sharp") -> float:
    r"""``stable`` at :math:`\beta k / n`: a sample is in a fraction k/n of the members, and only those move."""
    return stable(d=d, gamma=gamma, beta=beta * k / n, constant=constant)
