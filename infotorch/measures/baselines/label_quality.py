"""Confident learning: which labels a network's probabilities speak against, by cleanlab."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from infotorch.blocks.plan import MEMORY_LIMIT
from infotorch.errors import ConfigError, DataError, require
from infotorch.measures.baselines.outputs import class_logits, classes
from infotorch.measures.baselines.row_wise import refuse_not_finite
from infotorch.measures.digest import digest
from infotorch.measures.measure import Progress
from infotorch.table import Column, Scores
from infotorch.task import Task
from infotorch.task.targets import check_classes

__all__ = ["LabelQuality"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelQuality:
    """Scores and findings of confident learning (Northcutt, Jiang and Chuang, arXiv 1911.00068), computed by cleanlab.

    From the probabilities p that a classifier gives the classes of all samples:

    * ``self_confidence``, p of the given label, and ``normalized_margin``, that minus the largest other p, mapped from
      [-1, 1] to [0, 1] (``cleanlab.rank.get_label_quality_scores``); low is suspicious;
    * ``is_label_issue``, whether the sample is among those with a wrong label, as many as the joint distribution of
      given and true labels is estimated to hold (``cleanlab.filter.find_label_issues``, prune by noise rate);
    * ``predicted_label``, the class of the largest p.

    **The probabilities should be out of sample**, of networks that were not trained on the sample in question: those
    of cross-validation, as ``pred_probs``, or a task whose network has never seen these samples. The network's own
    probabilities on its training samples are only as good as it has not memorised their labels: as it fits them,
    ``self_confidence`` goes to 1 for wrong labels as well, and few or no issues are found.

    Raises:
        ConfigError: ``pred_probs`` are no probabilities.
    """

    name: ClassVar[str] = "label_quality"

    pred_probs: Any = None
    """Probabilities [N, C], best out of sample, in the order of the data; default: those of the task's model."""

    def __post_init__(self) -> None:
        if self.pred_probs is None:
            return
        p = _probabilities(self.pred_probs)
        wrong = None if p.dim() != 2 or p.shape[1] < 2 else ~((p >= 0).all(1) & ((p.sum(1) - 1).abs() <= 1e-4))
        if wrong is None or wrong.any():
            got = list(p.shape) if wrong is None else f"{p[wrong][0].tolist()} for sample {int(wrong.nonzero()[0])}"
            raise ConfigError(
                f"label_quality: pred_probs must be probabilities [N, C] that sum to 1 over C >= 2 classes; got {got}. "
                "Give the softmax of the logits."
            )

    def config(self) -> dict[str, Any]:
        """Every option, as JSON; probabilities by their SHA-256."""
        return {"pred_probs": None if self.pred_probs is None else digest([_probabilities(self.pred_probs)])}

    def scores(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None = None, progress: Progress | None = None
    ) -> Scores:
        """The four columns, of all samples together.

        Args:
            task: Model in eval mode; it is not run where ``pred_probs`` are given.
            x: Inputs, [N, ...].
            y: Class labels int64 [N], or the 0s and 1s of a binary loss.
            memory_limit: Bytes that the forward pass of a part of the samples may put out, 2 GiB if not given.
            progress: Called with stage, samples done, samples in all.

        Raises:
            MissingExtraError: cleanlab is not installed.
            ConfigError: The outputs are no logits, or ``pred_probs`` are of other samples.
            DataError: The labels are no classes, one is out of range, or all are of one class.
            NumericsError: An output is not finite.
        """
        cleanlab = require(self.name, "cleanlab", "cleanlab")
        task.split((x, y))
        labels = classes(self.name, task, y)
        if bool((labels == labels[0]).all()):
            raise DataError(
                f"label_quality: labels must be of at least two classes; got {int(labels[0])} for each of "
                f"{len(labels)}. Score all classes together."
            )
        p = self._given(labels) if self.pred_probs is not None else None
        if p is None:
            limit = MEMORY_LIMIT if memory_limit is None else memory_limit
            logits, _ = class_logits(self.name, task, x, y, memory_limit=limit, progress=progress)
            p = logits.softmax(1)
            refuse_not_finite(self.name, p)
        given = {"labels": labels.numpy(force=True), "pred_probs": p.numpy(force=True)}
        rank, source = cleanlab.rank.get_label_quality_scores, f"arXiv 1911.00068, by cleanlab {cleanlab.__version__}"

        def column(values: np.ndarray) -> Column:
            return Column(values=values, unit="1", source=source, kind="heuristic")

        return Scores(
            index=np.arange(len(labels)),
            columns={
                "self_confidence": column(rank(**given, method="self_confidence")),
                "normalized_margin": column(rank(**given, method="normalized_margin")),
                # One process: a fork of a process in which torch has threads may never end.
                "is_label_issue": column(cleanlab.filter.find_label_issues(**given, n_jobs=1)),
                "predicted_label": column(p.argmax(1).numpy(force=True)),
            },
        )

    def _given(self, labels: Tensor) -> Tensor:
        p = _probabilities(self.pred_probs)
        if len(p) != len(labels):
            raise ConfigError(
                f"label_quality: pred_probs must have a row a sample, {len(labels)}; got {len(p)}. "
                "Give them in the order of the data."
            )
        check_classes(p, labels.cpu())
        return p


def _probabilities(pred_probs: Any) -> Tensor:
    dense = pred_probs if isinstance(pred_probs, Tensor) else torch.as_tensor(np.asarray(pred_probs))
    return dense.detach().double().cpu()
