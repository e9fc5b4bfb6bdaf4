"""Sums over the eigenvalues of the Fisher information by stochastic Lanczos quadrature, without the matrix."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from infotorch.blocks.fisher_root import FisherRoot
from infotorch.errors import ConfigError, check_whole
from infotorch.linalg.lanczos import Step, coefficients, quadrature
from infotorch.task import Task

__all__ = ["FisherSpectrum", "Rule", "SpectralSum", "fisher_spectrum"]

WHERE = "fisher_spectrum"
FIRST_STEPS = 10
"""Of ``steps="auto"``, before they are doubled."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    r"""A quadrature of one probe: :math:`v^\top f(F) v \approx \sum_k w_k f(\theta_k)` for f with f(0) = 0."""

    nodes: Tensor
    r""":math:`\theta`, [m], above 0; in squared units of the loss over squared units of the parameters."""
    weights: Tensor
    r"""w, [m]; they sum to the squared norm of what F does not map to zero in the probe."""

    def form(self, fn: Callable[[Tensor], Tensor]) -> float:
        return float(self.weights @ fn(self.nodes))


@dataclass(frozen=True, kw_only=True)
class SpectralSum:
    """An estimated sum over eigenvalues, with both of its errors."""

    value: float
    """The mean over probes."""
    stderr: float
    """Standard error of the mean over probes."""
    quadrature_error: float
    """What the last doubling of the steps changed; 0 where every probe's quadrature is exact."""
    terms: Tensor
    """Every probe's quadratic form, float64 [probes]."""


@dataclass(frozen=True, kw_only=True)
class FisherSpectrum:
    """Quadratures of random probes that give any sum over the Fisher information's eigenvalues, for every scale."""

    rules: tuple[Rule, ...]
    """One a probe."""
    coarse: tuple[Rule, ...]
    """Those of half as many steps."""

    def sum_of(self, fn: Callable[[Tensor], Tensor]) -> SpectralSum:
        """The sum of f over all P eigenvalues; fn is elementwise on float64 [m], and f(0) must be 0."""
        terms, before = (
            torch.tensor([rule.form(fn) for rule in rules], dtype=torch.float64) for rules in (self.rules, self.coarse)
        )
        return SpectralSum(
            value=float(terms.mean()),
            stderr=float(terms.std()) / math.sqrt(len(terms)),
            quadrature_error=abs(float((terms - before).mean())),
            terms=terms,
        )

    def logdet(self, scale: float) -> SpectralSum:
        r""":math:`\log |I + s F|`, nats."""
        return self.sum_of(lambda t: torch.log1p(_checked(scale) * t))

    def d_eff(self, scale: float) -> SpectralSum:
        r"""Effective dimension :math:`\operatorname{tr} s F (I + s F)^{-1}`."""
        return self.sum_of(lambda t: 1 - 1 / (1 + _checked(scale) * t))


