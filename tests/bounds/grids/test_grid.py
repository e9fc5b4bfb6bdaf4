"""Cells are there whole or not at all, and what was altered, cut or exchanged is refused by name."""

import errno
import json
import os
import shutil

import numpy as np
import pytest

from infotorch import bounds
from infotorch.bounds.grids.grid import Cell, Grid, begin, read_grid, write_plan, writers_folder
from infotorch.errors import StoreError
from infotorch.store.files import locked
from tests.bounds.small_grids import made

N, C = 40, 3
PLAN = bounds.plan(N, 6, 2, 4, block=4, seed=1)
LABELS = np.arange(N) % C
RNG = np.random.default_rng(0)


def cell(T=1, losses=False):
    shape = (T, 6, 2)
    return Cell(
        labels=RNG.integers(0, C, shape), losses=RNG.random(shape).astype(np.float32) if losses else None,
        seconds=0.5, versions="torch 1",
    )  # fmt: skip


def opened(path, plan=PLAN, labels=LABELS, checkpoints=(), num_classes=C):
    own = writers_folder(path, "1-of-1")
    grid = begin(path, plan, labels=labels, num_classes=num_classes, checkpoints=checkpoints, temporary=own)
    return grid, own


def test_a_grid_is_shown_without_its_labels(tmp_path):
    grid, _ = opened(tmp_path)
    assert "labels=" not in repr(grid) and "num_classes=3" in repr(grid)


@pytest.mark.parametrize("checkpoints", [(), (2, 5)])
@pytest.mark.parametrize("losses", [False, True])
def test_a_cell_comes_back_as_it_went(tmp_path, checkpoints, losses):
    grid, own = opened(tmp_path, checkpoints=checkpoints)
    one = cell(len(checkpoints) or 1, losses)
    assert not grid.done().any()
    grid.write(1, 2, one, temporary=own)
    found = read_grid(tmp_path).read(1, 2)
    assert (found.labels == one.labels).all() and (found.seconds, found.versions) == (0.5, "torch 1")
    assert (found.losses == one.losses).all() if losses else found.losses is None
    assert np.argwhere(grid.done()).tolist() == [[1, 2]]
    with np.load(grid.cell_path(1, 2)) as file:
        assert file["labels"].dtype == np.int16 and file["labels"].shape == (*([2] if checkpoints else []), 6, 2)
        assert (file["mask"] == PLAN.masks[1, 2]).all() and file["seed"] == PLAN.run_seeds[1, 2]


def test_many_classes_have_room(tmp_path):
    grid, own = opened(tmp_path, num_classes=40_000)
    one = Cell(labels=np.full((1, 6, 2), 39_999), losses=None, seconds=0.0, versions="")
    grid.write(0, 0, one, temporary=own)
    assert (grid.read(0, 0).labels == 39_999).all()


def rewritten(path, **changes):
    """The cell with some of its arrays exchanged, as somebody would do it by hand."""
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    for name, value in changes.items():
        content[name] = value(content[name]) if callable(value) else value
    np.savez(path, **content)


ALTERED = {
    "a label": {"labels": lambda values: np.where(np.arange(12).reshape(6, 2) == 3, (values + 1) % C, values)},
    "a dtype": {"labels": lambda values: values.astype(np.int64)},
    "a shape": {"labels": lambda values: values[:5]},
    "losses": {"losses": np.zeros((6, 2), np.float32)},
    "the hash": {"digest": "0" * 64},
}


@pytest.mark.parametrize("name", ALTERED)
def test_a_cell_edited_by_hand_is_refused(tmp_path, name):
    grid, own = opened(tmp_path)
    grid.write(0, 3, cell(), temporary=own)
    rewritten(grid.cell_path(0, 3), **ALTERED[name])
    with pytest.raises(
        StoreError, match=r"k1=0/k2=3\.npz must be as it was written; got content of another hash\. Del"
    ):
        grid.read(0, 3)


