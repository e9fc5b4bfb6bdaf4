"""The length of the gradient of every sample's loss."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from infotorch.blocks import per_sample_grad_norms
from infotorch.measures.baselines.row_wise import RowWise
from infotorch.measures.measure import Progress
from infotorch.task import Task

__all__ = ["GradientNorm"]


@dataclass(frozen=True, kw_only=True)
class GradientNorm(RowWise):
    r"""Norm of the gradient of each sample's loss in the selected weights, :math:`\|\nabla_w \ell_n\|` (not squared).

    At one network: the GraNd score of Paul, Ganguli and Dziugaite, "Deep Learning on a Data Diet" (arXiv 2107.07075),
    is the expectation of it over initializations, at a given time of training. They rank by it at initialization as
    well; that part was not reproduced (Kirsch, arXiv 2303.14753): score some epochs in, and average over networks.

    Column ``gradient_norm``, in units of the loss over those of the weights. Any targets that the task's loss takes.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, and no ``fallback`` is given.

    Example:
        >>> import torch
        >>> task = Task(torch.nn.Linear(2, 1, bias=False).eval(), loss=lambda f, y: f[:, 0])
        >>> GradientNorm().scores(task, torch.tensor([[3.0, 4.0]]), torch.zeros(1)).values
        array([5.])
    """

    name: ClassVar[str] = "gradient_norm"
    source: ClassVar[str] = "arXiv 2107.07075, GraNd of one network"

    fallback: Literal["func"] | None = None
    """How to take gradients of parameters outside of supported layers: func, by torch.func; default: refuse them."""

    def values(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None, progress: Progress | None
    ) -> Tensor:
        return per_sample_grad_norms(task, (x, y), memory_limit=memory_limit, fallback=self.fallback)