def fisher_spectrum(
    task: Task,
    data: Any,
    *,
    probes: int = 16,
    steps: int | Literal["auto"] = 40,
    scale: float | None = None,
    seed: int = 0,
) -> FisherSpectrum:
    r"""Stochastic Lanczos quadrature of the exact Fisher information :math:`F = G^\top G`, summed over samples.

    For a probe v of random signs the mean of :math:`v^\top f(F) v` is the sum of f over the eigenvalues (Hutchinson;
    Ubaru, Chen and Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", 2017). One run serves every
    f, so every scale :math:`s = \lambda^2 / \beta`.

    Departure: Lanczos runs on :math:`G G^\top` from G v, in the space of outputs [M], since :math:`v^\top F^k v =
    (G v)^\top (G G^\top)^{k-1} (G v)`. Its nodes, with weights over :math:`\theta`, are those of Gauss and Radau for F
    with one more node at 0. So the re-orthogonalized basis holds vectors of M numbers (N (C - 1) for cross-entropy),
    and never more than three of P are held at once. With m steps it is exact for polynomials of degree 2 m; for
    :math:`\log(1 + s t)` and :math:`s t / (1 + s t)` a probe's form is never above the exact one, and grows with m.

    Every step is a forward-mode and a backward pass over the data.

    Args:
        task: Model, loss and parameters.
        data: (x, y) or a dict; or a DataLoader of them, that gives the same batches in every pass.
        probes: How many, at least 2.
        steps: Of each probe, at least 2; or ``"auto"``: doubled from 10 on until the log-determinant at ``scale``
            changes by less than its standard error over probes. All probes' bases are then held at once.
        scale: The largest s in question; for ``"auto"`` alone.
        seed: Of the probes.

    Returns:
        The quadratures, with ``logdet(scale)`` and ``d_eff(scale)``.

    Raises:
        ConfigError: An option is out of range, the model is in train mode, or the data can be read once only.
        DataError: A batch is empty, not finite, or of the wrong dtype or device; or the loader fails or shuffles.
        NotSupported: The loss is a function, whose output Hessian nobody knows; or an operation of the forward has no
            forward-mode derivative.

    Example:
        >>> task = Task(torch.nn.Linear(2, 1, bias=False).eval(), loss="mse")
        >>> spectrum = fisher_spectrum(task, (torch.eye(2), torch.zeros(2, 1)))
        >>> round(spectrum.logdet(1.0).value, 6)  # F is the identity: 2 log 2
        1.386294
    """
    _check(probes, steps, scale)
    root = FisherRoot(WHERE, task, data)
    eps = max(torch.finfo(p.dtype).eps for p in task.parameters().values())
    generator = torch.Generator().manual_seed(seed)
    runs = (_Run(root, _signs(task, generator), eps) for _ in range(probes))
    if steps != "auto":  # one basis at a time
        coarse, rules = zip(*(run.halves(steps) for run in runs), strict=True)
        return FisherSpectrum(rules=rules, coarse=coarse)
    assert scale is not None
    every, m = list(runs), FIRST_STEPS
    while True:
        coarse, rules = zip(*(run.halves(2 * m) for run in every), strict=True)
        found = FisherSpectrum(rules=rules, coarse=coarse)
        total = found.logdet(scale)
        if total.quadrature_error <= total.stderr or all(run.whole for run in every):
            return found
        m *= 2


class _Run:
    """Lanczos of one probe, which may go on."""

    def __init__(self, root: FisherRoot, probe: dict[str, Tensor], eps: float) -> None:
        start = root.times(probe)
        self.square = float(start @ start)
        self.eps = eps
        self.found: list[Step] = []
        self.steps: Iterator[Step] = iter(())
        if self.square:
            self.steps = coefficients(lambda u: root.times(root.transposed(u)), start)

    @property
    def whole(self) -> bool:
        """No further step would change anything."""
        return not self.square or self.found[-1].whole

    def halves(self, steps: int) -> tuple[Rule, Rule]:
        """The rules of half the steps, and of all."""
        self.found += itertools.islice(self.steps, steps - len(self.found))
        rule = self._rule(len(self.found))
        return (rule if self.whole else self._rule(steps // 2)), rule

    def _rule(self, m: int) -> Rule:
        if not m:
            none = torch.zeros(0, dtype=torch.float64)
            return Rule(nodes=none, weights=none)
        alpha, beta, _ = (torch.tensor(side, dtype=torch.float64) for side in zip(*self.found[:m], strict=True))
        theta, weights = quadrature(alpha, beta[:-1])
        theta = theta.clamp(min=self.eps * float(theta[-1]))  # rounding of the products may reach below 0
        return Rule(nodes=theta, weights=self.square * weights / theta)


def _signs(task: Task, generator: torch.Generator) -> dict[str, Tensor]:
    """A probe of +1 and -1, {name: [*shape]}, of the parameters' dtypes."""
    return {
        name: torch.empty(p.shape, dtype=p.dtype).bernoulli_(0.5, generator=generator).mul_(2).sub_(1).to(p.device)
        for name, p in task.parameters().items()
    }


def _checked(scale: float) -> float:
    if not 0 <= scale < math.inf:
        raise ConfigError(f"{WHERE}: scale must be finite and at least 0; got {scale}. Pass prior_var / beta.")
    return scale


def _check(probes: object, steps: object, scale: float | None) -> None:
    for name, value in (("probes", probes), ("steps", steps)):
        if name == "steps" and value == "auto":
            continue
        check_whole(WHERE, name, value, 2)
    if (steps == "auto") != (scale is not None):
        raise ConfigError(
            f'{WHERE}: scale must come with steps="auto", and with it alone; got scale={scale} and steps={steps!r}. '
            "Give the largest scale that will be asked for, or leave it out."
        )
    if scale is not None:
        _checked(scale)
