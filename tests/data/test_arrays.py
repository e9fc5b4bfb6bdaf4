"""Named arrays become samples whose x is the array's own memory, and the caller keeps its dict."""

import numpy as np
import pytest

from infotorch.data.arrays import samples_of_arrays
from infotorch.errors import DataError

X, Y = np.arange(6, dtype=np.float64).reshape(3, 2), np.array([0, 1, 1])


def test_memory_and_dtype_of_x_are_the_arrays_own():
    arrays = {"x": X, "y": Y, "age": Y}
    got = samples_of_arrays("here", arrays, "np.save")
    assert got.x.numpy().ctypes.data == X.ctypes.data and got.x.numpy().dtype == X.dtype
    assert list(arrays) == ["x", "y", "age"] and list(got.metadata) == ["age"]


def test_label_names_must_name_every_label():
    with pytest.raises(DataError, match=r"label_names must name every label, 0 to 0; got label 1 for sample 1 \('1'\)"):
        samples_of_arrays("here", {"x": X, "y": Y, "label_names": np.array(["no"])}, "np.save")


def test_the_way_to_save_is_told():
    with pytest.raises(DataError, match=r"read: here must hold arrays x and y; got x\. Save it with np\.save\."):
        samples_of_arrays("here", {"x": X}, "np.save")
