"""Bounds on the risk of a random predictor from what its weights know of the data."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from infotorch.errors import ConfigError, check_choice, check_number, plain_number
from infotorch.measures.kl_inverse import kl_gap
from infotorch.table import Estimate

__all__ = ["PacBayesBound", "pac_bayes"]

WHERE = "pac_bayes"
Form = Literal["catoni", "mcallester", "seeger"]
SOURCES = {
    "catoni": "Catoni, PAC-Bayesian supervised classification (2007)",
    "mcallester": "McAllester, arXiv 1307.2118; Achille, Paolini and Soatto, arXiv 1905.12213, theorem 2.2",
    "seeger": "Seeger (2002); Maurer, arXiv cs/0411099",
}
LIMITS = {"catoni": 0.0, "mcallester": 0.5}
"""Above which the parameter must lie."""


@dataclass(frozen=True, kw_only=True)
class PacBayesBound(Estimate):
    """A bound on the risk, as it came out: it may be above 1."""

    @property
    def vacuous(self) -> bool:
        """It says nothing: no loss in [0, 1] has a risk above 1."""
        return self.value >= 1


def pac_bayes(
    risk: float,
    kl: float,
    n: int,
    delta: float,
    *,
    form: Form = "catoni",
    parameter: float | None = None,
) -> PacBayesBound:
    r"""Upper bound on the risk R(Q) of a predictor whose weights are drawn from Q, with probability 1 - delta.

    With r the risk of Q on n independent samples, the probability is over these samples:

    .. math::
        \text{catoni: } & R \le \frac{1 - \exp(-C r - (KL + \log 1/\delta) / n)}{1 - e^{-C}} \\
        \text{mcallester: } & R \le \frac{r + \lambda (KL + \log 1/\delta) / n}{1 - 1 / (2 \lambda)} \\
        \text{seeger: } & d(r \| R) \le (KL + \log(2 \sqrt n / \delta)) / n

    Catoni's at C = 1/lambda is never above McAllester's. What makes it a bound: the prior P is chosen before the
    samples are seen; so is the parameter, or else delta is shared by those that were tried; the loss lies in [0, 1], as
    the 0/1 error or a clipped cross-entropy divided by its ceiling does and cross-entropy does not; and r is the risk
    of Q itself. From r estimated with draws of Q it is one with their own error added to r; with that of the mean
    weights it is no bound.

    Args:
        risk: r, the mean loss of Q on the samples, in [0, 1].
        kl: KL(Q‖P), nats, at least 0.
        n: Samples.
        delta: The probability that the bound fails, between 0 and 1.
        form: Which of them.
        parameter: C > 0 of catoni, lambda > 1/2 of mcallester, 1 by default; seeger has none.

    Returns:
        The bound as it comes out, with ``.vacuous`` where it is 1 or above.

    Raises:
        ConfigError: An argument is out of range, or n is below 8 for seeger.

    Example:
        >>> bound = pac_bayes(0.05, 300.0, 50_000, 0.05)
        >>> round(bound.value, 4), bound.vacuous
        (0.0862, False)
    """
    todo = "Pass a float."
    risk, kl, delta = (
        float(check_number(WHERE, what, value, todo)) for what, value in (("risk", risk), ("kl", kl), ("delta", delta))
    )
    n = plain_number(n)
    if parameter is not None:
        parameter = float(check_number(WHERE, "parameter", parameter, todo))
    _check(risk, kl, n, delta, form, parameter)
    parts = {"risk": risk, "kl": kl, "n": float(n), "delta": delta}
    if form == "seeger":
        confidence = math.log(2) + math.log(n) / 2 - math.log(delta)
        value = risk + kl_gap(risk, (kl + confidence) / n)
    else:
        size = 1.0 if parameter is None else float(parameter)
        parts["parameter"] = size
        complexity = (kl - math.log(delta)) / n
        if form == "catoni":
            value = math.expm1(-size * risk - complexity) / math.expm1(-size)
        else:
            value = (risk + size * complexity) / (1 - 1 / (2 * size))
    return PacBayesBound(name=f"risk, {form}", value=value, kind="bound", source=SOURCES[form], parts=parts)


def _check(risk: float, kl: float, n: object, delta: float, form: str, parameter: float | None) -> None:
    check_choice(WHERE, "form", form, get_args(Form))
    if not 0 <= risk <= 1:
        raise ConfigError(
            f"{WHERE}: risk must be of a loss in [0, 1]; got {risk}. Pass the 0/1 error, or clip the loss and divide "
            "it by its ceiling."
        )
    if not kl >= 0:
        raise ConfigError(f"{WHERE}: kl must be at least 0; got {kl}. Pass nats of KL(Q‖P).")
    if not 0 < delta < 1:
        raise ConfigError(f"{WHERE}: delta must lie between 0 and 1; got {delta}. Pass the probability of failure.")
    if isinstance(n, bool) or not isinstance(n, int) or n.__index__() < 1:
        raise ConfigError(f"{WHERE}: n must be a whole number of samples, at least 1; got {n!r}. Correct n.")
    if form == "seeger":
        if n.__index__() < 8:
            raise ConfigError(
                f'{WHERE}: n must be at least 8 for form="seeger", whose log(2 sqrt(n) / delta) needs it; got {n}. '
                'Use form="catoni".'
            )
        if parameter is not None:
            raise ConfigError(f'{WHERE}: form="seeger" has no parameter; got {parameter}. Leave parameter out.')
    elif parameter is not None and not LIMITS[form] < parameter < math.inf:
        raise ConfigError(
            f'{WHERE}: parameter must be finite and above {LIMITS[form]:g} for form="{form}"; got {parameter}. Fix it '
            "before the samples are seen."
        )
