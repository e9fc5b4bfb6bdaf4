"""Scores along checkpoints: changes, rank correlations and means, by hand and against SciPy."""

import itertools

import numpy as np
import pytest

from infotorch import Trajectory
from infotorch.errors import ConfigError, ShapeError
from infotorch.table import Column, Scores

VALUES = np.array([[1.0, 5.0, 2.0, 3.0], [2.0, 5.0, 1.0, 3.0], [4.0, 3.0, 1.5, 3.0]])  # [T, N]


def made(values=VALUES, index=None, **more):
    tables = []
    for row, others in zip(values, zip(*more.values(), strict=True) if more else [()] * len(values), strict=True):
        columns = {"loss": Column(values=row, unit="nats", source="the task's loss", kind="diagnostic")}
        columns |= {n: Column(values=v, unit="1", source="") for n, v in zip(more, others, strict=True)}
        tables.append(Scores(index=np.arange(len(row)) if index is None else index, columns=columns))
    return Trajectory(names=tuple(f"step-{t}" for t in range(len(tables))), tables=tuple(tables))


def test_changes_are_last_minus_first_and_ordered_by_size():
    found = made()
    assert found.change().tolist() == [3.0, -2.0, -0.5, 0.0]
    assert found.rising(9).tolist() == [0] and found.falling(9).tolist() == [1, 2] and found.falling(1).tolist() == [1]
    assert found.main == "loss" and found.columns == ("loss",) and len(found) == 3
    np.testing.assert_array_equal(found["loss"], VALUES)


def test_rank_correlations_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats", reason="no SciPy: it comes with the dev extra")
    values = np.random.default_rng(0).normal(size=(4, 30)).round(1)
    want = [stats.spearmanr(a, b).statistic for a, b in itertools.pairwise(values)]
    np.testing.assert_allclose(made(values).rank_correlation(), want)
    assert made(np.array([[1.0, 1.0], [1.0, 2.0]])).rank_correlation() == [None]


def test_means_have_standard_errors_and_changes_beside_them():
    scores = made(
        reliable=[np.array([True, True, False, True])] * 2 + [np.array([True, False, True, True])],
        suggested_label=[np.arange(4)] * 3,
        loss_stderr=[np.ones(4)] * 3,
    ).to_scores()
    assert list(scores.columns) == ["loss", "loss_stderr", "loss_change", "reliable"] and scores.main == "loss"
    np.testing.assert_allclose(scores["loss"].values, [7 / 3, 13 / 3, 1.5, 3])
    np.testing.assert_allclose(scores["loss_stderr"].values[0], np.sqrt(((1 - 7 / 3) ** 2 + 1 / 9 + 25 / 9) / 2 / 3))
    np.testing.assert_allclose(scores["loss_change"].values, [3.0, -2.0, -0.5, 0.0])
    assert scores["reliable"].values.tolist() == [True, False, False, True]
    assert (scores["loss"].unit, scores["loss"].kind) == ("nats", "diagnostic")


def test_the_summary_is_plain():
    summary = made().summary()
    assert summary["checkpoints"] == ["step-0", "step-1", "step-2"]
    assert summary["columns"]["loss"]["mean"] == VALUES.mean(1).tolist()
    assert len(summary["columns"]["loss"]["rank_correlation"]) == 2


def test_tables_of_other_samples_or_columns_are_refused():
    one, other = made(), made(index=np.array([0, 1, 2, 5]))
    for tables in ((one.tables[0], other.tables[0]), (one.tables[0], made(el2n=[np.ones(4)] * 3).tables[0])):
        with pytest.raises(ShapeError, match="must have the same samples and columns; got others at 'b'"):
            Trajectory(names=("a", "b"), tables=tables)
    with pytest.raises(ConfigError, match="at least two checkpoints, one table each; got 1 names and 1 tables"):
        Trajectory(names=("a",), tables=one.tables[:1])


def test_columns_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match=r"Trajectory: column must be one of 'loss'; got 'los'\. Did you mean 'loss'"):
        made().change("los")
    with pytest.raises(ConfigError, match="k must be at least 0; got -1"):
        made().rising(-1)
