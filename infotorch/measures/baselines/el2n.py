"""How far the predicted probabilities of every sample are from its label."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from infotorch.measures.baselines.outputs import class_logits
from infotorch.measures.baselines.row_wise import RowWise
from infotorch.measures.measure import Progress
from infotorch.task import Task

__all__ = ["EL2N"]


@dataclass(frozen=True, kw_only=True)
class EL2N(RowWise):
    r"""Norm of predicted probabilities minus the label, :math:`\|\text{softmax}(f(x_n)) - \text{onehot}(y_n)\|_2`.

    The EL2N score of Paul, Ganguli and Dziugaite, "Deep Learning on a Data Diet" (arXiv 2107.07075), at one network;
    they average it over some, a few epochs into training. It is the norm of the loss's gradient in the logits, and so
    :class:`GradientNorm` without what the network's Jacobian makes of it.

    Column ``el2n``, in [0, sqrt 2]. One logit z of ``"binary_cross_entropy"`` is the second of the two logits (0, z),
    which have the same probabilities: the score is then :math:`\sqrt 2 |\text{sigmoid}(z) - y|`.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 2).eval()
        >>> _ = [torch.nn.init.zeros_(p) for p in model.parameters()]
        >>> EL2N().scores(Task(model), torch.ones(1, 1), torch.tensor([1])).values
        array([0.70710678])
    """

    name: ClassVar[str] = "el2n"
    source: ClassVar[str] = "arXiv 2107.07075, EL2N of one network"

    def values(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None, progress: Progress | None
    ) -> Tensor:
        f, labels = class_logits(self.name, task, x, y, memory_limit=memory_limit, progress=progress)
        return (f.softmax(1) - F.one_hot(labels, f.shape[1])).norm(dim=1)
