"""Grids are trained whole, in shares, again and anew, and bad input is refused or told of."""

import concurrent.futures as futures
import contextlib
import errno
import os
import warnings

import numpy as np
import pytest
import torch

from infotorch import bounds
from infotorch.bounds.ensembles.mlp_ensemble import mlp_ensemble
from infotorch.bounds.grids.grid import read_grid
from infotorch.bounds.learners.torch_learner import torch_learner
from infotorch.bounds.runs.collect import RunError
from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.store.files import locked
from tests.bounds.small_grids import made, nearest, threshold_pool

X, Y = threshold_pool()


def files(folder):
    """Every cell's arrays by its path."""
    found = {}
    for path in sorted(folder.glob("cells/*/*.npz")):
        with np.load(path) as file:
            names = set(file.files) - {"seconds", "versions"}
            found[path.relative_to(folder)] = {name: (file[name].dtype, file[name].tobytes()) for name in names}
    return found


def counted(calls):
    def train_fn(train, seed, extra):
        calls.append((extra.k1, extra.k2))
        return nearest(X, Y)(train, seed, extra)

    return train_fn


def test_every_cell_is_what_its_learner_said(tmp_path):
    grid = made(tmp_path)
    for k1 in range(2):
        for k2 in range(8):
            train = grid.plan.train_indices(k1, k2)
            pairs = grid.plan.supersamples[k1]
            expected = nearest(X, Y)(train, 0, None)(pairs.reshape(-1)).reshape(-1, 2)
            assert (grid.read(k1, k2).labels[0] == expected).all()
    assert len(files(tmp_path)) == 16 and read_grid(tmp_path).digest == grid.digest


def test_only_what_is_missing_is_trained(tmp_path):
    calls = []
    made(tmp_path, train_fn=counted(calls))
    whole, report = files(tmp_path), str(bounds.estimate(tmp_path))
    assert len(calls) == 16
    for k1, k2 in ((0, 3), (1, 7)):
        read_grid(tmp_path).cell_path(k1, k2).unlink()
    made(tmp_path, train_fn=counted(calls))
    assert sorted(calls[16:]) == [(0, 3), (1, 7)]
    for workers in (1, 2, None):  # nothing to do needs no process
        made(tmp_path, train_fn=counted(calls), workers=workers)
    assert len(calls) == 18 and files(tmp_path) == whole and str(bounds.estimate(tmp_path)) == report


def test_a_grid_that_another_learner_finished_says_so_and_one_of_the_same_does_not(tmp_path):
    def flipped(train, seed, extra):
        return lambda indices: 1 - nearest(X, Y)(train, seed, extra)(indices)

    def said():
        return bounds.estimate(tmp_path).mixed or ""

    def finished(**options):
        read_grid(tmp_path).cell_path(0, 3).unlink(missing_ok=True)
        made(tmp_path, **options)
        told = "made by different versions or learners" in said()
        assert told == ("made by different" in " ".join(str(bounds.estimate(tmp_path)).split()))
        return told

    made(tmp_path)
    assert not finished() and not finished(train_fn=nearest(X, Y))
    with pytest.warns(UserWarning, match="made by another learner, or with other versions or threads: torch"):
        assert finished(train_fn=flipped)
    assert said().count(", threads 1") == 2
    assert finished(threads=2) and "threads 2" in said()
    assert finished(ensemble=ensemble_of([]), ensemble_size=4) and "threads 1, ensemble_size 4" in said()


def test_shares_together_are_one_run(tmp_path):
    calls = []
    for shard in ((2, 2), (1, 2)):  # in any order
        made(tmp_path / "shares", shard=shard, probe=True, train_fn=counted(calls))
    made(tmp_path / "whole", probe=True)
    assert len(calls) == 16 + 2 and files(tmp_path / "shares") == files(tmp_path / "whole")
    assert str(bounds.estimate(tmp_path / "shares")) == str(bounds.estimate(tmp_path / "whole"))


def test_two_runs_at_once_of_one_share_are_refused_and_of_two_are_not(tmp_path):
    made(tmp_path, shard=(1, 2))
    with locked(tmp_path / "shards" / "1-of-2"):
        with pytest.raises(StoreError, match=r"a run has one writer at a time; got .*1-of-2, which another process"):
            made(tmp_path, shard=(1, 2))
        made(tmp_path, shard=(2, 2))
    assert read_grid(tmp_path).done().all()


def ensemble_of(sizes):
    def ensemble(cells, indices, checkpoints=()):
        sizes.append(len(cells))
        return np.stack([nearest(X, Y)(train, seed, None)(indices) for train, seed in cells])

    return ensemble


