"""Samples: every promise of their fields, and a digest that nothing escapes."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch

from infotorch.data.samples import Samples, check_same_classes, chunks, shown
from infotorch.errors import DataError

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'&<>",
    "😀 emoji",
    "x" * 10_000,
    "\u202ertl\u202c",
    "a\nb\r\n\tc",
    "\x00\x07\x1b[31m",
    "",
    " ",
    "Ünïcødé é é",
)


def made(N=3, **fields):
    default = {"x": torch.arange(2.0 * N).reshape(N, 2), "y": torch.arange(N), "ids": tuple(map(str, range(N)))}
    return Samples(**default | fields)


def test_hostile_ids_are_kept_as_they_are():
    assert made(len(HOSTILE), ids=HOSTILE).ids == HOSTILE


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_first_input_that_is_not_finite_is_named(bad, dtype):
    x = torch.ones(5, 2, 2, dtype=dtype)
    x[3, 1, 0] = x[4, 0, 0] = bad
    with pytest.raises(DataError, match=rf"data: x must be finite; got {bad} in sample 3 \('cat'\)"):
        made(5, x=x, ids=("a", "b", "c", "cat", "e"))


def test_a_late_input_that_is_not_finite_is_found_in_its_chunk():
    x = torch.zeros(5, 1 << 23)
    x[4, -1] = math.nan
    assert len(list(chunks(5, 1 << 23))) == 3
    with pytest.raises(DataError, match="got nan in sample 4"):
        made(5, x=x)


def test_a_target_that_is_not_finite_is_named():
    with pytest.raises(DataError, match=r"data: y must be finite; got nan in sample 1 \('1'\)"):
        made(2, y=torch.tensor([0.0, math.nan]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": torch.zeros(0, 2)}, "there must be at least one sample; got none"),
        ({"y": torch.zeros(2)}, "y must have one entry a sample, as x has 3; got 2"),
        ({"ids": ("a", "b")}, "ids must have one entry a sample, as x has 3; got 2"),
        ({"texts": ("a",)}, "texts must have one entry a sample, as x has 3; got 1"),
        ({"images": np.zeros((2, 4, 4), np.uint8)}, "images must have one entry a sample, as x has 3; got 2"),
        ({"metadata": {"source": np.zeros(4)}}, "source must have one entry a sample, as x has 3; got 4"),
        ({"ids": ("a", "b", "a")}, "ids must all differ; got 'a' for samples 0 and 2"),
        ({"ids": (1, 2, 3)}, "ids must be text; got int at place 0"),
        ({"ids": ("a", "\ud800", "c")}, r"ids must be Unicode text; got '\ud800' at place 1, with a lone surrogate"),
        ({"x": np.zeros((3, 2))}, "x must be a tensor with one row a sample; got ndarray"),
        ({"y": torch.tensor(1)}, "y must be a tensor with one row a sample; got a tensor without axes"),
        ({"x": torch.zeros(3, dtype=torch.complex64)}, "x must be real; got torch.complex64"),
        ({"label_names": ("a", "b")}, "label_names must name every label, 0 to 1; got label 2 for sample 2 ('2')"),
        ({"images": np.zeros((3, 4, 4))}, "images must be uint8 [N, H, W] or [N, H, W, 3]; got float64 [3, 4, 4]"),
        ({"images": np.zeros((3, 3, 4, 4), np.uint8)}, "images must be uint8 [N, H, W] or [N, H, W, 3]; got uint8"),
        ({"metadata": {"label": np.zeros(3)}}, "metadata must not be called index, id, label"),
        ({"metadata": {"a": np.zeros((3, 1))}}, "metadata must be [N]; got [3, 1] for 'a'"),
        ({"metadata": {"a": np.array([None] * 3)}}, "metadata must be bool, 64-bit integer, float or text; got object"),
        ({"metadata": {"a": np.array([2**64 - 1] * 3, np.uint64)}}, "metadata must be bool, 64-bit integer, float"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(DataError, match=re.escape(message)):
        made(**fields)


def test_a_label_below_zero_has_no_name():
    with pytest.raises(DataError, match=r"got label -1 for sample 0 \('0'\)"):
        made(2, y=torch.tensor([-1, 0]), label_names=("a",))


def test_metadata_takes_one_of_four_types():
    metadata = {
        "flag": np.array([True, False, True]),
        "small": np.array([1, 2, 3], np.uint8),
        "half": np.array([0.5, np.nan, 1], np.float16),
        "name": np.array(["a", "bb", "c"], object),
    }
    kept = made(metadata=metadata).metadata
    assert [kept[name].dtype.kind for name in metadata] == ["b", "i", "f", "U"]
    assert kept["small"].dtype == np.int64 and kept["half"].dtype == np.float64 and kept["name"].tolist()[1] == "bb"


def test_every_field_is_in_the_digest():
    full = made(
        label_names=("a", "b", "c"),
        images=np.zeros((3, 4, 4), np.uint8),
        texts=("p", "q", "r"),
        metadata={"n": np.zeros(3), "t": np.array(["u", "v", "w"])},
    )
    changed = {
        "x": full.x + torch.tensor([0, 1e-7]),
        "y": full.y.flip(0),
        "ids": ("0", "1", "3"),
        "label_names": ("a", "b", "d"),
        "images": np.ones((3, 4, 4), np.uint8),
        "texts": ("p", "q", "s"),
        "metadata": {"n": np.zeros(3), "t": np.array(["u", "v", "x"])},
    }
    digests = [full.digest(), dataclasses.replace(full, metadata={"m": np.zeros(3), "t": full.metadata["t"]}).digest()]
    digests += [dataclasses.replace(full, **{name: value}).digest() for name, value in changed.items()]
    digests += [dataclasses.replace(full, x=full.x.double()).digest(), made().digest()]
    assert len(set(digests)) == len(digests)
    assert full.digest() == dataclasses.replace(full).digest() and len(full.digest()) == 64


def test_the_digest_keeps_texts_apart():
    assert made(2, ids=("a", "bc")).digest() != made(2, ids=("ab", "c")).digest()


def test_the_digest_does_not_see_strides():
    x = torch.arange(6.0).reshape(2, 3).T
    assert made(x=x).digest() == made(x=x.contiguous()).digest()


def test_long_texts_are_shortened_in_messages():
    assert shown("a\n\u202e") == r"'a\n\u202e'"
    assert len(shown("x" * 10_000)) < 70


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "c"), "test data must have the data's classes, 'b' as label 1; got 'c'. Name the same classes in both"),
        (("b", "a"), "'a' as label 0; got 'b'"),
        (("a", "b", "c"), "none as label 2; got 'c'"),
        (("a",), "'b' as label 1; got none"),
    ],
    ids=range(4),
)
def test_classes_of_other_names_are_refused(names, message):
    data, tests = made(2, label_names=("a", "b")), made(2, y=torch.zeros(2, dtype=torch.int64), label_names=names)
    with pytest.raises(DataError, match=re.escape(message)):
        check_same_classes("train", data, tests)


def test_equal_names_and_none_pass():
    named, plain = made(2, label_names=("a", "b")), made(2)
    check_same_classes("train", named, named)
    check_same_classes("train", named, plain)
    check_same_classes("train", plain, named)
