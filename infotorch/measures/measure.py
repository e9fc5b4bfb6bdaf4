"""What every measure of single samples offers, so that one pipeline runs them all."""

from typing import Any, ClassVar, Protocol

from torch import Tensor

from infotorch.blocks.loading import each_batch
from infotorch.blocks.progress import Progress
from infotorch.table import Scores
from infotorch.task import Task

__all__ = ["Measure", "Progress", "each_batch"]


class Measure(Protocol):
    """A frozen set of options that turns a task and its data into scores."""

    name: ClassVar[str]
    """What the command line calls it.

    Two more attributes may be there: ``row_wise``, true where a sample's score follows from that sample alone, and
    ``per_group``, true where a row of the scores is a group of samples.
    """

    def config(self) -> dict[str, Any]:
        """Every option, as JSON: two measures with equal configurations give equal scores."""

    def scores(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None = None, progress: Progress | None = None
    ) -> Scores:
        """The scores of x [N, ...] with targets y [N, ...], in that order.

        Raises:
            ConfigError: The options don't fit the data; nothing has been computed yet.
        """