def test_an_ensemble_trains_the_same_groups_whatever_is_missing(tmp_path):
    sizes = []
    made(tmp_path, ensemble=ensemble_of(sizes), ensemble_size=3)
    assert sizes == [3, 3, 2, 3, 3, 2]
    made(tmp_path / "alone")
    whole = files(tmp_path)
    assert whole == files(tmp_path / "alone")
    read_grid(tmp_path).cell_path(0, 7).unlink()
    made(tmp_path, ensemble=ensemble_of(sizes), ensemble_size=3)
    assert sizes[6:] == [2] and files(tmp_path) == whole
    made(tmp_path / "default", ensemble=ensemble_of(sizes))
    assert sizes[7:] == [8, 8]


@pytest.mark.parametrize("masks", ["balanced", "iid"])
def test_an_extended_plan_trains_what_it_has_more(tmp_path, masks):
    calls = []
    made(tmp_path / "a", masks=masks, train_fn=counted(calls), probe=True)
    less, before = bounds.estimate(tmp_path / "a"), files(tmp_path / "a")
    assert len(calls) == 16 + 2
    made(tmp_path / "a", K1=3, K2=12, masks=masks, train_fn=counted(calls), probe=True)
    assert len(calls) == 36 + 2 and set(calls[18:]).isdisjoint(calls[:18])
    made(tmp_path / "b", K1=3, K2=12, masks=masks, probe=True)
    assert files(tmp_path / "a") == files(tmp_path / "b") and before.items() <= files(tmp_path / "a").items()
    assert str(bounds.estimate(tmp_path / "a")) == str(bounds.estimate(tmp_path / "b"))
    again = bounds.estimate(made(tmp_path / "a", masks=masks, train_fn=counted(calls)))
    assert len(calls) == 38 and again["fcmi"].value == less["fcmi"].value
    assert again.warnings == ("20 runs in the folder are beyond this plan and don't count here.", *less.warnings)


