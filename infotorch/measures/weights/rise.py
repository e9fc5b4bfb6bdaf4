"""How much the loss rises when the weights are drawn from a posterior, by drawing them."""

from dataclasses import dataclass

import torch

from infotorch.blocks.weights import weights_at
from infotorch.measures.weights.posterior import Posterior
from infotorch.measures.weights.problem import Problem
from infotorch.task.classes import all_missed, missed_by

__all__ = ["MeasuredRise", "SummedLoss", "measured_rise", "summed_loss"]


@dataclass(frozen=True, kw_only=True)
class MeasuredRise:
    """Means over draws of the posterior."""

    rise: float
    """Of the summed loss over that of the posterior's mean, in units of the loss."""
    stderr: float | None
    """Of ``rise``; None for a single draw."""
    risk: float | None
    """The share of labels missed, in [0, 1], soft ones by their likeliest class; None without classes."""
    draws: int
    """Of the weights."""


@dataclass(frozen=True, kw_only=True)
class SummedLoss:
    """One pass over the data."""

    loss: float
    """Summed over samples."""
    risk: float | None
    """The share of labels missed; None without classes."""
    N: int


@torch.no_grad()
def summed_loss(problem: Problem) -> SummedLoss:
    """The loss of the model as it is."""
    total, N, missed = 0.0, 0, []
    for x, y in problem.batches():
        outputs = problem.task.outputs(x)
        total += float(problem.task.losses(outputs, y).double().sum())
        N += len(y)
        missed.append(missed_by(problem.task, outputs, y))
    wrong = all_missed(missed)
    return SummedLoss(loss=total, risk=None if wrong is None else float(wrong.mean()), N=N)


def measured_rise(problem: Problem, posterior: Posterior, *, draws: int, loss: float) -> MeasuredRise:
    """Monte Carlo over ``draws`` of the weights; the model's own are back afterwards, whatever happens."""
    losses, risks = [], []
    for w in posterior.sample(draws, seed=problem.seed):
        with weights_at(problem.task, w):
            drawn = summed_loss(problem)
        losses.append(drawn.loss - loss)
        risks.append(drawn.risk)
    rises = torch.tensor(losses, dtype=torch.float64)
    return MeasuredRise(
        rise=float(rises.mean()),
        stderr=float(rises.std() / draws**0.5) if draws > 1 else None,
        risk=None if None in risks else sum(risk for risk in risks if risk is not None) / draws,
        draws=draws,
    )
