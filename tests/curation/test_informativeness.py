"""Means by group are those of a plain loop, and of pandas."""

import re

import numpy as np
import pytest

from infotorch.curation.informativeness import informativeness
from infotorch.errors import ConfigError, DataError
from infotorch.store import open as open_run
from tests.curation.doubles import NAMES, column, kept, noisy, samples, scores


@pytest.mark.parametrize("per", ["label", "source", "even"])
def test_groups_are_those_of_a_loop(per, tmp_path):
    table, known, _ = noisy()
    found = informativeness(kept(tmp_path / "a", table, known), per=per)
    given = [NAMES[label] for label in known.y] if per == "label" else known.metadata[per].tolist()
    values, suggested = table.values, table["suggested_label"].values
    truth = []
    for name in set(given):
        rows = [i for i in range(60) if given[i] == name]
        n, mean = len(rows), sum(values[i] for i in rows) / len(rows)
        variance = sum((values[i] - mean) ** 2 for i in rows) / (n - 1)
        middle = sorted(values[i] for i in rows)
        median = (middle[(n - 1) // 2] + middle[n // 2]) / 2
        wrong = sum(suggested[i] != known.y[i].item() for i in rows) / n
        truth.append((str(name), n, mean, (variance / n) ** 0.5, median, n * mean / sum(values), wrong))
    truth.sort(key=lambda row: -row[2])
    rows = found.table().to_pylist()
    assert [tuple(row) for row in rows] == len(rows) * [
        (per, "count", "mean", "stderr", "median", "share", "contradicted")
    ]
    for row, want in zip(rows, truth, strict=True):
        assert row[per] == want[0]
        np.testing.assert_allclose(list(row.values())[1:], want[1:], rtol=1e-12)
    assert found.by == "unique_information_weights" and found.unit == "nats" and not found.binned
    np.testing.assert_allclose(found.shares.sum(), 1)


def test_pandas_says_the_same():
    pandas = pytest.importorskip("pandas", reason="no pandas: it comes with the extra of this name")
    table, known, _ = noisy()
    found = informativeness(table, known, per="source", by="own_residual")
    truth = table.to_pandas()["own_residual"].groupby(pandas.Series(known.metadata["source"])).agg(["mean", "sem"])
    for name, mean, stderr in zip(found.names, found.means, found.stderrs, strict=True):
        np.testing.assert_allclose([mean, stderr], truth.loc[name], rtol=1e-12)


def test_many_numbers_are_fifths_in_their_order():
    table, known, _ = noisy()
    found = informativeness(table, known, per="size")
    assert found.binned and found.counts.tolist() == [12] * 5 and found.names[0].startswith("0 to ")


def test_a_group_of_one_has_no_standard_error(tmp_path):
    found = informativeness(scores(a=[2.0, 1.0, 3.0]), samples([0, 1, 1]))
    assert found.names == ("0", "1") and np.isnan(found.stderrs[0]) and found.stderrs[1] == 1
    assert found.table()["stderr"].to_pylist() == [None, 1.0]
    assert found.contradicted is None and found.shares.tolist() == [2 / 6, 4 / 6]
    assert found.write(tmp_path / "a.csv").read_text().splitlines()[1].startswith('"0",1,2,,2,0.3333')


@pytest.mark.parametrize("values", [[-1.0, 2.0], [0.0, 0.0], [1.0, np.inf]])
def test_scores_without_a_sum_to_share_have_no_shares(values):
    found = informativeness(scores(a=values), samples([0, 1]))
    assert found.shares is None and "share" not in found.table().column_names


def test_columns_that_are_not_there_are_named(tmp_path):
    table, known, _ = noisy()
    path = kept(tmp_path / "a", table, known)
    with pytest.raises(ConfigError, match=r"informativeness: per must be .* got 'sorce'\. Did you mean 'source'\?"):
        informativeness(open_run(path), per="sorce")
    with pytest.raises(ConfigError, match=r"by must be one of .*; got 'unique_information_weigths'\. Did you mean"):
        informativeness(path, by="unique_information_weigths")


def test_soft_targets_are_no_groups():
    known = samples([[0.5, 0.5], [1.0, 0.0]], metadata={"kind": np.array(["a", "b"])})
    with pytest.raises(DataError, match=re.escape("labels must be one number a sample; got 2 for sample 0.")):
        informativeness(scores(a=column([1.0, 2.0])), known)
    assert informativeness(scores(a=[1.0, 2.0]), known, per="kind").names == ("b", "a")