def test_a_cell_of_another_place_or_mask_or_plan_is_refused(tmp_path):
    grid, own = opened(tmp_path / "a")
    other, other_own = opened(tmp_path / "b", plan=bounds.plan(N, 6, 2, 4, block=4, seed=2))
    grid.write(0, 0, cell(), temporary=own)
    other.write(0, 1, cell(), temporary=other_own)
    shutil.copy(grid.cell_path(0, 0), grid.cell_path(0, 2))
    shutil.copy(other.cell_path(0, 1), grid.cell_path(0, 1))
    for k2 in (1, 2):
        with pytest.raises(StoreError, match=rf"k2={k2}\.npz must be a cell of the plan beside it; got one of another"):
            grid.read(0, k2)
    rewritten(grid.cell_path(0, 0), mask=lambda mask: 1 - mask)
    with pytest.raises(StoreError, match="must be a cell of the plan beside it"):
        grid.read(0, 0)
    grid.write(1, 0, cell(), temporary=own)
    shutil.copy(grid.cell_path(1, 0), grid.cell_path(1, 1))
    rewritten(grid.cell_path(1, 1), mask=PLAN.masks[1, 1])
    with pytest.raises(StoreError, match="content of another hash"):
        grid.read(1, 1)


def test_no_damage_passes(tmp_path):
    """Cut anywhere, or with any byte changed, a cell is refused, or is the same all the same."""
    grid, own = opened(tmp_path)
    one = cell(losses=True)
    grid.write(0, 0, one, temporary=own)
    path = grid.cell_path(0, 0)
    whole = path.read_bytes()
    refused = 0
    cuts = [whole[:end] for end in range(0, len(whole), 199)]
    flips = [whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :] for place in range(0, len(whole), 11)]
    for data in (*cuts, *flips):
        path.write_bytes(data)
        try:
            found = grid.read(0, 0)
        except StoreError as error:
            refused += 1
            assert "k1=0/k2=0.npz must be" in str(error)
        else:
            assert (found.labels == one.labels).all() and (found.losses == one.losses).all()
    assert refused > len(cuts) + len(flips) // 3
    path.unlink()
    with pytest.raises(StoreError, match=r"k2=0\.npz must be there; got no such file"):
        grid.read(0, 0)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, number):
    grid, own = opened(tmp_path)

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"k2=1\.npz must be written; got '.*' from the system\. Make space"):
        grid.write(0, 1, cell(), temporary=own)
    monkeypatch.undo()
    assert not grid.done().any() and not list(own.iterdir())


def test_what_was_unfinished_is_swept(tmp_path):
    _, own = opened(tmp_path)
    (own / "0-0.tmp").write_bytes(b"half")
    opened(tmp_path)
    assert not list(own.iterdir())


def edited(path, **changes):
    file = path / "plan.json"
    head = json.loads(file.read_text())
    for name, value in changes.items():
        if name in head:
            head[name] = value
        else:
            head["plan" if name in head["plan"] else "pool"][name] = value
    file.write_text(json.dumps(head))


def test_a_plan_edited_by_hand_is_refused(tmp_path):
    made(tmp_path, K1=1, K2=4)
    edited(tmp_path, seed=3)
    with pytest.raises(StoreError, match=r"k2=0\.npz must be a cell of the plan beside it"):
        bounds.estimate(tmp_path)
    with pytest.raises(StoreError, match=r"must hold runs of the same plan and pool; got seed = 0, .* begun with 3"):
        made(tmp_path, K1=1, K2=4)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"K2": 7}, r"plan\.json must be as it was written; got what is no plan \(plan: K2 must be"),
        ({"plan": [1]}, r"what is no plan"),
        ({"plan": {"seed": 3}}, r"what is no plan"),
        ({"pool": {}}, r"what is no plan"),
        ({"pool": 3}, r"what is no plan"),
        ({"labels_sha256": "0"}, r"labels\.npy must be as it was written; got content of another hash"),
        ({"num_classes": "x"}, r"what is no plan"),
        ({"schema_version": 2}, r"must have schema_version 1; got 2\. Update infotorch"),
    ],
)
def test_a_damaged_plan_is_named(tmp_path, changes, text):
    opened(tmp_path)
    edited(tmp_path, **changes)
    with pytest.raises(StoreError, match=text):
        read_grid(tmp_path)


