"""A run as the report sees it: scores, given and suggested labels, what else is known of each sample."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from infotorch.errors import StoreError
from infotorch.report.numbers import UNITS
from infotorch.table import Scores, low_first, ranks

__all__ = ["FULL_ROWS", "Run", "Score", "View", "listed", "spearman", "view", "visible"]

FULL_ROWS = 5000  # with more rows the page holds charts of bins, and single samples only at the ends of each score
KEPT_WRONG, KEPT_END = 500, 200
MEMORIZATION, FEW = "memorization", 24
_IMAGE = ("image", "height", "width", "channels")
_CONTROL = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}
_KNOWN = {
    "unique_information_weights": (
        "Unique information in weights",
        "How far the trained weights move when the sample is left out: half the squared distance, over σ².",
    ),
    "unique_information_functions": (
        "Unique information in functions",
        "How far the predictions on the test samples move when the sample is left out: "
        "half the mean squared distance, over σ².",
    ),
    "limit_ema": (
        "Mean label score",
        "Distance between the given label and the auxiliary network's prediction, averaged over the epochs.",
    ),
    "limit_distance": (
        "Label score at the end",
        "Distance between the given label and the auxiliary network's prediction, between 0 and √2.",
    ),
    "limit_xent": (
        "Surprise of the label",
        "Minus the logarithm of the probability that the auxiliary network gives the label.",
    ),
    "limit_margin": (
        "Margin of another class",
        "How much likelier the likeliest other class is than the given one, to the auxiliary network.",
    ),
    "membership_information": (
        "Membership information",
        "How much the predictions on the sample's pair tell of which of the two was trained on: at most ln 2 = 0.693 "
        "nats.",
    ),
    "memorization": (
        "Memorization",
        "Share of runs with a wrong prediction when the sample was left out, minus when it was trained on.",
    ),
    "loss": ("Loss", "The task's loss of the sample, at the weights as they are."),
    "gradient_norm": (
        "Gradient norm",
        "Length of the gradient of the sample's loss in the weights, at the weights as they are.",
    ),
    "el2n": (
        "Error norm (EL2N)",
        "Distance between the given label and the predicted probabilities, between 0 and √2.",
    ),
    "margin": ("Margin", "Logit of the given label minus the largest other one; below 0 the prediction is another."),
    "normalized_margin": (
        "Normalized margin",
        "Probability of the given label minus the largest other one, mapped to the range from 0 to 1.",
    ),
    "self_confidence": ("Self-confidence", "Probability of the given label."),
    "self_influence": (
        "Self-influence",
        "How much the sample's loss grows, to first order, as its weight in training goes from 1 to 0.",
    ),
    "trak_self": (
        "TRAK self-score",
        "How much the sample raises the log-odds of its own label, to first order.",
    ),
    "leverage": (
        "Leverage",
        "The sample's part of the directions that the weights hold: what they would lose without it.",
    ),
    "fisher_trace": (
        "Fisher trace",
        "How much the sample's predicted distribution moves, to second order, when all weights are jittered alike.",
    ),
    "own_residual": (
        "Own residual",
        "Distance between the given label and the prediction of the network trained without the sample.",
    ),
}


class Run(Protocol):
    """What the report reads of a run."""

    @property
    def manifest(self) -> Mapping[str, Any]: ...
    def scores(self) -> Scores: ...
    def samples(self) -> pa.Table: ...
    def notes(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One number per sample, ready to be drawn."""

    name: str
    values: np.ndarray
    """Float64 [N]."""
    unit: str
    kind: str
    source: str
    stderr: np.ndarray | None = None
    """Float64 [N], of the run's column ``<name>_stderr``."""

    @functools.cached_property
    def title(self) -> str:
        for base, (title, _) in _KNOWN.items():
            if self.name.startswith(base):
                rest = self.name[len(base) :].strip("_ ").replace("_", " ")
                return f"{title}, {rest}" if rest else title
        return self.name.replace("_", " ").capitalize()

    @property
    def meaning(self) -> str:
        return next((text for base, (_, text) in _KNOWN.items() if self.name.startswith(base)), "")

    @property
    def low_first(self) -> bool:
        """Whether low values are the suspicious ones."""
        return low_first(self.name)

    @property
    def titled(self) -> str:
        """The title with the unit."""
        return f"{self.title} ({UNITS[self.unit]})" if UNITS[self.unit] else self.title

    @property
    def words(self) -> str:
        """The title within a sentence."""
        return self.title[0].lower() + self.title[1:]

    @functools.cached_property
    def log(self) -> bool:
        """Whether a logarithmic axis suits: no negative value, few zeros, the 99th percentile 30 times the 1st."""
        positive = self.values[np.isfinite(self.values) & (self.values > 0)]
        if (self.values < 0).any() or len(positive) < 0.99 * len(self.values) or not len(positive):
            return False
        low, high = np.percentile(positive, [1, 99])
        return bool(high > 30 * low)


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """All rows of a run, by position 0..N-1; ``index`` is the place in the data set."""

    index: np.ndarray
    ids: tuple[str, ...]
    scores: tuple[Score, ...]
    main: int
    """Position of the asked score in ``scores``."""
    label_text: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    """Names of the classes, in the order of their labels; None without classes."""
    code: np.ndarray
    """[N], the place of each sample's label in ``classes``; zeros without classes."""
    suggested_text: tuple[str, ...] | None
    wrong: np.ndarray
    """Bool [N]: the suggested label differs from the given one."""
    reliable: np.ndarray | None
    metadata: dict[str, list[Any]]
    samples: pa.Table
    manifest: Mapping[str, Any]
    notes: dict[str, Any]

    def __len__(self) -> int:
        return len(self.index)

    @functools.cached_property
    def suspicion(self) -> Score:
        """The score that orders the samples to look at first: own residual, else memorization, else the asked score."""
        for name in ("own_residual", MEMORIZATION):
            own = [score for score in self.scores if score.name.startswith(name)]
            if own:
                return own[-1]
        return self.scores[self.main]

    @functools.cached_property
    def suspicious(self) -> np.ndarray:
        """Positions of the samples to look at, first one first; without suggested labels all, by ``suspicion``.

        Labels that are suggested by runs which left the sample out differ wherever the test error is, so with
        memorization these are the ones that it is above 0 of, a tenth of all samples at most.
        """
        memorized = self.suspicion.name == MEMORIZATION
        values = self.suspicion.values if memorized else np.abs(self.suspicion.values)
        if self.suspicion.low_first:
            values = -self.suspicion.values
        rows = np.flatnonzero(self.wrong) if self.suggested_text else np.arange(len(self))
        rows = rows[np.argsort(-values[rows], kind="stable")]
        return rows[values[rows] > 0][: max(FEW, len(self) // 10)] if memorized and self.suggested_text else rows

    @functools.cached_property
    def percentiles(self) -> list[np.ndarray]:
        """For each score [N]: the share, in percent, of the samples of the same class with at most this value."""
        result = []
        for score in self.scores:
            share = np.empty(len(self))
            for c in np.unique(self.code):
                rows = np.flatnonzero(self.code == c)
                values = score.values[rows]
                share[rows] = 100 * np.searchsorted(np.sort(values), values, side="right") / len(rows)
            result.append(share)
        return result

    @functools.cached_property
    def kept(self) -> np.ndarray:
        """Positions of the samples that the page holds one by one, ascending."""
        if len(self) <= FULL_ROWS:
            return np.arange(len(self))
        ends = [self.suspicious[:KEPT_WRONG]]
        for score in self.scores[:4]:
            order = np.argsort(score.values, kind="stable")
            ends += [order[:KEPT_END], order[-KEPT_END:]]
        return np.unique(np.concatenate(ends))

    @property
    def whole(self) -> bool:
        return len(self.kept) == len(self)

    def image(self, position: int) -> np.ndarray | None:
        """Uint8 [H, W] or [H, W, channels], or None."""
        if not set(_IMAGE) <= set(self.samples.column_names):
            return None
        raw, height, width, channels = (self.samples[name][position].as_py() for name in _IMAGE)
        if raw is None:
            return None
        pixels = np.frombuffer(raw, np.uint8).reshape(height, width, channels)
        return pixels[:, :, 0] if channels == 1 else pixels

    def text(self, position: int) -> str | None:
        return self.samples["text"][position].as_py() if "text" in self.samples.column_names else None


def view(run: Run) -> View:
    """The rows of ``run``.

    Raises:
        StoreError: The run holds no score, or scores and samples are of different rows.
    """
    table, samples = run.scores(), run.samples()
    scores = _scores(table)
    if not scores or not len(table):
        raise StoreError(f"report: a run must hold at least one score of one sample; got {len(table)} rows of "
                         f"{list(table.columns)}. Score some samples first.")  # fmt: skip
    if not np.array_equal(np.asarray(samples["index"]), table.index):
        raise StoreError(f"report: scores and samples must be of the same rows; got {len(table)} rows of scores and "
                         f"{len(samples)} of samples. Run: infotorch verify on this run.")  # fmt: skip
    labels = samples["label"].to_pylist() if "label" in samples.column_names else None
    if labels and all(label is None for label in labels):
        labels = None
    names = samples["label_name"].to_pylist() if "label_name" in samples.column_names else None
    classes, code, name_of = _classes(len(table), labels, names)
    label_text = None
    if labels is not None:
        label_text = tuple(_label_text(label, name) for label, name in zip(labels, names or labels, strict=True))
    suggested_text, wrong = _suggestions(table, labels, name_of, run.manifest)
    names_of_scores = [score.name for score in scores]
    reliable = next((table[name].values.astype(bool) for name in table.columns if name.startswith("reliable")), None)
    ids = samples["id"].to_pylist() if "id" in samples.column_names else table.index.tolist()
    return View(
        index=table.index,
        ids=tuple(map(str, ids)),
        scores=scores,
        main=names_of_scores.index(table.main) if table.main in names_of_scores else 0,
        label_text=label_text,
        classes=classes,
        code=code,
        suggested_text=suggested_text,
        wrong=wrong,
        reliable=reliable,
        metadata=_metadata(samples),
        samples=samples,
        manifest=run.manifest,
        notes=run.notes(),
    )


def visible(text: str) -> str:
    """``text`` with control characters shown as their pictures."""
    return text.translate(_CONTROL)


def listed(words: Sequence[str]) -> str:
    """One, one and another, or one, another and a third."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation; 0 where one of the two is constant."""
    x, y = (r - r.mean() for r in (ranks(a), ranks(b)))
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else 0.0


def _scores(table: Scores) -> tuple[Score, ...]:
    """The columns that are numbers to be drawn; a column [N, C] becomes the length of its rows."""
    found = []
    for name, column in table.columns.items():
        if column.values.dtype.kind != "f" or name.endswith("_stderr"):
            continue
        stderr = table.columns.get(f"{name}_stderr")
        found.append(
            Score(
                name=name,
                values=_length(column.values),
                unit=column.unit,
                kind=column.kind,
                source=column.source,
                stderr=None if stderr is None or stderr.values.ndim != 1 else stderr.values.astype(np.float64),
            )
        )
    return tuple(found)


def _length(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    if values.ndim == 1:
        return values
    return values[:, 0] if values.shape[1] == 1 else np.linalg.norm(values, axis=1)


def _label_text(label: Any, name: Any) -> str:
    if isinstance(name, str):
        return name
    if isinstance(label, float):
        return f"{label:.4g}"
    return "none" if label is None else str(label)


def _classes(
    num_rows: int, labels: list[Any] | None, names: list[Any] | None
) -> tuple[tuple[str, ...] | None, np.ndarray, dict[int, str]]:
    """Class names, each sample's place among them, and the name of each label; nothing where labels are no classes."""
    none: tuple[None, np.ndarray, dict[int, str]] = None, np.zeros(num_rows, np.int64), {}
    if labels is None or not all(isinstance(label, int) and not isinstance(label, bool) for label in labels):
        return none
    values, code = np.unique(np.array(labels, np.int64), return_inverse=True)
    if len(values) < 2 or len(values) > max(20, len(labels) // 2):
        return none
    name_of = {int(v): str(v) for v in values}
    for label, name in zip(labels, names or (), strict=False):
        if isinstance(name, str):
            name_of[label] = name
    return tuple(name_of[int(v)] for v in values), code, name_of


def _suggestions(
    table: Scores, labels: list[Any] | None, name_of: dict[int, str], manifest: Mapping[str, Any]
) -> tuple[tuple[str, ...] | None, np.ndarray]:
    columns = [name for name in table.columns if name.startswith("suggested_label")]
    if not columns or labels is None or not name_of:
        return None, np.zeros(len(table), bool)
    suggested = table[columns[-1]].values
    data = manifest.get("data")
    listed = data.get("label_names") if isinstance(data, Mapping) else None
    names = dict(enumerate(listed or ())) | name_of
    texts = tuple(str(names.get(int(label), int(label))) for label in suggested)
    return texts, suggested != np.array(labels)


def _metadata(samples: pa.Table) -> dict[str, list[Any]]:
    """Every further column of the samples that is one value each."""
    reserved = {"index", "id", "label", "label_name", "text", *_IMAGE}
    return {
        field.name: samples[field.name].to_pylist()
        for field in samples.schema
        if field.name not in reserved and not pa.types.is_nested(field.type) and not pa.types.is_binary(field.type)
    }
