"""The trace of the Fisher information along a training of transformers."""

from typing import Any

from infotorch.errors import require
from infotorch.train.fisher_trace import FisherTrace

__all__ = ["FisherTraceHFCallback"]

TrainerCallback: Any = require("FisherTraceHFCallback", "transformers", "huggingface").TrainerCallback


class FisherTraceHFCallback(TrainerCallback):
    """Calls a :class:`FisherTrace` with the Trainer's ``global_step``, at the start and after every step.

    Its task has the model that is trained, with ``forward=`` that picks the logits. With several processes each records
    by itself, on the data it was given.

    Args:
        trace: Has the records.

    Raises:
        MissingExtraError: transformers is not installed.

    Example:
        >>> task = Task(model, forward=lambda model, x: model(**x).logits)  # doctest: +SKIP
        >>> trace = FisherTrace(task, (inputs, labels), every=50, labels=("mc", 1, 0))  # doctest: +SKIP
        >>> Trainer(model, args, train_dataset=data, callbacks=[FisherTraceHFCallback(trace)])  # doctest: +SKIP
    """

    def __init__(self, trace: FisherTrace) -> None:
        self.trace = trace

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Records the model before the first step."""
        self.trace(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Records it after a step that counts."""
        self.trace(state.global_step)
