"""The whole Fisher matrix by stochastic Lanczos quadrature: sums over its eigenvalues, without a posterior."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from infotorch.errors import ConfigError
from infotorch.measures.fisher_spectrum import Rule, fisher_spectrum
from infotorch.measures.weights.family import Family
from infotorch.measures.weights.problem import Problem
from infotorch.measures.weights.spectrum import Spectrum

__all__ = ["Stochastic"]

WHERE = "weights_information"


class Stochastic(Family):
    """The same optimum as ``dense``'s, of which random probes tell the numbers, and nobody the weights."""

    drawable = False

    def __init__(self, rules: Sequence[Rule], coarse: Sequence[Rule]) -> None:
        """From every probe's quadrature, and that of half as many steps."""
        self.spectrum, self.coarse = _probed(rules), _probed(coarse)

    @classmethod
    def of(cls, problem: Problem) -> "Stochastic":
        if problem.labels != "exact":
            raise ConfigError(
                f'{WHERE}: labels must be "exact" for estimator="slq"; got {problem.labels!r}. Leave labels out.'
            )
        if bool((problem.relative != 1).any()):
            raise ConfigError(
                f'{WHERE}: prior_var must be one number for estimator="slq"; got one a layer. Pass a number, or '
                'estimator="kfac".'
            )
        problem.rows_per_sample  # noqa: B018  (refuses a loss without curvature)
        options: dict[str, Any] = {"probes": problem.probes, "steps": problem.steps, "seed": problem.seed}
        if problem.steps == "auto":
            if problem.largest is None:
                raise ConfigError(
                    f'{WHERE}: steps="auto" must know the prior\'s variance; got a rule for it. Pass steps=40, or a '
                    "number for prior_var."
                )
            options["scale"] = problem.largest
        found = fisher_spectrum(problem.task, _Batches(problem), **options)
        return cls(found.rules, found.coarse)

    def quadrature_error(self, s: float) -> float:
        return abs(self.spectrum.information(s) - self.coarse.information(s))


class _Batches:
    """The problem's samples some at a time, in every pass."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        return self.problem.batches()


def _probed(rules: Sequence[Rule]) -> Spectrum:
    """Every probe's nodes, [probes, R]; those that a probe lacks weigh nothing."""
    nodes, weights = (
        torch.nn.utils.rnn.pad_sequence([getattr(rule, side) for rule in rules], batch_first=True)
        for side in ("nodes", "weights")
    )
    return Spectrum(theta=nodes, weight=weights)
