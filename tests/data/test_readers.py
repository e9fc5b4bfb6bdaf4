"""A spec names a reader by the file's ending or before a colon."""

import numpy as np
import pytest

from infotorch.data.readers import READERS, read
from infotorch.errors import ConfigError, DataError


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "digits.npz", x=np.zeros((2, 3), np.float32), y=np.arange(2))
    (tmp_path / "digits.npz").rename(tmp_path / "digits.data")
    np.savez(tmp_path / "digits.npz", x=np.zeros((2, 3), np.float32), y=np.arange(2))
    return tmp_path


def test_the_ending_or_the_name_chooses(path):
    specs = [path / "digits.npz", str(path / "digits.npz"), f"npz:{path}/digits.data"]
    assert len({read(spec).digest() for spec in specs}) == 1


def test_capital_endings_and_colons_in_names_are_fine(path):
    (path / "digits.npz").rename(path / "a:b.NPZ")
    assert len(read(path / "a:b.NPZ")) == 2


def test_an_unknown_reader_names_the_nearest(path):
    readers, endings = "'npz', 'npy', 'folder', 'parquet', 'csv'", "'npz', 'npy', 'parquet', 'csv'"
    with pytest.raises(ConfigError, match=rf"reader must be one of {readers}; got 'npzz'\. Did you mean 'npz'\?"):
        read(f"npzz:{path}/digits.data")
    with pytest.raises(ConfigError, match=rf"digits\.data', which is no folder, must be one of {endings}; got 'data'"):
        read(path / "digits.data")
    with pytest.raises(
        ConfigError, match=f"the ending of 'digits', which is no folder, must be one of {endings}; got ''"
    ):
        read("digits")
    with pytest.raises(ConfigError, match=f"must be one of {endings}; got 'folder'"):
        read("digits.folder")


def test_a_missing_file_is_named():
    with pytest.raises(DataError, match=r"the file must exist; got nowhere\.npz"):
        read("nowhere.npz")


def test_a_reader_is_one_line(path, monkeypatch):
    monkeypatch.setitem(READERS, "data", READERS["npz"])
    assert len(read(path / "digits.data")) == 2
