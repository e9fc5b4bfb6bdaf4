"""Which labels are wrong, by the scores of a finished run, in the forms that others take."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from infotorch.curation.scored import Scored, Source, scored
from infotorch.errors import ConfigError, check_whole, require
from infotorch.store.tables import write_table
from infotorch.table import low_first

if TYPE_CHECKING:
    import datasets
    import pandas

__all__ = ["LabelErrors", "label_errors"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelErrors:
    """Every label of a data set, ranked from the most suspicious on, and which are thought wrong: a heuristic.

    Arrays have one entry a sample, in the order of the data set; ``order`` ranks them.
    """

    index: np.ndarray
    """int64 [N], places in the data set."""
    ids: tuple[str, ...]
    """[N]"""
    given: np.ndarray
    """int64 [N], the labels as they are."""
    suggested: np.ndarray | None
    """int64 [N], the labels in their place; ``None`` where the scores suggest none."""
    scores: np.ndarray
    """float64 [N], the score that ranks."""
    by: str
    """Its name."""
    order: np.ndarray
    """int64 [N], positions in these arrays, the most suspicious label first."""
    is_label_issue: np.ndarray
    """bool [N]; these are the first in ``order``."""
    threshold: float | None
    """Beyond which a score is suspicious; ``None`` where the number of labels was given."""
    rule: str
    """In words, what makes a label one of them."""
    label_names: tuple[str, ...] | None = None
    """Names of the classes 0, 1, ..."""

    def __len__(self) -> int:
        """N, the number of labels."""
        return len(self.index)

    @property
    def num_issues(self) -> int:
        """How many are thought wrong."""
        return int(self.is_label_issue.sum())

    @property
    def rank(self) -> np.ndarray:
        """int64 [N], 1 for the most suspicious label."""
        rank = np.empty(len(self), np.int64)
        rank[self.order] = np.arange(1, len(self) + 1)
        return rank

    def table(self) -> pa.Table:
        """All labels, the most suspicious first.

        Returns:
            Columns rank, index, id, given_label, given_name, suggested_label, suggested_name, the score under its own
            name, is_label_issue; those of a suggestion, and the names, where there are some.
        """
        columns: dict[str, Any] = {"rank": self.rank, "index": self.index, "id": pa.array(self.ids, pa.string())}
        for what, labels in (("given", self.given), ("suggested", self.suggested)):
            if labels is not None:
                columns[f"{what}_label"] = labels
                if self.label_names:
                    columns[f"{what}_name"] = pa.array(map(self.name_of, labels.tolist()), pa.string())
        columns |= {self.by: self.scores, "is_label_issue": self.is_label_issue}
        return pa.table(columns).take(pa.array(self.order))

    def name_of(self, label: int) -> str:
        """The class's name, its number where it has none."""
        names = self.label_names or ()
        return names[label] if 0 <= label < len(names) else str(label)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes ``table()`` as .csv, .parquet, .jsonl (one object a line) or .json (a list of them).

        Raises:
            ConfigError: The path ends otherwise.
            StoreError: The system refuses.
        """
        return write_table("label_errors", self.table(), path)

    def to_cleanlab(self) -> "pandas.DataFrame":
        """A DataFrame as cleanlab's ``CleanLearning.get_label_issues()`` returns it, for ``fit(label_issues=...)``.

        Returns:
            One row a sample in the order of the data set, indexed by its place there: is_label_issue (bool),
            label_quality, given_label and, where labels are suggested, predicted_label. ``label_quality`` is the share
            of the labels that are ranked as more suspicious, 0 for the first one and (N - 1) / N for the last: a rank,
            and no probability as cleanlab's own. Lower is worse in both.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = require("to_cleanlab", "pandas", "pandas")
        columns = {
            "is_label_issue": self.is_label_issue,
            "label_quality": (self.rank - 1) / len(self),
            "given_label": self.given,
        }
        if self.suggested is not None:
            columns["predicted_label"] = self.suggested
        return pandas.DataFrame(columns, index=pandas.Index(self.index, name="index"))

    def to_dataset(self) -> "datasets.Dataset":
        """``table()`` as a Dataset of Hugging Face, its labels ClassLabels where the classes have names.

        Raises:
            MissingExtraError: datasets is not installed.
        """
        datasets = require("to_dataset", "datasets", "datasets")
        table = self.table()
        table = table.select([name for name in table.column_names if not name.endswith("_name")])
        features = datasets.Features.from_arrow_schema(table.schema)
        names = self.label_names
        for name in ("given_label", "suggested_label"):
            # A network may have more outputs than classes have names: those labels stay numbers.
            if names and name in features and max(table[name].to_pylist()) < len(names):
                features[name] = datasets.ClassLabel(names=list(names))
        return datasets.Dataset.from_dict(table.to_pydict(), features=features)


