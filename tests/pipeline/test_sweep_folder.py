"""A sweep on disk: what is no cell, damaged or another's is refused by name."""

import json
import re

import pytest

from infotorch import StoreError
from infotorch.pipeline.sweep_cells import Measured, SweepCell, SweepRow
from infotorch.pipeline.sweep_folder import SweepFolder, make_folder, read_folder

CELL = SweepCell(corruption=0.25, beta=1e-5, seed=3)
ROW = SweepRow(
    beta=1e-5, corruption=0.25, seed=3, noisy_ce=0.1, stderr=0.01, train_acc=0.5, test_acc=None, kl=2 / 3, c=1.0
)  # fmt: skip
SETTINGS = {"schema_version": 1, "num_samples": 3, "num_classes": 2, "steps": 5}


def begun(path, **changes):
    return SweepFolder.begun(make_folder(path), SETTINGS | changes)


def test_a_row_comes_back_to_the_bit(tmp_path):
    folder = begun(tmp_path / "new" / "sweep")
    folder.write(CELL, Measured(row=ROW, seconds=0.5))
    assert folder.read(CELL) == ROW
    assert read_folder(folder.path).cells() == [CELL] and SweepCell.named(CELL.name) == CELL
    assert folder.path_of(CELL).name == "corruption=0.25,beta=1e-05,seed=3.json"


def test_cells_that_are_not_what_was_written_are_refused(tmp_path):
    folder = begun(tmp_path)
    folder.write(CELL, Measured(row=ROW, seconds=0.5))
    path = folder.path_of(CELL)
    good = json.loads(path.read_text())
    for content, message in (
        ("no", "got text that is no JSON"),
        ("[]", "must be a cell; got what is none. Delete it"),
        (
            json.dumps(good | {"row": good["row"] | {"kl": 0.0}}),
            "as it was written; got content of another hash",
        ),
        (json.dumps(good | {"sweep": "x"}), "must be a cell of the sweep beside it; got another's."),
    ):
        path.write_text(content)
        with pytest.raises(StoreError, match=f"{re.escape(path.name)} .*{re.escape(message)}"):
            folder.read(CELL)


def test_folders_of_something_else_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="store: out must be a folder; got the file"):
        make_folder(tmp_path / "file")
    with pytest.raises(StoreError, match=r"which holds 'file' and no sweep.json. Choose another folder."):
        make_folder(tmp_path)
    with pytest.raises(StoreError, match=r"must be a folder of a sweep; got no sweep.json. Check the path."):
        read_folder(tmp_path)
    folder = begun(tmp_path / "sweep")
    with pytest.raises(StoreError, match=r"same sweep; got steps = 6, where it was begun with 5. Choose another"):
        begun(folder.path, steps=6)
    (folder.path / "sweep.json").write_text('{"schema_version": 2, "num_samples": 1, "num_classes": 2}')
    with pytest.raises(StoreError, match=r"must have schema_version 1; got 2. Update infotorch."):
        read_folder(folder.path)
    (folder.path / "sweep.json").write_text("{}")
    with pytest.raises(StoreError, match="got what is no sweep's settings"):
        read_folder(folder.path)
