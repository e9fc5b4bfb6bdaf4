"""A folder of .npy files is what the .npz file of the same arrays is, with x left on the disk."""

import pickle
import re

import numpy as np
import pytest

from infotorch.data.npy import read_npy
from infotorch.data.npz import read_npz
from infotorch.data.readers import read
from infotorch.errors import DataError

ARRAYS = {
    "x": np.arange(6, dtype=np.float32).reshape(3, 2),
    "y": np.array([0, 1, 1], np.uint8),
    "ids": np.array(["a", "b", "ü"]),
    "label_names": np.array(["no", "yes"]),
    "images": np.arange(48, dtype=np.uint8).reshape(3, 4, 4),
    "texts": np.array(["p", "q", "r"]),
    "age": np.array([7, 8, 9]),
    "source": np.array(["u", "v", "u"]),
}


def write(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def test_the_samples_are_those_of_the_npz_file(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    folder = write(tmp_path / "a", **ARRAYS)
    (folder / "notes.txt").write_text("left alone")
    assert read(f"npy:{folder}").digest() == read_npz(tmp_path / "a.npz").digest()


def test_x_is_mapped_and_writing_to_it_leaves_the_file(tmp_path):
    folder = write(tmp_path / "a", **ARRAYS)
    got = read_npy(folder)
    assert isinstance(got.images, np.memmap)
    with open("/proc/self/maps") as maps:
        assert str(folder / "x.npy") in maps.read()
    got.x[0, 0] = 5.0
    assert np.load(folder / "x.npy")[0, 0] == 0 and read_npy(folder).x[0, 0] == 0


def test_a_file_in_place_of_its_folder(tmp_path):
    folder = write(tmp_path / "a", **ARRAYS)
    message = f"must lie in a folder, as x.npy and y.npy; got the file {folder}/x.npy. Give npy:{folder}."
    with pytest.raises(DataError, match=re.escape(message)):
        read(folder / "x.npy")
    with pytest.raises(DataError, match=re.escape("none.npy, which does not exist. Correct the path.")):
        read(tmp_path / "none.npy")


def test_missing_arrays_are_named(tmp_path):
    with pytest.raises(DataError, match=r"a must hold arrays x and y; got label, x\. Save it with np\.save\("):
        read_npy(write(tmp_path / "a", x=ARRAYS["x"], label=ARRAYS["y"]))
    with pytest.raises(DataError, match="must hold arrays x and y; got none"):
        read_npy(write(tmp_path / "b"))


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_truncated_file_is_named(tmp_path, name, keep):
    folder = write(tmp_path / "a", **ARRAYS)
    path = folder / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        DataError, match=re.escape(f"read: {path} must be a whole array of plain numbers or text; got Py")
    ):
        read_npy(folder)


def test_pickles_and_archives_are_refused(tmp_path):
    folder = write(tmp_path / "a", **ARRAYS)
    (folder / "y.npy").write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(DataError, match=r"y\.npy must be a whole array .* pickles are never loaded\."):
        read_npy(folder)
    with open(folder / "y.npy", "wb") as file:
        np.savez(file, y=ARRAYS["y"])
    with pytest.raises(
        DataError, match=r"y\.npy must be one array; got an \.npz file\. Rename it, and give npz:PATH\."
    ):
        read_npy(folder)


def test_a_folder_under_an_arrays_name_is_named(tmp_path):
    folder = write(tmp_path / "a", **ARRAYS)
    (folder / "more.npy").mkdir()
    with pytest.raises(DataError, match=r"more\.npy must be readable; got Is a directory"):
        read_npy(folder)
