"""transformers' Trainer as the learner of a grid of runs."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import Subset

from infotorch import errors
from infotorch.bounds.grids.cells import Extra, Predict, seeded

__all__ = ["HuggingFaceLearner", "huggingface_learner"]

WHERE = "huggingface_learner"
SEEDS = 2**32
"""transformers takes seeds below it."""
QUIET = {
    "save_strategy": "no",
    "logging_strategy": "no",
    "eval_strategy": "no",
    "load_best_model_at_end": False,
    "push_to_hub": False,
    "report_to": [],
    "disable_tqdm": True,
}
"""A run keeps nothing but its predictions."""


def huggingface_learner(
    model_init: Callable[[], nn.Module],
    dataset: Any,
    *,
    args: Any,
    data_collator: Callable[..., Any] | None = None,
    processing_class: Any = None,
) -> "HuggingFaceLearner":
    """A ``train_fn`` for ``infotorch.bounds.run``: transformers' Trainer on the run's samples, with a model of its own.

    What isn't pretrained of the model, dropout and the order of batches follow from the run's seed modulo 2^32. A run
    saves, logs and evaluates nothing. Predictions are the class of the largest logit, in the Trainer's evaluation mode.

    Args:
        model_init: Makes the model: ``lambda: AutoModelForSequenceClassification.from_pretrained(...)``.
        dataset: The pool, one row a sample with ``labels``, its class: a data set of torch or of ``datasets``, or a
            list of dicts.
        args: ``TrainingArguments``, or the dict of its options. ``output_dir``, ``seed``, ``data_seed`` and what is
            saved, logged and evaluated are set in each run.
        data_collator: As of ``Trainer``.
        processing_class: As of ``Trainer``: with a tokenizer, rows of different lengths are padded.

    Returns:
        The learner; its ``labels``, int64 [pool_size], are for ``run``.

    Raises:
        ConfigError: ``model_init`` is a model and not what makes one, or ``args`` is something else.
        DataError: A row has no label.
        MissingExtraError: transformers or accelerate is not installed.

    Example:
        >>> learner = huggingface_learner(model_init, rows, args={"num_train_epochs": 3})  # doctest: +SKIP
        >>> run(plan(len(rows), 75, 3, 20), learner, "runs/bert", labels=learner.labels)  # doctest: +SKIP
    """
    errors.require(WHERE, "accelerate", "huggingface")  # transformers has a Trainer without, which can't train
    transformers = errors.require(WHERE, "transformers", "huggingface")
    if isinstance(model_init, nn.Module) or not callable(model_init):
        raise errors.ConfigError(
            f"{WHERE}: model_init must be a function that makes a new model; got {type(model_init).__name__}. "
            "Pass lambda: Model(...), so that each run has weights of its own."
        )
    if isinstance(args, transformers.TrainingArguments):
        options = {field.name: getattr(args, field.name) for field in dataclasses.fields(args) if field.init}
    elif isinstance(args, Mapping):
        options = dict(args)
        names = [field.name for field in dataclasses.fields(transformers.TrainingArguments)]
        for name in options:
            errors.check_choice(WHERE, "an option of args", name, names)
    else:
        raise errors.ConfigError(
            f"{WHERE}: args must be TrainingArguments or a dict of its options; got {type(args).__name__}. "
            "Pass args={'num_train_epochs': 3}."
        )
    return HuggingFaceLearner(
        model_init=model_init,
        dataset=dataset,
        labels=_labels(dataset),
        options=options,
        data_collator=data_collator,
        processing_class=processing_class,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class HuggingFaceLearner:
    """What ``huggingface_learner`` returns."""

    model_init: Callable[[], nn.Module]
    """Makes a model."""
    dataset: Any
    """The pool."""
    labels: np.ndarray
    """int64 [pool_size]."""
    options: Mapping[str, Any]
    """Of ``TrainingArguments``."""
    data_collator: Callable[..., Any] | None
    """As of ``Trainer``."""
    processing_class: Any
    """As of ``Trainer``."""

    def __call__(self, train_indices: np.ndarray, seed: int, extra: Extra) -> Predict:
        """A model trained on ``train_indices``, as a function from indices [M] to labels int64 [M].

        Raises:
            ConfigError: The run has checkpoints.
        """
        if extra.checkpoints:
            raise errors.ConfigError(
                f"{WHERE}: a run must be without checkpoints; got {list(extra.checkpoints)}. "
                "Make a grid for each number of epochs, or use torch_learner."
            )
        transformers = errors.require(WHERE, "transformers", "huggingface")
        seeds = {"seed": seed % SEEDS, "data_seed": seed % SEEDS}
        with tempfile.TemporaryDirectory() as folder, seeded(seed):
            trainer = transformers.Trainer(
                args=transformers.TrainingArguments(**{**self.options, **QUIET, **seeds, "output_dir": folder}),
                model_init=lambda: self.model_init(),  # of a function with options the Trainer would want one
                train_dataset=Subset(self.dataset, train_indices.tolist()),
                data_collator=self.data_collator,
                processing_class=self.processing_class,
            )
            trainer.remove_callback(transformers.PrinterCallback)  # what the Trainer has in place of a progress bar
            trainer.train()
        return partial(self._predict, trainer)

    def _predict(self, trainer: Any, indices: np.ndarray) -> np.ndarray:
        with seeded(trainer.args.seed):  # its loader draws, even in order
            found = trainer.predict(Subset(self.dataset, indices.tolist())).predictions
        logits = np.asarray(found[0] if isinstance(found, tuple) else found)
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise errors.ConfigError(
                f"{WHERE}: the model must return logits [N, C] of at least two classes; got {list(logits.shape)}. "
                "Take a model for classification with num_labels=2 or more."
            )
        if np.isnan(logits).any():
            place = int(indices[np.isnan(logits).any(1)][0])
            raise errors.NumericsError(
                f"{WHERE}: a trained model's logits must be numbers; got nan for item {place}. Lower learning_rate."
            )
        return logits.argmax(1).astype(np.int64)


def _labels(dataset: Any) -> np.ndarray:
    rows = (dataset[place] for place in range(len(dataset)))
    found = [row.get("labels") if isinstance(row, Mapping) else None for row in rows]
    labels = np.array([-1 if label is None else label for label in found])
    wrong = (labels < 0) if labels.ndim == 1 and labels.dtype.kind in "iub" else np.ones(len(found), bool)
    if not len(found) or wrong.any():
        got = f"{found[int(np.argmax(wrong))]!r} in row {int(np.argmax(wrong))}" if found else "no row"
        raise errors.DataError(
            f"{WHERE}: every row must be a dict with labels, the number of its class; got {got}. "
            "Give each sample its class, from 0."
        )
    return labels.astype(np.int64)
