"""From the predictions of runs to a report: informations, bounds, what they'd be if nothing were there."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from infotorch import errors
from infotorch.bounds.estimates.result import BoundEstimate, Report
from infotorch.bounds.theory.bound import NOT_THIS_RUN
from infotorch.bounds.theory.formulas import formula
from infotorch.bounds.theory.information import (
    Correction,
    difference_states,
    loss_states,
    null_mean,
    occupied,
    pair_states,
    plugin_mi,
    subset_bits,
    subset_states,
)

__all__ = ["ESTIMATED", "Runs", "report_of", "summary"]

ESTIMATED = ("fcmi", "ecmi", "ld", "ld_flat", "kl", "interp")
"""The bounds that runs can estimate. The others need the information of weights or of whole vectors of predictions."""
SUBSETS = ("fcmi", "ecmi")
"""Those of them that subsets of several pairs have."""
RESAMPLES, TAILS, FEWEST = 2000, (0.025, 0.975), 5
PERMUTATIONS, RARE = 99, 0.05
CROWDED = 10
"""Runs for each occupied state below which a plug-in of subsets is mostly bias."""
MOSTLY = 0.5
"""Share of the information that chance alone gives, above which it's said."""
WHERE = "estimate"


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """The runs of one supersample at one checkpoint."""

    bits: np.ndarray
    """uint8 [R, n]."""
    blocks: np.ndarray
    """int64 [R]: the block of masks that each run belongs to."""
    predicted: np.ndarray | None
    """[R, n, 2], labels."""
    labels: np.ndarray
    """[n, 2], the true ones."""
    losses: np.ndarray | None
    """[R, n, 2], where the learner gave losses."""

    @property
    def loss(self) -> np.ndarray:
        """[R, n, 2]: the learner's losses, else the 0/1 loss of its labels."""
        return self.wrong if self.losses is None else self.losses

    @property
    def wrong(self) -> np.ndarray:
        """int8 [R, n, 2]: the 0/1 loss."""
        assert self.predicted is not None
        return (self.predicted != self.labels).astype(np.int8)

    def errors(self, loss: np.ndarray) -> tuple[float, float]:
        """Mean loss of the trained and of the other samples."""
        column = self.bits[..., None].astype(np.int64)
        trained, other = (np.take_along_axis(loss, c, axis=2).mean(dtype=np.float64) for c in (column, 1 - column))
        return float(trained), float(other)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Counted:
    """States of subsets with their bits, each [R, U], and how many of each there can be."""

    states: np.ndarray
    bits: np.ndarray
    num_states: int
    num_bits: int

    def information(self, correction: Correction) -> np.ndarray:
        return plugin_mi(self.states, self.bits, self.num_states, num_bits_states=self.num_bits, correction=correction)

    def null(self) -> np.ndarray:
        return null_mean(self.states, self.bits, self.num_states, num_bits_states=self.num_bits)

    def most_states(self) -> int:
        return int(occupied(self.states, self.bits, self.num_states, num_bits_states=self.num_bits).states.max())


def report_of(
    supersamples: Sequence[Runs],
    *,
    num_classes: int,
    bounds: Sequence[str],
    m: int,
    correction: Correction,
    design: str,
    checkpoint: int | None,
    notes: Sequence[str],
    made_by: tuple[str, ...] = (),
    permuted: bool = True,
) -> Report:
    """The report of these runs; see ``estimate``. Without ``permuted`` their independence of the masks isn't tested."""
    n = len(supersamples[0].labels)
    m = operator.index(m)
    _check(supersamples, bounds, m, num_classes, n)
    found = {id: _bound(id, supersamples, num_classes, m, correction) for id in bounds}
    have_labels = all(runs.predicted is not None for runs in supersamples)
    rates = np.array([runs.errors(runs.wrong if have_labels else runs.loss) for runs in supersamples])
    gaps = rates[:, 1] - rates[:, 0]
    warnings = list(notes)
    independence = _independence(supersamples, have_labels, num_classes) if permuted else None
    if independence is not None and independence > RARE:
        warnings.append(
            f"The information shows no sign that predictions depend on what was trained on: {independence:.0%} "
            "of shuffled masks give as much. The runs are too few, or the learner generalises this well, or it "
            "ignores its train_indices."
        )
    warnings += _warnings(found, supersamples, design, correction, m, num_classes)
    return Report(
        bounds=found,
        gap=float(gaps.mean()),
        gap_interval=_interval(gaps),
        train_error=rates[:, 0],
        test_error=rates[:, 1],
        n=n,
        num_runs=tuple(len(runs.bits) for runs in supersamples),
        num_classes=num_classes,
        mask_design=design,
        correction=correction,
        checkpoint=checkpoint,
        independence=independence,
        warnings=tuple(warnings),
        made_by=made_by,
    )