def test_an_ensemble_extends_a_plan_by_groups_of_the_size_that_they_had(tmp_path):
    sizes = []
    made(tmp_path / "a", K1=1, K2=4, ensemble=ensemble_of(sizes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that it was another learner
        made(tmp_path / "a", K1=2, K2=8, ensemble=ensemble_of(sizes))
    made(tmp_path / "b", K1=2, K2=8, ensemble=ensemble_of([]), ensemble_size=4)
    assert sizes == [4, 4, 4, 4] and files(tmp_path / "a") == files(tmp_path / "b")
    assert bounds.estimate(tmp_path / "a").mixed is None
    made(tmp_path / "c", K1=1, K2=4)
    made(tmp_path / "c", K1=1, K2=8, ensemble=ensemble_of(sizes))
    assert sizes[4:] == [8]


def test_checkpoints_are_kept_and_estimated_one_by_one(tmp_path):
    def train_fn(train, seed, extra):
        predict = nearest(X, Y)(train, seed, extra)
        return lambda indices: np.stack([np.zeros_like(indices), predict(indices)][: len(extra.checkpoints)])

    made(tmp_path / "marks", train_fn=train_fn, checkpoints=[2, 5])
    made(tmp_path / "plain")
    last, plain = (bounds.estimate(tmp_path / name)["fcmi"] for name in ("marks", "plain"))
    assert last.value == plain.value > bounds.estimate(tmp_path / "marks", checkpoint=2)["fcmi"].value == 0


def test_losses_and_both(tmp_path):
    def losses(train, seed, extra):
        predict = nearest(X, Y)(train, seed, extra)
        return lambda indices: (predict(indices) != Y[indices]).astype(float)

    def both(train, seed, extra):
        return lambda indices: (nearest(X, Y)(train, seed, extra)(indices), losses(train, seed, extra)(indices))

    values = []
    told = pytest.warns(UserWarning, match=r"came in float64, all of them 0 or 1, and are read as losses\. Where they")
    silent = contextlib.nullcontext()
    for name, train_fn, said in (("labels", None, silent), ("losses", losses, told), ("both", both, silent)):
        with said as found:
            made(tmp_path / name, train_fn=train_fn)
        assert found is None or len(found) == 1
        values.append(bounds.estimate(tmp_path / name, bounds=["ecmi"])["ecmi"].value)
    assert values[0] == pytest.approx(values[1], abs=1e-12) and values[1] == values[2] > 0
    with pytest.raises(ConfigError, match="fcmi must have predicted labels; got runs that kept losses"):
        bounds.estimate(tmp_path / "losses")
    notes = [bounds.estimate(tmp_path / name, bounds=["ecmi"]).warnings[0] for name in ("losses", "both")]
    assert notes[0].endswith("were they labels, nothing here holds.") and "labels" not in notes[1]


def test_a_network_is_run_in_whole(tmp_path):
    """Of the real learner: its own inputs are looked through, and it follows seed and indices."""
    x = torch.randn(60, 20, generator=torch.Generator().manual_seed(0))
    one = torch_learner(
        lambda: torch.nn.Linear(20, 2),
        x,
        Y,
        epochs=10,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(tmp_path / "a", train_fn=one, probe=True)
    made(tmp_path / "b", train_fn=one)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    twice = torch_learner(one.network, torch.zeros(60, 20), Y, epochs=1)
    with pytest.warns(UserWarning, match="items of supersample 0 come more than once"):
        made(tmp_path / "c", train_fn=twice)
    with pytest.warns(UserWarning, match="come more than once"):
        made(tmp_path / "d", items=["a", "b"] * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(tmp_path / "d", items=["a", "b"] * 30)  # nothing is missing


def test_only_ready_learners_are_asked_for_their_inputs(tmp_path):
    class Own:
        x = np.zeros(3)

        def __call__(self, train, seed, extra):
            return nearest(X, Y)(train, seed, extra)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(tmp_path / "own", train_fn=Own())
    twice = mlp_ensemble(torch.zeros(60, 3), Y, hidden=2, num_classes=2, lr=0.1, batch_size=4, epochs=1)
    with pytest.warns(UserWarning, match="come more than once"):
        made(tmp_path / "ensemble", K1=1, K2=2, block=2, ensemble=twice)


def test_progress_tells_what_is_done_and_the_estimate(tmp_path):
    told = []
    made(tmp_path, progress=lambda *args: told.append(args))
    assert [done for _, done, _, _ in told] == list(range(1, 17))
    assert {(stage, total) for stage, _, total, _ in told} == {("training runs", 16)}
    read_grid(tmp_path).cell_path(0, 0).unlink()
    made(tmp_path, progress=lambda *args: told.append(args))
    assert told[16][1:3] == (16, 16)


def test_a_broken_learner_is_tried_on_every_cell_and_all_are_named(tmp_path):
    calls = []

    def train_fn(train, seed, extra):
        calls.append(extra.k2)
        if len(calls) < 8 or extra.k2 == 7:
            raise FileNotFoundError("weights.bin")
        return nearest(X, Y)(train, seed, extra)

    with pytest.raises(RunError, match=r"\(k1=0, k2=7\): FileNotFoundError: weights\.bin \(tried 2 times\)\."):
        made(tmp_path, K1=1, K2=8, train_fn=train_fn)
    assert len(calls) == 16


def test_one_cell_that_raises_is_named_and_the_others_are_there(tmp_path):
    def train_fn(train, seed, extra):
        if (extra.k1, extra.k2) == (1, 5):
            raise ValueError("singular matrix")
        return nearest(X, Y)(train, seed, extra)

    with pytest.raises(
        RunError,
        match=r"1 that failed each time: \(k1=1, k2=5\): ValueError: singular matrix \(tried 2 times\)",
    ):
        made(tmp_path, train_fn=train_fn)
    with pytest.raises(
        StoreError, match=r"every block of 4 runs must be whole .*; got 1 of 16 missing: \(k1=1, k2=5\)\."
    ):
        bounds.estimate(tmp_path)
    assert "iid masks" in str(bounds.estimate(tmp_path, allow_partial=True))


def test_a_full_disk_ends_the_run_and_it_goes_on_later(tmp_path, monkeypatch):
    fsync, count = os.fsync, []

    def full(handle):
        count.append(handle)
        if len(count) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        StoreError, match=r"\.npz must be written; got 'no space left on device' from the system\. Make"
    ):
        made(tmp_path)
    monkeypatch.undo()
    assert 0 < read_grid(tmp_path).done().sum() < 16
    made(tmp_path)
    made(tmp_path / "whole")
    assert str(bounds.estimate(tmp_path)) == str(bounds.estimate(tmp_path / "whole"))


def test_a_cell_edited_by_hand_is_not_estimated_from(tmp_path):
    grid = made(tmp_path)
    path = grid.cell_path(1, 2)
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    np.savez(path, **(content | {"labels": 1 - content["labels"]}))
    with pytest.raises(StoreError, match=r"k1=1/k2=2\.npz must be as it was written.*Delete it and call run again"):
        bounds.estimate(tmp_path)
    path.unlink()
    made(tmp_path)
    assert bounds.estimate(tmp_path)["fcmi"].value > 0


def test_interrupts_end_a_run(tmp_path):
    def train_fn(train, seed, extra):
        if extra.k2 == 3:
            raise KeyboardInterrupt
        return nearest(X, Y)(train, seed, extra)

    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, train_fn=train_fn)
    made(tmp_path)
    assert read_grid(tmp_path).done().all()


def pool():
    return futures.ThreadPoolExecutor(1)


REFUSED = {
    "few labels": ({"labels": Y[1:]}, DataError, r"labels must be \[60\], one for each item of the pool; got \[59\]"),
    "float labels": ({"labels": Y * 1.0}, DataError, r"labels must be whole numbers; got float64\. Number the classes"),
    "negative": ({"labels": Y - 1}, DataError, r"labels must be from 0; got -1 at item \d+\."),
    "outside": ({"labels": Y * 2, "num_classes": 2}, DataError, r"labels must be from 0 to 1; got 2 at item"),
    "one class": ({"labels": Y * 0}, ConfigError, r"num_classes must be from 2 to 46340; got 1\. Pass labels of two"),
    "classes": ({"num_classes": 50_000}, ConfigError, r"num_classes must be from 2 to 46340; got 50000"),
    "checkpoints": ({"checkpoints": [3, 2]}, ConfigError, r"increasing order, from 1; got \[3, 2\]\. Sort them"),
    "zero": ({"checkpoints": [0]}, ConfigError, r"increasing order, from 1; got \[0\]"),
    "shard": ({"shard": (3, 2)}, ConfigError, r"shard must be \(i, N\) with i from 1 to N; got \(3, 2\)"),
    "shards": ({"shard": (1, 17)}, ConfigError, r"with N at most 16, what there is to share: .*; got \(1, 17\)"),
    "groups": (
        {"shard": (1, 7), "ensemble": len, "ensemble_size": 3}, ConfigError, r"N at most 6, .*; got \(1, 7\)\. Take",
    ),
    "workers": ({"workers": 0}, ConfigError, r"workers must be a whole number of at least 1; got 0"),
    "threads": ({"threads": 1.5}, ConfigError, r"threads must be a whole number of at least 1; got 1\.5"),
    "retries": ({"retries": -1}, ConfigError, r"retries must be a whole number of at least 0; got -1"),
    "timeout": ({"timeout": 0.0}, ConfigError, r"timeout must be above 0 seconds; got 0\.0"),
    "two ways": ({"executor": pool(), "workers": 2}, ConfigError, r"workers must be left to the executor; got both"),
    "its time": (
        {"executor": pool(), "workers": None, "timeout": 1.0}, ConfigError, r"timeout must be left to the executor",
    ),
    "executor": ({"executor": 3, "workers": None}, ConfigError, r"concurrent\.futures\.Executor; got int\. Dask's"),
    "ensemble": ({"ensemble": 3}, ConfigError, r"ensemble must be a function; got int"),
    "learner": ({"train_fn": "svm"}, ConfigError, r"train_fn must be a function; got str\. Pass train_fn, or"),
    "items": ({"items": X[1:]}, DataError, r"items must be those of the pool, 60; got 59"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name, tmp_path):
    options, error, text = REFUSED[name]
    with pytest.raises(error, match=f"^run: .*{text}"):
        made(tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (lambda indices: X[indices] * 5, r"predictions in floating point are losses, which must be from 0 to 1"),
        (lambda indices: indices, r"predicted labels must be from 0 to 1; got \d+"),
        (lambda indices: Y[indices][1:], r"predictions must be \[24\], one for each index asked for; got \[23\]"),
    ],
)
def test_predictions_that_are_none_are_refused_with_their_cell(said, text, tmp_path):
    with pytest.raises(DataError, match=rf"{text}.* This was cell \(k1=0, k2=0\), and 15 more are such\."):
        made(tmp_path, train_fn=lambda train, seed, extra: said)


def test_a_ready_learner_trains_on_the_labels_that_are_given(tmp_path):
    x, y = threshold_pool()
    learner = bounds.torch_learner(lambda: torch.nn.Linear(1, 2), x[:, None].astype("float32"), y, epochs=1)
    plan = bounds.plan(60, 12, 1, 4, block=4)
    other = y.copy()
    other[[3, 5]] = 1 - other[[3, 5]]
    with pytest.raises(DataError, match=r"labels must be those that the learner .* in 2 places, item 3 the first"):
        bounds.run(plan, learner, tmp_path, labels=other, workers=1)
