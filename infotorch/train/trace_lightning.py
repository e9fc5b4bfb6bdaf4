"""The trace of the Fisher information along a Lightning training."""

from typing import Any

from infotorch.train.adapters import lightning_callback
from infotorch.train.fisher_trace import FisherTrace

__all__ = ["FisherTraceCallback"]

Callback: Any = lightning_callback("FisherTraceCallback")


class FisherTraceCallback(Callback):
    """Calls a :class:`FisherTrace` with Lightning's ``global_step``, at the start and after every batch.

    Its task has the network that is in the module, which Lightning moves to its device. With several processes each
    records by itself, on the data it was given.

    Args:
        trace: Has the records.

    Raises:
        MissingExtraError: Lightning is not installed.

    Example:
        >>> trace = FisherTrace(Task(module.model), (x, y), every=50)  # doctest: +SKIP
        >>> lightning.Trainer(callbacks=[FisherTraceCallback(trace)]).fit(module, loader)  # doctest: +SKIP
        >>> trace.rows  # doctest: +SKIP
    """

    def __init__(self, trace: FisherTrace) -> None:
        super().__init__()
        self.trace = trace

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Records the network before the first step."""
        self.trace(trainer.global_step)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Records it after a step that counts."""
        self.trace(trainer.global_step)
