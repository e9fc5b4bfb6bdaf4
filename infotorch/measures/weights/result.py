"""Information in the weights, with what it was computed from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from infotorch.errors import ConfigError, check_number, plain_number
from infotorch.measures.pac_bayes import Form, PacBayesBound, pac_bayes
from infotorch.measures.weights.family import Family
from infotorch.measures.weights.posterior import Posterior
from infotorch.measures.weights.rise import MeasuredRise
from infotorch.measures.weights.spectrum import Curve
from infotorch.table import Kind

__all__ = ["WeightsInformation", "check_beta"]

WHERE = "weights_information"
FAR = 2.0
"""How many times the predicted rise the measured one may be, or the other way round, where the model holds."""


def check_beta(beta: object) -> float:
    beta = plain_number(beta)
    number = isinstance(beta, (int, float)) and not isinstance(beta, bool)
    if not number or not 0 < beta < math.inf:  # type: ignore[operator]  # a number
        raise ConfigError(
            f"{WHERE}: beta must be > 0 and finite; got {beta!r}. Pass what a nat costs in units of the summed loss."
        )
    return float(beta)  # type: ignore[arg-type]  # a number


@dataclass(frozen=True, kw_only=True, repr=False)
class WeightsInformation:
    r"""KL(Q*‖P), with Q* the Gaussian around the weights that is best for the quadratic model of the loss.

    A number about this minimum, prior, family, beta and curvature: no certificate, and no description length.
    """

    beta: float
    prior_var: float | dict[str, float]
    """The variance used."""
    prior: str
    """How it came: ``given``, ``evidence`` or ``grid``."""
    union_cost: float
    """Nats that a bound pays for the choice from the grid; not in ``nats``."""
    curvature: str
    """``fisher``, ``empirical`` or ``hessian``."""
    estimator: str
    """What was used."""
    labels: str
    """What was used."""
    loss: float
    """L(w), summed over samples."""
    measured: MeasuredRise | None
    """What the loss does under draws from Q*; None without draws."""
    N: int
    P: int
    dist2: float
    """|w - w0|^2."""
    _family: Family = field(compare=False)
    _scale: float = field(compare=False)
    """The prior's, to its relative variances."""
    _distances: dict[str, float] = field(compare=False)
    """Squared distances by layer, over the prior's relative variances."""
    _around: dict[str, Any] = field(compare=False)

    @property
    def nats(self) -> float:
        """[|w - w0|^2 / lambda^2 + log|I + sF| - d_eff] / 2, with s = lambda^2 / beta."""
        return 0.5 * self._distance + self._family.information(self._s)

    @property
    def logdet(self) -> float:
        """log|I + sF|."""
        return self._family.logdet(self._s)

    @property
    def d_eff(self) -> float:
        """tr[sF (I + sF)^-1], the effective number of weights."""
        return self._family.d_eff(self._s)

    @property
    def stderr(self) -> float | None:
        """Of ``nats``, over probes; None for exact estimators."""
        return self._family.stderr(self._s)

    @property
    def quadrature_error(self) -> float | None:
        """Of ``nats``: what the second half of the steps changed; None for exact estimators."""
        return self._family.quadrature_error(self._s)

    @property
    def predicted_rise(self) -> float:
        """What the quadratic model says that the summed loss rises under Q*: beta d_eff / 2."""
        return 0.5 * self.beta * self.d_eff

    @property
    def learning_capacity(self) -> float:
        """Half the squared Frobenius norm of sF (I + sF)^-1 (arXiv:2305.17332, in the quadratic model)."""
        return self._family.spectrum.capacity(self._s)

    @property
    def log_evidence(self) -> float:
        """Laplace's at beta = 1: -L(w) - [|w - w0|^2 / lambda^2 + log|I + lambda^2 F|] / 2.

        Raises:
            NumericsError: The Hessian plus 1 over the prior variance is not positive definite.
        """
        self._family.check(self._scale, 1.0)
        return -self.loss - 0.5 * (self._distance + self._family.logdet(self._scale))

    @cached_property
    def per_layer(self) -> dict[str, float] | None:
        """By module path: parts of ``nats``; for ``dense`` and ``gram`` parts of ``d_eff``, tr[sF (I + sF)^-1].

        An eigenvector runs through all layers, so that only the trace divides among them. None where it was not kept.
        """
        parts = self._family.layer_parts(self._s)
        if parts is None:
            return self._family.layer_traces(self._s)
        return {path: part + 0.5 * self._distances[path] / self._scale for path, part in parts.items()}

    @property
    def kind(self) -> Kind:
        """``estimate``; ``diagnostic`` for the empirical curvature, which is no Fisher information."""
        return "diagnostic" if self.curvature == "empirical" else "estimate"

    @property
    def measured_rise(self) -> float | None:
        """The rise of the summed loss under draws from Q*."""
        return None if self.measured is None else self.measured.rise

    @property
    def quadratic_holds(self) -> bool | None:
        """Whether the measured rise is within a factor of two of the predicted one, give or take two standard errors.

        None where nothing was drawn, or too little: the mean is outside of the factor, and two standard errors are more
        than twice the predicted rise. Where it is False, neither ``nats`` nor ``lagrangian`` is what the loss would
        pay.
        """
        if self.measured is None:
            return None
        rise, error, most = self.measured.rise, 2 * (self.measured.stderr or 0.0), FAR * self.predicted_rise
        near = rise - error <= most <= FAR**2 * (rise + error)
        if near and error > most and not rise <= most <= FAR**2 * rise:
            return None
        return near

    @property
    def measured_risk(self) -> float | None:
        """The 0-1 error of the drawn weights on the data, where labels are classes."""
        return None if self.measured is None else self.measured.risk

    @cached_property
    def _samples(self) -> tuple[Tensor, Tensor] | None:
        return self._family.per_sample(self._s)

    @property
    def leverage(self) -> Tensor | None:
        """Each sample's part of ``d_eff``, float64 [N]; for ``gram`` with exact labels."""
        return None if self._samples is None else self._samples[0]

    @property
    def per_sample(self) -> Tensor | None:
        """``leverage``."""
        return self.leverage

    @property
    def loo_outputs(self) -> Tensor | None:
        """Outputs after one Newton step without each sample, float64 [N, C]; for ``gram`` with exact labels."""
        return None if self._samples is None else self._samples[1]

    @property
    def _distance(self) -> float:
        """|w - w0|^2 / lambda^2, by layer where the prior is."""
        return sum(self._distances.values()) / self._scale

    @property
    def _s(self) -> float:
        return self._scale / self.beta

    def curve(self, betas: Sequence[float]) -> Curve:
        """The same numbers at other betas, from one set of eigenvalues; at the prior variance of this result.

        Raises:
            ConfigError: A beta is not above 0.
            NumericsError: The Hessian plus beta over the prior variance is not positive definite.
        """
        if not hasattr(betas, "__iter__") or getattr(betas, "ndim", 1) == 0:
            raise ConfigError(f"{WHERE}: betas must be a list of numbers; got {betas!r}. Pass [{betas!r}] for one.")
        checked = [check_beta(beta) for beta in betas]
        for beta in checked:
            self._family.check(self._scale, beta)
        return Curve.of(self._family.spectrum, checked, self._scale, self._distance)

    def lagrangian(self, loss: float) -> float:
        """C_beta = loss + predicted_rise + beta nats, for the summed loss L(w): what to compare families by."""
        loss = check_number(WHERE, "loss", loss, "Pass the summed loss, such as result.loss.")
        return loss + self.predicted_rise + self.beta * self.nats

    def posterior(self) -> Posterior:
        """Q*.

        Raises:
            NotSupported: The estimator has eigenvalues alone.
        """
        return self._family.posterior(self._s, **self._around)

    def pac_bayes(
        self, risk: float | None = None, n: int | None = None, delta: float = 0.05, form: Form = "catoni"
    ) -> PacBayesBound:
        """A PAC-Bayes bound on the risk of weights drawn from Q*, with this KL; see :func:`infotorch.pac_bayes`.

        Args:
            risk: Of Q* on the n samples, in [0, 1], as ``measured_risk`` estimates it.
            n: Samples that the risk was measured on, which must be those of this result, N; or leave it out.
            delta: The bound fails with at most this probability.
            form: ``"catoni"``, ``"mcallester"`` or ``"seeger"``.

        Raises:
            ConfigError: There is no measured risk, n is not N, the KL is estimated by probes, or the prior's variance
                was read off the data.
        """
        if risk is None:
            raise ConfigError(
                f"{WHERE}: pac_bayes must have the measured risk of the drawn weights; got none. Pass "
                "risk=result.measured_risk: the risk of the weights themselves is no risk of Q*."
            )
        if n is not None and plain_number(n) != self.N:
            raise ConfigError(
                f"{WHERE}: n of pac_bayes must be the {self.N} samples that this result is of; got {n!r}. Leave n out; "
                "a risk of others goes to infotorch.pac_bayes(risk, result.nats + result.union_cost, n, delta)."
            )
        if self.stderr is not None:
            raise ConfigError(
                f"{WHERE}: the KL of a bound must be exact; got an estimate by {self.estimator!r}. Pass "
                'estimator="gram" or "diag".'
            )
        if self.prior == "evidence":
            raise ConfigError(
                f'{WHERE}: the prior of a bound must be fixed before the data; got prior_var="evidence". Pass a '
                'number chosen beforehand, or "grid".'
            )
        return pac_bayes(risk, self.nats + self.union_cost, self.N, delta, form=form)

    def __repr__(self) -> str:
        spread = "" if self.stderr is None else f" ± {self.stderr:.2g}"
        prior = "by layer" if isinstance(self.prior_var, dict) else f"{self.prior_var:.4g}"
        union = f", a bound pays {self.union_cost:.2f} nats more" if self.union_cost else ""
        return "\n".join(
            [
                f"information in the weights: {self.nats:.6g}{spread} nats, {self.nats / self.N:.4g} a sample "
                f"({self.kind}: local, no certificate)",
                f"  rise of the summed loss under Q*: predicted {self.predicted_rise:.4g}, measured {self._rise()}",
                *self._warning(),
                f"  log-determinant {self.logdet:.6g}, effective dimension {self.d_eff:.6g} of {self.P}, "
                f"squared distance from the prior's mean {self.dist2:.4g}",
                f"  beta {self.beta:g}, prior variance {prior} ({self.prior}{union}), curvature {self.curvature}, "
                f"labels {self.labels}, estimator {self.estimator}, N = {self.N}",
            ]
        )

    def _warning(self) -> list[str]:
        if self.quadratic_holds is False:
            return [
                "  the quadratic model does not hold here: the two rises differ by more than a factor of two, so the "
                "nats are no cost that this loss would pay; a smaller prior_var keeps to where it holds"
            ]
        if self.quadratic_holds is None and self.measured is not None:
            return ["  the draws are too few to tell whether the quadratic model holds here; pass more draws"]
        return []

    def _rise(self) -> str:
        if self.measured is None:
            return "not (no draws)" if self._family.drawable else "not (no posterior to draw from)"
        spread = "" if self.measured.stderr is None else f" ± {self.measured.stderr:.2g}"
        risk = "" if self.measured.risk is None else f", {self.measured.risk:.1%} of labels missed"
        return f"{self.measured.rise:.4g}{spread}{risk}"
