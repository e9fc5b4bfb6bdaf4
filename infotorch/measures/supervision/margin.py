"""A margin bound on the error of a kernel fit, from the complexity of the targets that it was fitted to."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from infotorch.errors import ConfigError, DataError, ShapeError, check_choice
from infotorch.measures.kernel_input import Array, as_tensor
from infotorch.measures.supervision.report import ComplexityReport
from infotorch.table import Estimate

__all__ = ["MarginBound", "margin_bound"]

WHERE = "margin_bound"


@dataclass(frozen=True, kw_only=True)
class MarginBound(Estimate):
    """The sum of three terms, with them."""

    empirical_margin: float
    """Share of samples with a margin of at most gamma."""
    complexity_term: float
    """What the norm of the fit costs."""
    confidence_term: float
    """What holding with probability 1 - delta costs."""

    @property
    def vacuous(self) -> bool:
        """It says nothing: no error is above 1."""
        return self.value > 1

    def __str__(self) -> str:
        said = self.kind if self.kind == "bound" else f"{self.kind}, not a bound"
        return f"{self.name}: {self.value:.4g} ({said}{', vacuous' if self.vacuous else ''})"


def margin_bound(
    report: ComplexityReport,
    f_fit: Array,
    labels: Array,
    *,
    gamma: float,
    delta: float = 0.05,
    form: Literal["safe", "paper"] = "safe",
) -> MarginBound:
    r"""Bound on the error of the kernel fit :math:`f^*` of a report's targets, from margins at gamma.

    With probability 1 - delta over n independent samples, for C outputs,

    .. math:: P(\operatorname{argmax} f^* \ne Y) \le \tfrac1n \textstyle\sum_i 1[\rho_i \le \gamma]
        + \frac{4 C B}{\gamma n}\sqrt{\mathrm{Tr} K} + 3\sqrt{\frac{\ln(2 B (B + 1) / \delta)}{2 n}}

    where :math:`\rho_i` is the output of the label less the largest other one and :math:`B = \max(1, \lceil\|f^*\|
    \rceil)`; for one output and labels +1, -1 the margin is :math:`y f^*` and the factor 2 in place of 4 C (Mohri et
    al., "Foundations of Machine Learning", the margin theorems, by a union over integer B). ``form="paper"`` is the one
    of Harutyunyan et al. (arXiv 2301.12245): :math:`\sqrt{quad} + 1` for B, and :math:`\ln(2 M_0 / \delta)` with
    :math:`M_0 = \lceil \gamma\sqrt n / (4 C \sqrt\kappa)\rceil` (2 for 4 C), at least 1. It holds where :math:`\mathrm{
    Tr} K \ge n \kappa`; :math:`\kappa` is the largest number on the sample's diagonal. Constants were derived again,
    the paper's text was not.

    A bound needs a kernel chosen without these samples, and gamma fixed before: of G values of gamma, each takes
    delta / G. The report of a network's present weights may have neither, so its kind is ``diagnostic``; where they are
    those of the initialisation, or the samples are fresh, ``dataclasses.replace(report, fixed_kernel=True)`` says so.
    At small n the value is far above 1: then it ranks, and bounds nothing.

    Args:
        report: Of one set of targets and one ridge; norm and trace without ridge are taken from it.
        f_fit: Outputs of the fit on the samples, :math:`K (K + \rho I)^{-1} r` (plus f0), [n, C], or [n] for one.
        labels: True classes, integers [n]; +1 and -1 for one output.
        gamma: Margin, above 0.
        delta: Probability with which the bound may fail, in (0, 1).
        form: ``"safe"``, always valid, or ``"paper"``.

    Returns:
        :class:`MarginBound`, an :class:`Estimate` with ``empirical_margin``, ``complexity_term`` and
        ``confidence_term``, which add up to ``value``; kind ``bound`` or ``diagnostic``.

    Raises:
        ConfigError: An option is out of range, or the report is of several ridges or targets.
        ShapeError: Sizes disagree.
        DataError: A label is none of the classes, or a number is not finite.

    Example:
        >>> from infotorch import complexity_from_kernel
        >>> K = [[2.0, 1.0], [1.0, 2.0]]
        >>> report = complexity_from_kernel(K, [1.0, -1.0], ridge=1.0)
        >>> print(margin_bound(report, [0.5, -0.5], [1, -1], gamma=0.4))
        margin bound: 13.3 (bound, vacuous)
    """
    if not isinstance(report, ComplexityReport) or not isinstance(report.ridge, float):
        raise ConfigError(
            f"{WHERE}: report must be of one set of targets and one ridge; got {type(report).__name__}. "
            "Pass reports[name], made with one ridge."
        )
    check_choice(WHERE, "form", form, ("safe", "paper"))
    if not isinstance(gamma, int | float) or not 0 < gamma < math.inf:
        raise ConfigError(f"{WHERE}: gamma must be above 0 and finite; got {gamma!r}. Fix a margin before you look.")
    if not isinstance(delta, int | float) or not 0 < delta < 1:
        raise ConfigError(f"{WHERE}: delta must be between 0 and 1; got {delta!r}. Pass the risk of failing, as 0.05.")
    margins = _margins(report, f_fit, labels)
    n, trace = report.N, report.kernel_trace
    factor = 2.0 if margins.outputs == 1 else 4.0 * margins.outputs
    kind = report.fixed_kernel
    if form == "safe":
        assert isinstance(report.norm, float)
        B = max(1.0, math.ceil(report.norm))
        union = B * (B + 1)
    else:
        # The upper end of a bracket, so that it stays a bound by Lanczos too.
        B = math.sqrt(report.upper) + 1
        union = max(1, math.ceil(gamma * math.sqrt(n) / (factor * math.sqrt(report.max_diagonal))))
        kind = kind and trace >= n * report.max_diagonal * (1 - 1e-12)
    empirical = float((margins.values <= gamma).double().mean())
    complexity = factor * B * math.sqrt(trace) / (gamma * n)
    confidence = 3 * math.sqrt(math.log(2 * union / delta) / (2 * n))
    terms = {"empirical_margin": empirical, "complexity_term": complexity, "confidence_term": confidence}
    return MarginBound(
        name="margin bound",
        value=empirical + complexity + confidence,
        kind="bound" if kind else "diagnostic",
        source="arXiv 2301.12245; constants derived from Mohri et al.",
        parts=terms,
        empirical_margin=empirical,
        complexity_term=complexity,
        confidence_term=confidence,
    )


@dataclass(frozen=True, kw_only=True)
class _Margins:
    values: torch.Tensor
    """[n], float64."""
    outputs: int


def _margins(report: ComplexityReport, f_fit: Array, labels: Array) -> _Margins:
    f = as_tensor(WHERE, "f_fit", f_fit, read_only=True)[0].double().cpu()
    y = as_tensor(WHERE, "labels", labels, read_only=True)[0].cpu()
    n, C = report.N, report.C
    if f.shape == (n, 1):
        f = f[:, 0]
    if f.shape != ((n,) if C == 1 else (n, C)) or y.shape != (n,):
        raise ShapeError(
            f"{WHERE}: f_fit must be {[n] if C == 1 else [n, C]} and labels [{n}], as the report's targets; got "
            f"{list(f.shape)} and {list(y.shape)}. Pass the fit of the same samples."
        )
    if not bool(f.isfinite().all()):
        raise DataError(f"{WHERE}: f_fit must be finite; got NaN or infinity. Look at the solve that it comes from.")
    if C == 1:
        if y.dtype == torch.bool or not bool((y.abs() == 1).all()):
            raise DataError(f"{WHERE}: labels of one output must be 1 and -1; got others. Map the classes so.")
        return _Margins(values=y.double() * f, outputs=1)
    if y.is_floating_point() or y.dtype == torch.bool or not bool(((y >= 0) & (y < C)).all()):
        raise DataError(f"{WHERE}: labels must be integers in 0..{C - 1}; got others. Map the classes so.")
    own = f.gather(1, y.long()[:, None])
    others = f.scatter(1, y.long()[:, None], -math.inf).amax(1)
    return _Margins(values=own[:, 0] - others, outputs=C)
