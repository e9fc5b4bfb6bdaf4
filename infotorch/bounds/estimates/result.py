"""What an estimate of bounds is made of, and how it reads."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from infotorch import errors
from infotorch.table import Kind

__all__ = ["BoundEstimate", "Report"]

WIDTH = 79
COLUMNS = (8, 8, 16, 11, 10, 11)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BoundEstimate:
    """One bound, estimated from training runs."""

    id: str
    """Its name in ``infotorch.bounds.BOUNDS``."""
    value: float
    """The mean over supersamples; for ``kl`` and ``interp`` the bound of the mean train error and information."""
    std: float
    """Standard deviation over supersamples, divided by K1 and not by K1 - 1: 0 of a single one."""
    interval: tuple[float, float] | None
    """95 % of 2000 bootstrap means over supersamples lie in it; ``None`` of fewer than five."""
    per_supersample: np.ndarray
    """[K1]; of ``ld_flat``, which is one number of all supersamples, [1]."""
    information: np.ndarray
    """[K1, U] nats, of each pair, or of each subset of m pairs, with its bits; [1, U] of ``ld_flat``."""
    null_mean: float
    """Mean of ``information`` if the predictions had nothing to do with the masks, in nats."""
    null_value: float
    """The bound at the informations of that case: what the estimate shows where there is nothing to see."""
    of: Literal["expected gap", "population risk"]
    """What is below it."""
    gap: float
    """Test minus train loss, of the loss that it bounds."""
    m: int
    """Pairs of a subset."""
    kind: Kind = "estimate"
    """What the number may be taken for."""

    def __repr__(self) -> str:
        size = "x".join(map(str, self.information.shape))
        return f"BoundEstimate({self.id} {self.value:.4g} on the {self.of}, {self.kind}, information [{size}])"

    @property
    def vacuous(self) -> bool:
        """It says nothing: no loss in [0, 1] can have a gap, or a risk, above 1."""
        return self.value >= 1


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Report:
    """Bounds estimated from a grid of training runs, beside the gap that was seen. ``report["fcmi"]`` is one of them.

    Printed, it holds no date and no time: equal runs give equal texts.
    """

    bounds: Mapping[str, BoundEstimate]
    """By name, in the order in which they were asked for."""
    gap: float
    """Mean over supersamples of test minus train error."""
    gap_interval: tuple[float, float] | None
    """As of a bound."""
    train_error: np.ndarray
    """[K1]: share of wrong predictions of trained samples, or their mean loss where there are losses alone."""
    test_error: np.ndarray
    """[K1]: of the pairs' other samples."""
    n: int
    """Training samples of a run."""
    num_runs: tuple[int, ...]
    """Runs of each supersample."""
    num_classes: int
    """C."""
    mask_design: str
    """``"balanced"`` or ``"iid"``."""
    correction: str
    """Of the information's bias."""
    checkpoint: int | None
    """The epoch that the predictions are of; ``None``: of the trained network."""
    independence: float | None
    """Share of permutations of the masks with as much information as was found: large where predictions don't depend
    on the masks. ``None`` where it wasn't computed."""
    warnings: tuple[str, ...]
    """What else is to be known of it."""
    made_by: tuple[str, ...] = ()
    """The versions and the learners, by a digest of their code, that made the runs; not part of the text, so that a
    grid finished by another hand reads the same where its cells are the same."""

    @property
    def mixed(self) -> str | None:
        """What is to be said where the runs were made by several learners or versions."""
        if len(self.made_by) < 2:
            return None
        return f"The runs were made by different versions or learners: {'; '.join(self.made_by)}."

    @property
    def _warned(self) -> list[str]:
        return [*self.warnings, *([self.mixed] if self.mixed else [])]

    def __getitem__(self, id: str) -> BoundEstimate:
        errors.check_choice("report", "a bound", id, self.bounds)
        return self.bounds[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.bounds)

    def __contains__(self, id: object) -> bool:
        return id in self.bounds

    @property
    def runs(self) -> str:
        """``3×20``, or the runs of each supersample where they differ."""
        if len(set(self.num_runs)) == 1:
            return f"{len(self.num_runs)}×{self.num_runs[0]}"
        return " + ".join(map(str, self.num_runs))

    @property
    def statement(self) -> str:
        """What the numbers are worth, in one sentence."""
        return f"This is an estimate of a bound from {self.runs} runs. It is not a certified bound."

    def as_dict(self) -> dict[str, Any]:
        """Everything but the informations, as JSON has it."""
        return {
            "n": self.n, "num_runs": list(self.num_runs), "num_classes": self.num_classes, "masks": self.mask_design,
            "correction": self.correction, "checkpoint": self.checkpoint, "gap": self.gap,
            "gap_interval": self.gap_interval, "train_error": self.train_error.tolist(),
            "test_error": self.test_error.tolist(), "independence": self.independence,
            "statement": self.statement, "warnings": self._warned,
            "made_by": list(self.made_by),
            "bounds": {
                each.id: {
                    "value": each.value, "std": each.std if len(each.per_supersample) > 1 else None,
                    "interval": each.interval, "kind": each.kind, "of": each.of, "vacuous": each.vacuous,
                    "m": each.m, "gap": each.gap,
                    "per_supersample": each.per_supersample.tolist(),
                    "information_mean": float(each.information.mean()), "null_mean": each.null_mean,
                    "null_value": each.null_value,
                }
                for each in self.bounds.values()
            },
        }  # fmt: skip

    def __repr__(self) -> str:
        return str(self)  # a notebook shows it, and no number without what it's worth

    def __str__(self) -> str:
        after = "" if self.checkpoint is None else f", after epoch {self.checkpoint}"
        lines = [
            f"{self.runs} runs on n = {self.n} samples, {self.num_classes} classes, {self.mask_design} masks{after}"
        ]
        lines += ["", _row("", "value", "sd", "interval", "by chance", "I [nats]", "by chance")]
        for each in self.bounds.values():
            mark = "  vacuous" if each.vacuous else "  risk" if each.of == "population risk" else ""
            information = _number(float(each.information.mean()))
            std = each.std if len(each.per_supersample) > 1 else None
            numbers = (_number(each.value), _number(std), _interval(each.interval), _number(each.null_value))
            lines.append(_row(each.id, *numbers, information, _number(each.null_mean)) + mark)
        gaps = self.test_error - self.train_error
        std = float(gaps.std()) if len(gaps) > 1 else None
        lines.append(_row("gap", _number(self.gap), _number(std), _interval(self.gap_interval)))
        train, test = float(self.train_error.mean()), float(self.test_error.mean())
        lines += ["", f"train error {_number(train)}, test error {_number(test)}", "", self.statement]
        return "\n".join([*lines, *(line for text in self._warned for line in textwrap.wrap(text, WIDTH))])


def _row(id: str, *cells: str) -> str:
    return f"{id:<7}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, COLUMNS, strict=False))


def _number(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"


def _interval(pair: tuple[float, float] | None) -> str:
    return "n/a" if pair is None else f"{_number(pair[0])} … {_number(pair[1])}"