def label_errors(
    run: Source,
    samples: Any = None,
    *,
    by: str | None = None,
    top: int | None = None,
    threshold: float | None = None,
) -> LabelErrors:
    """Labels ranked by suspicion, and those that are thought wrong.

    Labels that the scores contradict, whose suggested label is another one, come before all others; among them the
    larger score first, or the smaller one for scores whose low values are suspicious. A label is thought wrong

    * by default, if it is contradicted and its score is beyond what labels that are *not* contradicted show: above the
      upper whisker of their box plot (Tukey 1977), their largest score within 1.5 interquartile ranges of the third
      quartile. So a hard sample, whose suggestion differs by a hair, isn't called wrong;
    * with ``threshold``, if it is contradicted (where there are suggestions) and its score is beyond that;
    * with ``top``, if it is among the first so many.

    None of this is a proof: what the network doesn't understand looks like a wrong label. Look at them.

    Args:
        run: The folder of a run, an open run, or scores.
        samples: With scores, the samples that they are of, as ``infotorch.score`` took them.
        by: Score to rank by; default the own residual, or the score that was asked for where there is none. Of several
            times the last, if the name says none.
        top: How many labels to call wrong.
        threshold: Score beyond which a contradicted label is wrong, in the score's unit.

    Returns:
        All N labels, ranked.

    Raises:
        ConfigError: No such score, a number out of range, both ``top`` and ``threshold``, or neither where the scores
            suggest no labels.
        DataError: Labels that are no classes, or samples that are not those of the scores.
        StoreError: The run is not finished or damaged.

    Example:
        >>> found = infotorch.label_errors("runs/digits")
        >>> found.num_issues, found.table().slice(0, 10)
        >>> model = CleanLearning(clf).fit(X, labels, label_issues=found.to_cleanlab())
    """
    if top is not None and threshold is not None:
        raise ConfigError(f"label_errors: one of top and threshold may be given; got {top} and {threshold}. Drop one.")
    if top is not None:
        check_whole("label_errors", "top", top, 1, "Say how many labels.")
    if threshold is not None and math.isnan(threshold):
        raise ConfigError("label_errors: threshold must be a number; got nan. Give a score.")
    known = scored("label_errors", run, samples)
    given, by = known.classes(), known.column(by)
    values = known.scores[by].values.astype(np.float64)
    suggested = known.suggested(by)
    contradicted = np.ones(len(given), bool) if suggested is None else suggested != given
    sign = -1.0 if low_first(by) else 1.0
    order = np.lexsort((-sign * values, ~contradicted))  # stable: equal ones in the order of the data set
    score, beyond = by.replace("_", " "), "<" if sign < 0 else ">"
    if top is not None:
        found = np.zeros(len(given), bool)
        found[order[:top]] = True
        rule = f"the first {min(top, len(given)):,} of the ranking"
    else:
        usual = threshold is None
        if threshold is None:
            threshold = _beyond_agreement(known, by, sign, None if suggested is None else contradicted)
        rule = f"{'' if suggested is None else 'suggested label differs, '}{score} {beyond} {threshold:.4g}"
        rule += " (whisker where it doesn't)" if usual else ""
        found = contradicted & (sign * values > sign * threshold)
    return LabelErrors(
        index=known.scores.index,
        ids=known.ids,
        given=given,
        suggested=suggested,
        scores=values,
        by=by,
        order=order,
        is_label_issue=found,
        threshold=threshold,
        rule=rule,
        label_names=known.label_names,
    )


def whisker(values: np.ndarray) -> float:
    """The upper whisker of the box plot: the largest value within 1.5 interquartile ranges of the third quartile."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(values[values <= high + 1.5 * (high - low)].max())


def _beyond_agreement(known: Scored, by: str, sign: float, contradicted: np.ndarray | None) -> float:
    """The score beyond which no label is that the scores agree with, but for outliers."""
    usual = sign * known.scores[by].values.astype(np.float64)
    usual = usual[np.isfinite(usual) & ~contradicted] if contradicted is not None else usual[:0]
    if not len(usual):
        got = "no suggested labels" if contradicted is None else "suggestions that contradict every label"
        raise ConfigError(
            f"label_errors: labels that the scores agree with must show what is usual; got {got}. Give top, threshold, "
            "or scores of a measure that suggests labels, as unique_information does."
        )
    return sign * whisker(usual)
