"""What is on the disk of a teacher's path, and what is refused of it."""

import json

import numpy as np
import pytest
import torch

from infotorch.errors import StoreError
from infotorch.train.distillation.folder import Manifest, fingerprints, read_manifest, steps_in, write_manifest


def test_a_manifest_comes_back(tmp_path):
    manifest = Manifest(what="logits", dtype="float16", every=3, steps=[0, 3, 6], shape=[5, 2])
    write_manifest(tmp_path, manifest)
    assert read_manifest("here", tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["path.json"]


def test_a_folder_without_one(tmp_path):
    assert read_manifest("here", tmp_path) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"steps": [0, 6, 3]}, r"in order and equally far apart, after 0, 3, 6, ... steps; got 6 in place of 3"),
        ({"steps": [3, 6]}, r"got 3 in place of 0"),
        ({"format": "infotorch TeacherPath 9"}, "must be of 'infotorch TeacherPath 1'; got 'infotorch TeacherPath 9'"),
        ({"what": "both"}, "what in .*path.json must be 'weights' or 'logits'; got 'both'. Record the path again"),
        ({"dtype": "float31"}, "dtype in .* must be one of 'float16', 'float32', 'float64'; got 'float31'"),
        ({"every": 0}, "every in .* must be a whole number of at least 1; got 0"),
        ({"steps": []}, r"steps in .* must be whole numbers, at least one; got \[\]"),
        ({"steps": None}, "steps in .* must be whole numbers, at least one; got None"),
        ({"what": "logits"}, r"shape in .* must be \[N, ..., C\] of logits; got None"),
        ({"what": "logits", "shape": [5, "2"]}, r"shape in .* must be \[N, ..., C\] of logits; got \[5, '2'\]"),
        ({"shape": [5, 2]}, r"shape in .* must be null for weights; got \[5, 2\]"),
        ({"other": 1}, "must be a manifest of TeacherPath; got .*unexpected keyword argument 'other'"),
    ],
)
def test_a_manifest_that_is_none(change, text, tmp_path):
    write_manifest(tmp_path, Manifest(what="weights", dtype="float32", every=3, steps=[0, 3, 6], shape=None))
    path = tmp_path / "path.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StoreError, match=f"^here: .*{text}"):
        read_manifest("here", tmp_path)
    path.write_text("{")
    with pytest.raises(StoreError, match="must be a manifest of TeacherPath"):
        read_manifest("here", tmp_path)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([], r"must hold checkpoints step-00000000.pt, ...; got none"),
        ([4, 8], "got 4 in place of 0"),
        ([0, 4, 12], "after 0, 4, 8, ... steps; got 12 in place of 8"),
    ],
)
def test_files_that_are_no_path(steps, text, tmp_path):
    for step in steps:
        (tmp_path / f"step-{step:08d}.pt").touch()
    with pytest.raises(StoreError, match=f"^here: .*{text}"):
        steps_in("here", tmp_path, None)


def test_files_are_in_order_whatever_the_folder_says(tmp_path):
    for step in (200_000_000, 0, 100_000_000):
        (tmp_path / f"step-{step:08d}.pt").touch()
    assert steps_in("here", tmp_path, None) == [0, 100_000_000, 200_000_000]


def test_a_file_that_the_manifest_has(tmp_path):
    """The last one too, which no gap tells of; a whole file that came after the manifest counts."""
    manifest = Manifest(what="weights", dtype="float32", every=2, steps=[0, 2, 4], shape=None)
    for step in (0, 2, 6):
        (tmp_path / f"step-{step:08d}.pt").touch()
    with pytest.raises(StoreError, match=r"must hold every checkpoint of its manifest; got no step-00000004.pt"):
        steps_in("here", tmp_path, manifest)
    (tmp_path / "step-00000004.pt").touch()
    assert steps_in("here", tmp_path, manifest) == [0, 2, 4, 6]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16])
def test_fingerprints_are_of_each_sample_alone(dtype, rng):
    x = torch.randint(2, (6, 3, 4), generator=rng).to(dtype)
    x[3] = x[0]
    marks = fingerprints(x)
    assert marks.dtype == np.uint64 and marks[3] == marks[0]
    assert (fingerprints(x[2:5]) == marks[2:5]).all() and (fingerprints(x.mT.contiguous().mT) == marks).all()
    other = x.clone()
    other[1, 2, 3] = 1 - other[1, 2, 3].float()
    assert ((fingerprints(other) != marks) == np.arange(6).__eq__(1)).all()


def test_fingerprints_of_a_nest():
    x = {"a": torch.arange(3), "b": torch.zeros(3, 2)}
    changed = {"a": torch.arange(3), "b": torch.tensor([[0.0, 0], [0, 1], [0, 0]])}
    assert (fingerprints(x) != fingerprints(changed)).tolist() == [False, True, False]