def summary(supersamples: Sequence[Runs], num_classes: int) -> tuple[float, float]:
    """The main bound (``fcmi``, or ``ecmi`` where there are losses alone) and the gap, without anything around them."""
    id = "fcmi" if all(runs.predicted is not None for runs in supersamples) else "ecmi"
    values, gaps = [], []
    for runs in supersamples:
        information = _counted(id, runs, num_classes, 1).information("none")
        values.append(formula(id, information, n=information.size))
        train, test = runs.errors(runs.wrong if id == "fcmi" else runs.loss)
        gaps.append(test - train)
    return float(np.mean(values)), float(np.mean(gaps))


def _check(supersamples: Sequence[Runs], bounds: Sequence[str], m: int, num_classes: int, n: int) -> None:
    if isinstance(bounds, str) or not bounds:
        raise errors.ConfigError(
            f"{WHERE}: bounds must be a list of at least one name; got {bounds!r}. Write bounds=['fcmi']."
        )
    for id in bounds:
        errors.check_choice(WHERE, "a bound", id, ESTIMATED)
    if not 1 <= m <= n:
        raise errors.ConfigError(f"{WHERE}: m must be from 1 to n={n}; got {m}. 1 is the tightest.")
    single = [id for id in bounds if id not in SUBSETS]
    if m > 1 and single:
        raise errors.ConfigError(
            f"{WHERE}: {single[0]} is of single pairs; got m={m}. Use m=1, or {' or '.join(SUBSETS)}."
        )
    if "fcmi" in bounds and any(runs.predicted is None for runs in supersamples):
        raise errors.ConfigError(
            f"{WHERE}: fcmi must have predicted labels; got runs that kept losses in floating point alone. Ask for "
            "ecmi or ld, or return int labels from predict_fn."
        )
    if "fcmi" in bounds and m > 1 and num_classes > 2:
        raise errors.ConfigError(
            f"{WHERE}: fcmi with m={m} must have two classes; got {num_classes}, whose {num_classes}^{2 * m} states no "
            "number of runs fills. Use m=1, or ecmi."
        )
    if m > 1 and any(runs.losses is not None for runs in supersamples) and set(bounds) - {"fcmi"}:
        raise errors.ConfigError(f"{WHERE}: m={m} must have losses of 0 and 1; got losses in floating point. Use m=1.")
    if "interp" in bounds:
        worst = max(runs.errors(runs.loss)[0] for runs in supersamples)
        if worst > 0:
            raise errors.ConfigError(
                f"{WHERE}: interp must have runs without a training error; got {worst:.3g} in one supersample. "
                "Ask for kl."
            )


def _counted(id: str, runs: Runs, num_classes: int, m: int) -> _Counted:
    states: np.ndarray
    if id == "fcmi":
        assert runs.predicted is not None
        states, num_states = pair_states(runs.predicted, num_classes), num_classes**2
    elif id in ("ld", "ld_flat"):
        states, num_states = difference_states(runs.loss)
    else:
        states, num_states = loss_states(runs.loss)
    bits: np.ndarray = runs.bits
    if m > 1:
        states, bits = subset_states(states, num_states, m), subset_bits(bits, m)
    return _Counted(states=states, bits=bits, num_states=num_states**m, num_bits=2**m)


def _bound(id: str, supersamples: Sequence[Runs], num_classes: int, m: int, correction: Correction) -> BoundEstimate:
    rates = np.array([runs.errors(runs.loss if id != "fcmi" else runs.wrong) for runs in supersamples])
    if id == "ld_flat":
        one = Runs(
            bits=np.concatenate([runs.bits for runs in supersamples]),
            blocks=np.zeros(0, np.int64),
            predicted=None,
            labels=supersamples[0].labels,
            losses=np.concatenate([runs.loss for runs in supersamples]),
        )
        counted = [_counted(id, one, num_classes, 1)]
    else:
        counted = [_counted(id, runs, num_classes, m) for runs in supersamples]
    information = np.stack([each.information(correction) for each in counted])  # [K1, U]
    null = np.stack([each.null() for each in counted])
    n, risk = len(supersamples[0].labels), id in ("kl", "interp")
    zero_one = all(runs.losses is None for runs in supersamples)
    value = _value(id, n, m, rates[:, 0], zero_one)
    per = np.array([value(information[k : k + 1], slice(k, k + 1)) for k in range(len(information))])
    every = slice(None)
    if risk:
        interval = _interval(np.arange(len(per)), lambda rows: value(information[rows], rows))
    else:
        interval = _interval(per)
    return BoundEstimate(
        id=id,
        value=value(information, every),
        std=float(per.std()),
        interval=interval,
        per_supersample=per,
        information=information,
        null_mean=float(null.mean()),
        null_value=value(null, every),
        of="population risk" if risk else "expected gap",
        gap=float((rates[:, 1] - rates[:, 0]).mean()),
        m=m,
    )


