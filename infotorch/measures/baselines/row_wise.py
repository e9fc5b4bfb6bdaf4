"""A score that follows from one sample and the network as it is: what all such measures share."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from infotorch.errors import NumericsError
from infotorch.measures.measure import Progress
from infotorch.table import Column, Scores
from infotorch.task import Task

__all__ = ["RowWise", "refuse_not_finite"]


@dataclass(frozen=True, kw_only=True)
class RowWise(ABC):
    """One column, called as the measure is, of numbers that are diagnostics of the network."""

    name: ClassVar[str]
    row_wise: ClassVar[bool] = True
    source: ClassVar[str]

    def config(self) -> dict[str, Any]:
        """Every option, as JSON."""
        return asdict(self)

    @abstractmethod
    def values(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None, progress: Progress | None
    ) -> Tensor:
        """[N], of any floating dtype."""

    def unit(self, task: Task) -> str:
        """What the values are counted in."""
        return "1"

    def scores(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None = None, progress: Progress | None = None
    ) -> Scores:
        """The score of every sample, one column, float64.

        Args:
            task: Model in eval mode, at the weights in question.
            x: Inputs, [N, ...].
            y: Class labels int64 [N], or what else the measure takes.
            memory_limit: Bytes that a part of the samples may take. Default: no limit, all samples at once.
            progress: Called with stage, samples done, samples in all.

        Raises:
            ConfigError: The model is in train mode, the task's outputs are not what the measure compares, or one sample
                exceeds ``memory_limit``.
            DataError: Samples or targets are not finite, don't fit, or are not what the measure takes.
            NumericsError: A score is not finite; the text names the first sample.
        """
        task.split((x, y))
        values = self.values(task, x, y, memory_limit=memory_limit, progress=progress)
        refuse_not_finite(self.name, values)
        column = Column(
            values=values.detach().double().numpy(force=True),
            unit=self.unit(task),
            source=self.source,
            kind="diagnostic",
        )
        return Scores(index=np.arange(len(values)), columns={self.name: column})


def refuse_not_finite(where: str, values: Tensor) -> None:
    """Raises for the first row of ``values`` [N, ...] that holds nan or inf."""
    bad = ~values.isfinite().reshape(len(values), -1)
    if bad.any():
        n = int(bad.any(1).nonzero()[0])
        value = float(values[n].reshape(-1)[bad[n]][0])
        raise NumericsError(
            f"{where}: what follows from the model's outputs must be finite; got {value} for sample {n}. "
            "Look at this sample's input, and at the weights."
        )
