"""CSV files: numbers are features, texts are not, and a bad cell is named where it stands."""

import re

import numpy as np
import pytest
import torch

from infotorch.data.csv import read_csv
from infotorch.data.readers import read
from infotorch.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "a.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_numbers_labels_ids_and_metadata(write):
    path = write('id,age,city,rate,label\n007,30,"Rome, Italy",.5,yes\n010,40,"a\nb",1e-1,no\n011,-5,,2,yes\n')
    got = read(path)
    assert torch.equal(got.x, torch.tensor([[30, 0.5], [40, 0.1], [-5, 2]])) and got.x.dtype == torch.float32
    assert got.y.tolist() == [1, 0, 1] and got.label_names == ("no", "yes") and got.ids == ("007", "010", "011")
    assert got.metadata["city"].tolist() == ["Rome, Italy", "a\nb", ""]
    assert read(f"csv:{path}").digest() == got.digest()


def test_what_numpy_writes_comes_back(write, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(5000, 3)), np.random.default_rng(1).normal(size=5000)
    np.savetxt(tmp_path / "a.csv", np.column_stack([x, y]), delimiter=",", header="a,b,c,y", comments="")
    got = read_csv(tmp_path / "a.csv")
    assert np.array_equal(got.x.numpy(), x.astype(np.float32)) and np.array_equal(got.y.numpy(), y)


def test_a_column_that_turns_out_to_have_fractions_late(write):
    rows = [f"{n},0" for n in range(300_000)]  # past the first block of the reader
    rows[-1] = "0.5,1"
    got = read_csv(write("a,label\n" + "\n".join(rows)))
    assert got.x[-1].item() == 0.5 and got.x[-2].item() == 299_998 and got.y.sum() == 1


def test_whole_numbers_and_truths_are_classes_and_fractions_are_targets(write):
    assert read_csv(write("a,y\n1,0\n2,2\n")).y.tolist() == [0, 2]
    assert read_csv(write("a,y\n1,true\n2,false\n")).y.tolist() == [1, 0]
    assert read_csv(write("a,y\n1,0\n2,2.5\n")).y.dtype == torch.float64


def test_a_mark_of_the_byte_order_and_line_ends_of_windows(write):
    got = read_csv(write(b"\xef\xbb\xbfid,a,label\r\nu,1,0\r\nv,2,1\r\n"))
    assert got.ids == ("u", "v") and got.x.tolist() == [[1], [2]]


AT = "read: row {} (the first is 0), column {!r} of "
MISUSES = {
    "no labels": ("a,class\n1,0\n", "must have a column of labels, called y, label, labels, target, targets; got 'a',"),
    "no header": ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "must have a column of labels, .*; got '5.1', '3.5', 'setosa'"),
    "other separators": ("a;label\n1;0\n", "must have a column of labels, .*; got 'a;label'. "),
    "an empty cell": ("a,label\n1,0\n,1\n", AT.format(1, "a") + ".* must have a value; got none. Fill this cell in, o"),
    "an empty label": ("a,label\n1,u\n2,\n", AT.format(1, "label") + ".* must have a label; got an empty text. "),
    "NaN": ("a,b,label\n1,2,0\n3,nan,1\n", AT.format(1, "b") + ".* must be a finite float32 number; got nan. Correct"),
    "infinity": ("a,label\n1,0\n-inf,1\n", AT.format(1, "a") + ".* must be a finite float32 number; got -inf. "),
    "a placeholder": (
        "a,label\n?,0\n2,1\n3,1\n",
        AT.format(0, "a") + ".* must be a number, as '2' in row 1 is; got '?'. Correct this cell, or leave the row or",
    ),
    "NA": ("a,label\n1,0\nNA,1\n", AT.format(1, "a") + ".* must be a number, as '1' in row 0 is; got 'NA'. "),
    "a placeholder in a label": ("a,label\n1,0\n2,?\n", AT.format(1, "label") + ".* must be a number, as '0' in row 0"),
    "texts": ("text,label\nhello,0\n", "beside texts; got 'text', 'label'. Tokenize it: add input_ids"),
    "categories alone": ("city,label\nRome,0\n", "got 'city', 'label'. Write texts and categories as numbers."),
    "pandas' row numbers": (",a,label\n0,1,0\n1,2,1\n", "must be features; got '', as pandas calls row numbers. Write"),
    "one name twice": ("a,a,label\n1,2,0\n", "must have different names; got 'a' twice. Rename one."),
    "a short line": ("a,b,label\n1,2,0\n3,4\n", "must be a CSV file in UTF-8 with as many cells in each line; got .*E"),
    "nothing": ("", "must be a CSV file in UTF-8 .*; got .*Empty CSV file"),
    "a header alone": ("a,label\n", "must have at least one row; got none. Look at how they are selected."),
    "Latin letters": (b"a,city,label\n1,M\xfcnchen,0\n", "column 'city' of .* must be UTF-8; got other bytes. Save th"),
    "ids twice": ("id,a,label\nu,1,0\nu,2,1\n", "ids must all differ; got 'u' for samples 0 and 1."),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSES)
def test_a_bad_file_is_refused(write, case):
    text, message = MISUSES[case]
    with pytest.raises(DataError, match=re.escape(message).replace(r"\.\*", ".*")):
        read_csv(write(text))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"read: the file must exist; got .*none\.csv\. Correct the path\."):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(DataError, match="must be readable; got"):
        read_csv(tmp_path)
