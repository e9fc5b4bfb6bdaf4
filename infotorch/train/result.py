"""What a LIMIT training leaves behind."""

from dataclasses import dataclass, field
from typing import Any

from infotorch.measures.label_info import LabelInfo
from infotorch.measures.memorised import Memorised
from infotorch.table import Estimate, Kind, Scores

__all__ = ["LimitInfo", "LimitResult"]

FANO = "arXiv 2002.07933, section 2"


@dataclass(frozen=True, kw_only=True)
class LimitInfo(Memorised):
    """What the networks hold of the noisy labels at the end; ``None`` where a number needs what wasn't given.

    ``acc_noisy_labels`` and the counts are of the classifier in eval mode on the training samples.
    """

    label: LabelInfo | None
    """What the steps passed on; ``None`` without a meter."""
    aux_gap_nats: float | None
    """Training labels times the mean of the auxiliary's cross-entropy on noisy validation labels less that on the
    training ones: an estimate of what the auxiliary network memorised. Needs validation data."""
    info_lower_nats: float | None
    """Label information that the classifier must hold to fit the noisy labels so well, nats a label, from this run's
    error rate. Needs the labels' entropy: ``meter=LabelInfoMeter(..., label_entropy=...)``."""
    acc_test: float | None
    """Accuracy on test labels."""

    def estimates(self) -> list[Estimate]:
        """The numbers that are there, each with its kind."""
        rows: list[tuple[str, float | None, str, Kind, str]] = [
            ("label information memorised by the auxiliary network", self.aux_gap_nats, "nats", "estimate", ""),
            ("label information in the weights, at least, a label", self.info_lower_nats, "nats", "estimate", FANO),
            ("accuracy on noisy training labels", self.acc_noisy_labels, "1", "diagnostic", ""),
            ("accuracy on rightly labelled training samples", self.acc_clean_subset, "1", "diagnostic", ""),
            ("wrong labels memorised", self.memorised_count, "1", "diagnostic", ""),
            ("wrong labels", self.mislabelled, "1", "diagnostic", ""),
            ("wrong labels seen through", self.recovered, "1", "diagnostic", ""),
            ("accuracy on test labels", self.acc_test, "1", "estimate", ""),
        ]
        return (self.label.estimates() if self.label else []) + [
            Estimate(name=name, value=value, unit=unit, kind=kind, source=source)
            for name, value, unit, kind, source in rows
            if value is not None
        ]


@dataclass(frozen=True, kw_only=True)
class LimitResult:
    """A finished training."""

    best_state: dict[str, Any] | None = field(repr=False)
    """State dicts ``classifier`` and ``aux`` of the best epoch; ``None`` where none could be told from the others."""
    last_state: dict[str, Any] = field(repr=False)
    """The same of the last epoch, which the networks themselves are in."""
    history: list[dict[str, Any]] = field(repr=False)
    """One entry an epoch: ``epoch`` (from 0), ``step`` (steps so far), ``warm_up``, the means a label ``loss``,
    ``match``, ``pen`` and ``ce_noisy`` (nats), ``acc_train`` (on noisy labels, in training mode), ``nats`` (so far, see
    ``nats_of``), ``val_acc`` and ``val_stderr`` (on noisy validation labels), ``test_acc``."""
    scores: Scores | None = field(repr=False)
    """Label-noise scores of the training samples by id; ``None`` where none were asked for."""
    info: LimitInfo
    """What the networks hold of the labels."""
