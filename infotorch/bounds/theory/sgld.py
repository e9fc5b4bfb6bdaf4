"""The account of a Langevin training: what its noise allows the gap to be."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from infotorch.errors import ConfigError, DataError, ShapeError, check_choice
from infotorch.table import Estimate

__all__ = ["Convention", "sgld", "sgld_account"]

Numbers = float | Sequence[float] | Sequence[Sequence[float]] | np.ndarray
Convention = Literal["derived", "reference"]

FACTOR = {"derived": 1 / 2, "reference": 1 / 4}
"""kappa: what the divergence is multiplied with under the root."""


def sgld(
    lr: Numbers,
    beta: Numbers,
    trace_var: Numbers,
    *,
    n: int,
    batch: int,
    convention: Convention = "derived",
    every: int = 1,
) -> float:
    r"""Bound on the expected generalization gap of stochastic gradient Langevin dynamics, from its own account.

    The training is :math:`w \leftarrow w - \eta_t g_t + N(0, (2 \eta_t / \beta_t) I)`, with :math:`g_t` the mean
    gradient of a batch of b samples that is drawn afresh from the n at every step, and with :math:`\eta_t` and
    :math:`\beta_t` set without a look at the data. With :math:`V_t` the variance of the samples' gradients at
    :math:`w_t` (:func:`gradient_variance`),

    .. math:: \sqrt{\kappa \, D}, \qquad
        D = \frac{n}{b (n - 1)^2} \sum_t \frac{\eta_t \beta_t}{4} E V_t \text{ nats},

    where D is the divergence of the trajectory from that of a prior that knows all samples but one (Negrea et al.,
    "Information-theoretic generalization bounds for SGLD via data-dependent estimates", arXiv 1911.02151). A loss in
    [0, 1] is 1/2-subgaussian, hence :math:`\kappa = 1/2`. The gap is that of any loss in [0, 1], whatever loss the
    training descends on. 1/4 is the constant of the code published with arXiv 2110.01584; we could not derive it.

    The expectation belongs inside the root: over training sets, batches and noise. With several runs their mean D is
    taken before the root, the safe side, since the mean of their roots is smaller. With one run it is D itself, of
    which the bound's D is the expectation. Neither is certified: both are averages over the runs that were made.

    With batches cut from a shuffled epoch, samples not yet seen in it are likelier to come next: D is then exact for
    gradients that don't depend on the epoch's past, and an approximation for others.

    Args:
        lr: :math:`\eta_t`, one number or [T].
        beta: Inverse temperatures :math:`\beta_t`, one number or [T].
        trace_var: :math:`V_t` at the weights before each step, [T], or [K, T] for K runs.
        n: Training samples.
        batch: Samples of a batch, b.
        convention: ``"derived"`` for kappa = 1/2, ``"reference"`` for 1/4.
        every: V was taken before steps 0, every, 2 every, ... and is held in between: then it has
            ceil(T / every) entries, and lr or beta has T.

    Returns:
        The bound, without a unit; above 1 it says nothing.

    Raises:
        ShapeError: Lengths disagree.
        DataError: A number is not finite, a step size or beta is not above 0, or a variance is negative.
        ConfigError: n < 2, a batch is not from 1 to n, or an option is unknown.

    Example:
        >>> round(sgld(0.01, 100.0, [1.0] * 10, n=50, batch=5), 6)
        0.072154
    """
    return sgld_account(lr, beta, trace_var, n=n, batch=batch, convention=convention, every=every).value


def sgld_account(
    lr: Numbers,
    beta: Numbers,
    trace_var: Numbers,
    *,
    n: int,
    batch: int,
    convention: Convention = "derived",
    every: int = 1,
) -> Estimate:
    r"""What :func:`sgld` returns, with the numbers that it is made of; arguments and errors as there.

    Returns:
        An estimate whose value is ``sqrt_of_mean``. Parts: ``divergence``, D in nats, the mean over the runs;
        ``kl_sum``, :math:`\sum_t \eta_t \beta_t V_t / 4` without the factor of n and b; ``sqrt_of_mean``; the smaller
        ``mean_of_sqrt``, as published curves have it; ``runs`` and ``steps``.
    """
    check_choice("sgld", "convention", convention, get_args(Convention))
    if n < 2:
        raise ConfigError(f"sgld: n must be at least 2; got {n}. The prior leaves one sample out.")
    if not 1 <= batch <= n:
        raise ConfigError(f"sgld: batch must be from 1 to n = {n}; got {batch}. Give the samples of one step.")
    if every < 1:
        raise ConfigError(f"sgld: every must be at least 1; got {every}. Give the steps from one variance to the next.")
    rate, variance = _rates(lr, beta), _checked("trace_var", trace_var, 2)
    variance = np.atleast_2d(variance)  # [K, T], or [K, ceil(T / every)]
    T = len(rate) if rate.ndim else variance.shape[1] * every
    if variance.shape[1] != -(-T // every) or variance.size == 0:
        raise ShapeError(
            f"sgld: trace_var must have {-(-T // every)} numbers a run for {T} steps, one every {every}; "
            f"got {variance.shape[1]}. Record it once every {every} steps, from step 0."
        )
    held = np.repeat(variance, every, axis=1)[:, :T]
    kl_sum = (rate * held / 4).sum(1)  # [K]
    divergence = n / (batch * (n - 1.0) ** 2) * kl_sum  # [K]
    kappa = FACTOR[convention]
    value = math.sqrt(kappa * divergence.mean())
    return Estimate(
        name="SGLD bound",
        value=value,
        source=f"arXiv 1911.02151, kappa = {kappa:g}",
        parts={
            "divergence": float(divergence.mean()),
            "kl_sum": float(kl_sum.mean()),
            "sqrt_of_mean": value,
            "mean_of_sqrt": float(np.sqrt(kappa * divergence).mean()),
            "runs": len(held),
            "steps": T,
        },
    )


def _rates(lr: Numbers, beta: Numbers) -> np.ndarray:
    """Products of both, one number or [T]."""
    eta, inverse = _checked("lr", lr, 1), _checked("beta", beta, 1)
    for name, values in (("lr", eta), ("beta", inverse)):
        if not (values > 0).all():
            raise DataError(f"sgld: {name} must be above 0 at every step; got {values.min()}. Leave idle steps out.")
    if eta.ndim == inverse.ndim == 1 and len(eta) != len(inverse):
        raise ShapeError(
            f"sgld: lr and beta must be single numbers or of one length; got {len(eta)} and {len(inverse)}. "
            "Give one of each a step."
        )
    return eta * inverse


def _checked(name: str, value: Numbers, axes: int) -> np.ndarray:
    """Float64 with at most so many axes, finite and not negative."""
    numbers = np.asarray(value, np.float64)
    if numbers.ndim > axes:
        wanted = "one number or [T]" if axes == 1 else "one number, [T] or [K, T]"
        raise ShapeError(f"sgld: {name} must be {wanted}; got {list(numbers.shape)}. Give one number a step.")
    wrong = ~(np.isfinite(numbers) & (numbers >= 0))
    if wrong.any():
        raise DataError(
            f"sgld: {name} must be finite and at least 0; got {numbers[wrong][0]}"
            f"{f' at step {np.argwhere(wrong)[0][-1]}' if numbers.ndim else ''}. Look at the run that recorded it."
        )
    return numbers
