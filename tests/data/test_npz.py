"""The .npz reader: what is written is what is read, and no file of another kind gets in."""

import pickle
import re
import zipfile

import numpy as np
import pytest
import torch

from infotorch.data.npz import read_npz
from infotorch.errors import DataError

X, Y = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 1, 1], np.uint8)


def write(path, **arrays):
    np.savez(path, **{"x": X, "y": Y} | arrays)
    return path


def test_everything_comes_back(tmp_path):
    ids = np.array(["<b>", "x" * 10_000, "😀\u202e\n"])
    path = write(
        tmp_path / "a.npz",
        ids=ids,
        label_names=np.array(["no", "yes"]),
        images=np.full((3, 4, 4), 7, np.uint8),
        texts=np.array(["p", "q", "r"]),
        source=np.array(["u", "v", "u"]),
        flipped=np.array([True, False, True]),
    )
    got = read_npz(path)
    assert torch.equal(got.x, torch.from_numpy(X)) and got.y.tolist() == [0, 1, 1] and got.y.dtype == torch.int64
    assert got.ids == tuple(ids) and got.label_names == ("no", "yes") and got.texts == ("p", "q", "r")
    assert got.images.sum() == 7 * 48 and got.metadata["source"].tolist() == ["u", "v", "u"]
    assert got.metadata["flipped"].tolist() == [True, False, True]


def test_x_and_y_are_enough_and_ids_may_be_numbers(tmp_path):
    assert read_npz(write(tmp_path / "a.npz")).ids == ("0", "1", "2")
    assert read_npz(write(tmp_path / "b.npz", ids=np.array([7, 8, 9]))).ids == ("7", "8", "9")


class Mine:
    """Unpickling this would be noticed."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def test_pickles_are_never_loaded(tmp_path):
    objects = np.empty(3, object)
    objects[:] = [Mine(), Mine(), Mine()]
    path = write(tmp_path / "a.npz", x=objects)
    with pytest.raises(DataError, match=re.escape(f"array 'x' of {path} must hold plain numbers or text")) as caught:
        read_npz(path)
    assert str(caught.value).endswith("pickles are never loaded.")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Mine()))
    with pytest.raises(DataError, match="pickles are never loaded"):
        read_npz(tmp_path / "b.npz")


def test_missing_arrays_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, label=Y)
    with pytest.raises(DataError, match="must hold arrays x and y; got x, label"):
        read_npz(tmp_path / "a.npz")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"read: the file must exist; got .*none\.npz"):
        read_npz(tmp_path / "none.npz")
    with pytest.raises(DataError, match="must be readable; got Is a directory"):
        read_npz(tmp_path)


def test_one_array_is_no_npz(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, X)
    with pytest.raises(DataError, match=r"must be an \.npz file; got one array"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_truncated_file_is_refused(tmp_path, keep, save):
    save(tmp_path / "a.npz", x=X, y=Y)
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=r"read: .*a\.npz must"):
        read_npz(tmp_path / "a.npz")


def test_flipped_bytes_are_refused(tmp_path):
    write(tmp_path / "a.npz", x=np.zeros((3, 1000), np.float32))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[2000] ^= 255
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"must be a whole \.npz file; got Bad CRC-32"):
        read_npz(tmp_path / "a.npz")


def test_entries_that_are_no_arrays_are_refused(tmp_path):
    path = write(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(DataError, match=r"a\.npz must hold arrays alone; got 'notes\.txt', which is none"):
        read_npz(path)


@pytest.mark.parametrize("name", ["ids", "texts", "label_names"])
def test_texts_are_texts(tmp_path, name):
    with pytest.raises(DataError, match=re.escape(f"read: {name} of ") + ".*must be text"):
        read_npz(write(tmp_path / "a.npz", **{name: np.zeros((3, 2))}))


def test_metadata_has_one_value_a_sample(tmp_path):
    with pytest.raises(DataError, match=re.escape("metadata must be [N]; got [3, 2] for 'extra'")):
        read_npz(write(tmp_path / "a.npz", extra=np.zeros((3, 2))))
