"""The loss of every sample."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from infotorch.measures.baselines.outputs import in_parts
from infotorch.measures.baselines.row_wise import RowWise
from infotorch.measures.measure import Progress
from infotorch.task import Generative, Task

__all__ = ["SampleLoss"]


@dataclass(frozen=True, kw_only=True)
class SampleLoss(RowWise):
    r"""The task's loss of each sample at the weights as they are, :math:`\ell(f(x_n), y_n)`.

    High where the network contradicts the target. A network that has memorised a wrong label has a small loss there:
    score early in training, when right labels are fitted first (Arpit et al., arXiv 1706.05394), or samples that
    were not trained on.

    Column ``loss``, in nats where the loss is minus the logarithm of a probability, as the built-in ones are, else
    without a unit; summed over a sample's positions. Any targets that the task's loss takes.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 2).eval()
        >>> _ = [torch.nn.init.zeros_(p) for p in model.parameters()]
        >>> SampleLoss().scores(Task(model), torch.ones(1, 1), torch.tensor([1])).values
        array([0.69314718])
    """

    name: ClassVar[str] = "loss"
    source: ClassVar[str] = "the task's loss"

    def values(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None, progress: Progress | None
    ) -> Tensor:
        return in_parts(self.name, task, x, y, task.losses, memory_limit=memory_limit, progress=progress)

    def unit(self, task: Task) -> str:
        return "nats" if isinstance(task.criterion, Generative) else "1"
