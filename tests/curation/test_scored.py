"""Scores find their samples, from a run or from memory, and say what is missing."""

import re

import numpy as np
import pytest
import torch

from infotorch import store
from infotorch.curation.scored import scored
from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.table import Scores
from tests.curation.doubles import NAMES, column, kept, noisy, samples, scores


def test_a_run_and_memory_say_the_same(tmp_path):
    table, known, _ = noisy()
    path = kept(tmp_path / "a", table, known)
    truth = scored("test", table, known, extra="source")
    for source in (path, str(path), store.open(path)):
        found = scored("test", source, extra="source")
        assert found.ids == truth.ids == known.ids and found.label_names == NAMES
        assert found.labels == truth.labels == known.y.tolist()
        assert found.extra == truth.extra == known.metadata["source"].tolist()
        assert found.scores["own_residual"].values.tobytes() == table["own_residual"].values.tobytes()


def test_scores_of_some_samples_take_theirs():
    _, known, _ = noisy()
    some = Scores(index=np.array([3, 50]), columns={"a": column([1.0, 2.0])})
    found = scored("test", some, known)
    assert found.ids == ("s3", "s50") and found.labels == known.y[[3, 50]].tolist()


def test_samples_may_be_whatever_score_takes():
    x, y = torch.zeros(2, 1), torch.tensor([1, 0])
    found = scored("test", scores(a=[1.0, 2.0]), (x, y))
    assert found.ids == ("0", "1") and found.labels == [1, 0]


def test_columns_are_found_by_name_by_stem_and_by_default():
    found = scored("test", scores(a=[1.0], b_steps_1=[1.0], b_steps_20=[1.0], b_steps_20_stderr=[0.0]), samples([0]))
    assert [found.column(by) for by in (None, "a", "b", "b_steps_1")] == ["a", "a", "b_steps_20", "b_steps_1"]
    means = scored("test", scores(a_steps_2=[1.0], a_steps_2_stderr=[0.0], a_steps_2_change=[2.0]), samples([0]))
    assert [means.column(by) for by in ("a", "a_steps_2_change")] == ["a_steps_2", "a_steps_2_change"]
    both = scored("test", scores(a=[1.0], own_residual_time_1=[1.0], own_residual_time_2=[1.0]), samples([0]))
    assert both.column(None) == "own_residual_time_2"


@pytest.mark.parametrize("by", ["own_residaul", "suggested_label", "several", "own_residual_stderr"])
def test_what_is_no_score_of_one_number_is_refused(by):
    table = scores(own_residual=[1.0], suggested_label=[1], several=[[1.0, 2.0]], own_residual_stderr=[0.1])
    with pytest.raises(ConfigError, match=re.escape(f"test: by must be one of 'own_residual'; got '{by}'.")):
        scored("test", table, samples([0])).column(by)


def test_suggestions_are_of_the_scores_time():
    table = scores(own_residual_steps_1=[1.0], own_residual_steps_9=[1.0], suggested_label_steps_1=[3],
                   suggested_label_steps_9=[4], el2n=[1.0], predicted_label=[5])  # fmt: skip
    found = scored("test", table, samples([0]))
    assert [found.suggested(by).item() for by in ("own_residual_steps_1", "own_residual_steps_9", "el2n")] == [3, 4, 4]
    assert scored("test", scores(el2n=[1.0], predicted_label=[5]), samples([0])).suggested("el2n").tolist() == [5]
    assert scored("test", scores(el2n=[1.0]), samples([0])).suggested("el2n") is None


def test_whole_numbers_are_classes_whatever_their_dtype():
    assert scored("test", scores(a=[1.0, 2.0]), samples([1.0, 0.0])).classes().tolist() == [1, 0]
    with pytest.raises(DataError, match=r"test: labels must be one class a sample; got 0\.5 for sample 1\. Targets of"):
        scored("test", scores(a=[1.0, 2.0]), samples([1.0, 0.5])).classes()
    soft = scored("test", scores(a=[1.0]), samples([[0.5, 0.5]]))
    with pytest.raises(DataError, match=re.escape("labels must be one class a sample; got [0.5, 0.5] for sample 0")):
        soft.classes()
    with pytest.raises(DataError, match=r"labels must be one number a sample; got 2 for sample 0. Group by a metadata"):
        soft.named_labels()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_zeros_and_ones_are_classes_in_one_column_too(dtype, tmp_path):
    table, known = scores(a=[1.0, 2.0, 3.0]), samples(torch.tensor([[1], [0], [1]], dtype=dtype), label_names=NAMES[:2])
    found = scored("test", table, known)
    assert found.classes().tolist() == [1, 0, 1] and found.classes().dtype == np.int64
    assert found.named_labels() == ["dog", "cat", "dog"]
    assert scored("test", kept(tmp_path / "a", table, known)).classes().tolist() == [1, 0, 1]
    for wrong in ([[0.0], [0.5]], [[0.0], [2.0]]):
        with pytest.raises(DataError, match="labels must be one class a sample; got"):
            scored("test", scores(a=[1.0, 2.0]), samples(wrong)).classes()


def test_what_is_missing_is_named(tmp_path):
    table, known, _ = noisy()
    path = kept(tmp_path / "a", table, known)
    with pytest.raises(ConfigError, match=r"'label', 'source', 'size', 'even'; got 'sorce'. Did you mean 'source'"):
        scored("test", path, extra="sorce")
    with pytest.raises(ConfigError, match=r"'label', 'source', 'size', 'even'; got 'image'"):
        scored("test", path, extra="image")
    with pytest.raises(ConfigError, match=r"test: per must be one of .*; got 'sorce'. Did you mean 'source'"):
        scored("test", table, known, extra="sorce")
    with pytest.raises(ConfigError, match=r"test: a run has its own samples; got samples beside it. Leave them out"):
        scored("test", path, known)
    with pytest.raises(ConfigError, match=r"test: scores must be a run, its folder, or Scores; got dict"):
        scored("test", {})
    with pytest.raises(DataError, match=r"test: scores need the samples that they are of; got none"):
        scored("test", table)
    with pytest.raises(DataError, match=r"samples must be those that were scored; got 1 for a score of sample 59"):
        scored("test", table, samples([0]))
    with pytest.raises(DataError, match=r"test: there must be at least one sample; got none"):
        scored("test", table.rows(0, 0), known)


def test_runs_that_are_not_whole_are_refused(tmp_path):
    table, known, _ = noisy()
    with pytest.raises(StoreError, match=r"must be finished; got no scores for rows"):
        scored("test", kept(tmp_path / "a", table, known, finish=False))
    with pytest.raises(StoreError, match=r"must be a run; got no such folder"):
        scored("test", tmp_path / "none")


def test_a_run_without_samples_has_no_labels(tmp_path):
    table, _, _ = noisy()
    with store.create(tmp_path / "a", command={}, num_rows=60) as run:
        run.append(0, table)
        run.finish()
    found = scored("test", tmp_path / "a")
    assert found.ids[:2] == ("0", "1")
    with pytest.raises(DataError, match=r"test: samples must have labels; got none in this run"):
        found.classes()
    with pytest.raises(ConfigError, match=r"test: per must be one of 'label'; got 'source'"):
        scored("test", tmp_path / "a", extra="source")
