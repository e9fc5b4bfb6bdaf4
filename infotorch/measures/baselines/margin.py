"""By how much every sample's label is ahead of the other classes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from infotorch.measures.baselines.outputs import class_logits
from infotorch.measures.baselines.row_wise import RowWise
from infotorch.measures.measure import Progress
from infotorch.task import Task

__all__ = ["Margin"]


@dataclass(frozen=True, kw_only=True)
class Margin(RowWise):
    r"""Logit of the given label minus the largest other one, :math:`f_y(x_n) - \max_{c \ne y} f_c(x_n)`.

    The margin of Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking" (arXiv
    2001.10528), at one network; they average it over the epochs of training. Of logits, as there: the logarithm of the
    odds of the label against the likeliest other class, which goes on telling samples apart where probabilities have
    reached 0 or 1. The margin of probabilities is ``normalized_margin`` of :class:`LabelQuality`.

    Column ``margin``, in nats: low is suspicious, below 0 is a wrong prediction. One logit z of
    ``"binary_cross_entropy"`` has the margin z for label 1 and -z for label 0.

    Example:
        >>> task = Task(torch.nn.Linear(3, 3).eval(), forward=lambda model, x: x)
        >>> Margin().scores(task, torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([2])).values
        array([-3.])
    """

    name: ClassVar[str] = "margin"
    source: ClassVar[str] = "arXiv 2001.10528, margin of one network"

    def values(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None, progress: Progress | None
    ) -> Tensor:
        f, labels = class_logits(self.name, task, x, y, memory_limit=memory_limit, progress=progress)
        given = labels[:, None]
        return f.gather(1, given)[:, 0] - f.scatter(1, given, -torch.inf).amax(1)

    def unit(self, task: Task) -> str:
        return "nats"