def _value(id: str, n: int, m: int, train: np.ndarray, zero_one: bool) -> Callable[..., float]:
    """(information [K, U], the supersamples it is of) -> the bound.

    Corrected informations may be below 0 or above m ln 2: then the one under a root is moved to there, the one that is
    averaged only if its mean is.
    """

    def of(information: np.ndarray, rows: slice | np.ndarray) -> float:
        if id in ("kl", "interp"):
            mean = float(np.clip(information.mean(), 0, np.log(2)))
            if id == "interp":
                return formula(id, mean, n=n, zero_one=zero_one)
            return formula(id, mean, n=n, train_risk=float(train[rows].mean()))
        information = np.clip(information, 0, m * np.log(2))
        return formula(id, information[0] if id == "ld_flat" else information, n=n, m=m)

    return of


def _interval(values: np.ndarray, statistic: Callable[[np.ndarray], float] | None = None) -> tuple[float, float] | None:
    """Percentiles of bootstrap means over supersamples; ``None`` of too few."""
    if len(values) < FEWEST:
        return None
    draws = np.random.Generator(np.random.Philox(key=0)).integers(len(values), size=(RESAMPLES, len(values)))
    means = values[draws].mean(1) if statistic is None else np.array([statistic(rows) for rows in draws])
    low, high = np.quantile(means, TAILS)
    return float(low), float(high)


def _independence(supersamples: Sequence[Runs], have_labels: bool, num_classes: int) -> float:
    """Share of permutations of the masks, within their blocks, whose total information reaches what was found.

    Permuted whole, the masks keep their design, and where predictions don't depend on them every order is as likely.
    """
    counted = [_counted("fcmi" if have_labels else "ecmi", runs, num_classes, 1) for runs in supersamples]
    found = sum(float(each.information("none").sum()) for each in counted)
    generator = np.random.Generator(np.random.Philox(key=1))
    reached = 0
    for _ in range(PERMUTATIONS):
        total = 0.0
        for runs, each in zip(supersamples, counted, strict=True):
            order = np.lexsort((generator.random(len(runs.bits)), runs.blocks))
            total += float(plugin_mi(each.states, each.bits[order], each.num_states).sum())
        reached += total >= found * (1 - 1e-12)
    return (1 + reached) / (1 + PERMUTATIONS)


def _warnings(
    found: dict[str, BoundEstimate],
    supersamples: Sequence[Runs],
    design: str,
    correction: str,
    m: int,
    num_classes: int,
) -> list[str]:
    said = []
    if design == "iid":
        said.append("iid masks: the plug-in information may be below the true one in expectation.")
    if m > 1:
        said.append(f"m = {m}: the plug-in's one-sidedness holds for single pairs alone; here it may be too low.")
    if correction != "none":
        said.append(f"The correction {correction} lessens the bias; the plug-in's one-sidedness is lost with it.")
    gaps = [each.id for each in found.values() if each.of == "expected gap"]
    if gaps:
        said.append(
            f"{', '.join(gaps)} {NOT_THIS_RUN}." if len(gaps) == 1 else f"{', '.join(gaps)}: each {NOT_THIS_RUN}."
        )
    if any(each.of == "population risk" for each in found.values()):
        said.append("kl and interp bound the risk on the population, test error, not the gap.")
    if len(supersamples) >= FEWEST:
        said.append(
            "Intervals: 95 % of bootstrap means over supersamples. These overlap in one pool, so the spread is "
            "understated."
        )
    biased = [
        f"{each.null_mean / float(each.information.mean()):.0%} ({each.id})"
        for each in found.values()
        if each.null_mean > MOSTLY * float(each.information.mean()) > 0
    ]
    if biased:
        said.append(
            f"Chance alone gives {', '.join(biased)} of this information: there are too few runs of each supersample "
            "to tell more. Plan a larger K2."
        )
    below = [each.id for each in found.values() if each.of == "expected gap" and each.value < abs(each.gap)]
    if below:
        said.append(f"{', '.join(below)} came out below the size of the gap that was seen: a sign of too few runs.")
    if m > 1:
        runs = min(len(each.bits) for each in supersamples)
        most = max(_counted(id, each, num_classes, m).most_states() for id in found for each in supersamples)
        if runs < CROWDED * most:
            said.append(
                f"{runs} runs meet up to {most} states of {m} pairs: below {CROWDED} runs a state the plug-in "
                "information is mostly bias."
            )
    return said