def test_damaged_files_are_named(tmp_path):
    opened(tmp_path)
    (tmp_path / "labels.npy").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"labels\.npy must be as it was written; got what is no array"):
        read_grid(tmp_path)
    np.save(tmp_path / "labels.npy", (LABELS + 1) % C)
    with pytest.raises(StoreError, match=r"labels\.npy .* got content of another hash"):
        opened(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(StoreError, match=r"plan\.json must be as it was written; got text that is no JSON"):
        read_grid(tmp_path)


CHANGED = {
    "labels": ({"labels": (LABELS + 1) % C}, "pool.labels_sha256"),
    "classes": ({"num_classes": 4}, "pool.num_classes = 4, where they were begun with 3"),
    "checkpoints": ({"checkpoints": (3,)}, "pool.checkpoints"),
    "plan": ({"plan": bounds.plan(N, 5, 2, 4, block=4, seed=1)}, "n = 5, where they were begun with 6"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_other_runs_are_kept_apart(tmp_path, name):
    changes, text = CHANGED[name]
    opened(tmp_path)
    with pytest.raises(StoreError, match=rf"must hold runs of the same plan and pool; got {text}.* Choose another"):
        opened(tmp_path, **changes)


def test_a_plan_written_first_is_run_later(tmp_path):
    planned = write_plan(tmp_path, PLAN)
    assert planned.labels is None and read_grid(tmp_path).plan == write_plan(tmp_path, PLAN).plan == PLAN
    with pytest.raises(StoreError, match="must have been run; got a plan alone"):
        _ = planned.pair_labels
    with pytest.raises(StoreError, match="same plan and pool; got seed = 4"):
        write_plan(tmp_path, bounds.plan(N, 6, 2, 4, block=4, seed=4))
    grid, _ = opened(tmp_path)
    assert (grid.pair_labels == LABELS[PLAN.supersamples]).all()
    assert isinstance(read_grid(tmp_path), Grid) and read_grid(tmp_path).digest == grid.digest != planned.digest


MORE, LESS, WIDE = (bounds.plan(N, 6, K1, K2, block=4, seed=1) for K1, K2 in ((3, 8), (1, 4), (1, 8)))


@pytest.mark.parametrize("extend", [lambda path, plan: opened(path, plan)[0], write_plan])
def test_cells_stay_when_a_plan_is_extended(tmp_path, extend):
    grid, own = opened(tmp_path)
    one = cell()
    grid.write(1, 3, one, temporary=own)
    for plan in (MORE, PLAN, MORE):
        now = extend(tmp_path, plan)
        assert now.plan == plan == read_grid(tmp_path).plan and now.num_beyond() == 0
        assert np.argwhere(now.done()).tolist() == [[1, 3]] and (now.read(1, 3).labels == one.labels).all()
    for plan in (LESS, WIDE):
        now = extend(tmp_path, plan)
        assert not now.done().any() and now.num_beyond() == 1
    assert extend(tmp_path, PLAN).done().sum() == 1


def test_a_plan_of_other_blocks_is_none_that_extends(tmp_path):
    opened(tmp_path)
    text = r"got block = 2, where they were begun with 4\. .*; K1 and K2 alone may be others"
    with pytest.raises(StoreError, match=text):
        opened(tmp_path, plan=bounds.plan(N, 6, 2, 8, block=2, seed=1))
    with pytest.raises(StoreError, match=text):
        write_plan(tmp_path, bounds.plan(N, 6, 2, 8, block=2, seed=1))


def test_cells_with_the_digest_of_the_whole_plan_are_read_and_extended(tmp_path, monkeypatch):
    with monkeypatch.context() as then:
        then.setattr(Grid, "cells_digest", Grid.digest)
        grid, own = opened(tmp_path)
        one = cell()
        grid.write(1, 3, one, temporary=own)
    again = read_grid(tmp_path)
    assert again.digest != again.cells_digest and (again.read(1, 3).labels == one.labels).all()
    for plan in (MORE, PLAN):
        assert (opened(tmp_path, plan)[0].read(1, 3).labels == one.labels).all()


def test_folders_of_something_else_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for begun in (lambda: opened(tmp_path), lambda: write_plan(tmp_path, PLAN)):
        with pytest.raises(StoreError, match=r"a new or empty folder.*; got .*, which holds 'thesis\.tex' and no plan"):
            begun()
    with pytest.raises(StoreError, match="out must be a folder; got the file"):
        opened(tmp_path / "thesis.tex")
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(StoreError, match=r"must be a folder of runs; got no plan\.json"):
        read_grid(tmp_path)
    with pytest.raises(StoreError, match="must be a folder of runs; got no such folder"):
        read_grid(tmp_path / "b")


def test_two_writers_of_one_share_are_refused_and_the_first_undisturbed(tmp_path):
    _, own = opened(tmp_path / "runs")
    with locked(own):
        unfinished = own / "0-0.tmp"
        unfinished.write_bytes(b"half")
        with pytest.raises(StoreError, match="one writer at a time"):
            made(tmp_path / "runs")
        assert unfinished.read_bytes() == b"half"
