"""Bounds kept as a run."""

import numpy as np
import pytest

from infotorch import bounds, store
from infotorch.errors import ConfigError, StoreError
from infotorch.pipeline import keep_bounds
from tests.bounds.small_grids import made, nearest, threshold_pool


def experiment(**options):
    x, y = threshold_pool()
    return bounds.Experiment(labels=y, train_fn=nearest(x, y), items=x[:, None], **options)


def test_scores_notes_and_samples_are_kept(tmp_path):
    grids = [made(tmp_path / "big", n=14), made(tmp_path / "small", n=6)]
    ids = [f"item {place}" for place in range(60)]
    run = keep_bounds(
        grids, tmp_path / "run", bounds=["fcmi", "kl"],
        experiment=experiment(ids=ids, label_names=["low", "high"], images=np.zeros((60, 8, 8), np.uint8)),
    )  # fmt: skip
    big = bounds.example_scores(grids[0])
    scores, samples = run.scores(), run.samples().to_pydict()
    assert scores.main == "membership_information"
    np.testing.assert_array_equal(scores.values, big.values)
    assert samples["id"] == [ids[place] for place in big.index]
    assert samples["label_name"] == [("low", "high")[label] for label in grids[0].labels[big.index]]
    assert (samples["height"][0], samples["channels"][0]) == (8, 1)
    note = run.notes()["bounds"]
    assert [each["n"] for each in note["series"]] == [6, 14]
    assert note["series"][1]["report"] == bounds.estimate(grids[0], bounds=["fcmi", "kl"]).as_dict()
    pair = bounds.membership_pairs(grids[0], 1)[0]
    assert note["pairs"][0]["ids"] == [ids[item] for item in pair.items]
    assert note["pairs"][0]["information"] == pair.information
    assert "estimate" in run.notes()["finding"]["text"]
    assert [figure["kind"] for figure in run.notes()["figures"]] == ["estimate", "estimate", "diagnostic", "diagnostic"]


def test_texts_and_checkpoints_are_kept(tmp_path):
    x, y = threshold_pool()

    def train_fn(train, seed, extra):
        predict = nearest(x, y)(train, seed, extra)
        return lambda indices: np.stack([predict(indices)] * 2)

    grid = made(tmp_path / "grid", train_fn=train_fn, checkpoints=[1, 2])
    texts = [f"text {place}" for place in range(60)]
    what = bounds.Experiment(labels=y, train_fn=train_fn, items=texts)
    run = keep_bounds([grid], tmp_path / "run", experiment=what)
    assert [each["checkpoint"] for each in run.notes()["bounds"]["series"]] == [1, 2]
    assert run.samples().to_pydict()["text"] == [texts[place] for place in bounds.example_scores(grid).index]


def test_the_same_call_on_the_same_folder_reads_it(tmp_path):
    grid = made(tmp_path / "grid")
    first = keep_bounds([grid], tmp_path / "run")
    files = {path: path.read_bytes() for path in tmp_path.glob("run/**/*") if path.is_file()}
    assert keep_bounds([grid], tmp_path / "run").manifest == first.manifest
    assert {path: path.read_bytes() for path in files} == files
    with pytest.raises(StoreError):
        keep_bounds([grid], tmp_path / "run", bounds=["ld"])
    assert store.open(tmp_path / "run").finished


def test_grids_of_two_pools_are_refused(tmp_path):
    grid = made(tmp_path / "one")
    other = made(tmp_path / "other", labels=1 - threshold_pool()[1])
    with pytest.raises(ConfigError, match="grids must be runs over one pool; got 2 of different labels"):
        keep_bounds([grid, other], tmp_path / "run")
    with pytest.raises(ConfigError, match="grids must be runs over one pool; got 0"):
        keep_bounds([], tmp_path / "run")


def test_losses_alone_are_kept_without_pairs(tmp_path):
    grid = made(tmp_path / "grid", train_fn=lambda train, seed, extra: lambda indices: np.sin(indices) ** 2)
    run = keep_bounds([grid], tmp_path / "run", bounds=["ecmi"])
    assert run.notes()["bounds"]["pairs"] == []
    assert [*run.scores().columns] == ["membership_information", "memorization"]
