"""The manifest: JSON with one form, guarded by its own hash, compared field by field."""

import dataclasses
import json
import math
import pathlib
import re

import numpy as np
import pytest

from infotorch.errors import ConfigError, StoreError
from infotorch.store.manifest import (
    MANIFEST,
    check_same,
    encoded,
    first_difference,
    plain,
    read_manifest,
    run_id,
    write_manifest,
)
from infotorch.table import Estimate


def test_plain_values_are_json():
    value = {
        "a": (1, 2.5, None, True),
        "b": {"c": np.float32(0.5), "d": np.arange(2), "e": pathlib.Path("x/y")},
        "f": Estimate(name="n", value=1.0),
        "g": math.inf,
    }
    got = plain(value, "command")
    assert json.loads(encoded(got, sort_keys=False)) == got
    assert got["a"] == [1, 2.5, None, True] and got["b"] == {"c": 0.5, "d": [0, 1], "e": "x/y"} and got["g"] == "inf"
    assert got["f"]["name"] == "n" and got["f"]["parts"] == {}


@pytest.mark.parametrize(
    ("value", "where", "got"),
    [
        ({"a": [1, {"b": {1, 2}}]}, "command.a[1].b", "set"),
        ({"a": math.nan}, "command.a", "nan"),
        ({1: 2}, "command", "dict"),
        ({"f": len}, "command.f", "builtin_function_or_method"),
        ({"t": dataclasses.dataclass}, "command.t", "function"),
    ],
)
def test_what_json_lacks_is_named_by_place(value, where, got):
    with pytest.raises(ConfigError, match=re.escape(f"store: {where} must be made of") + f".*got {got}"):
        plain(value, "command")


def test_hostile_text_survives():
    text = "<script>\u202e\x00\n😀\ud800" + "x" * 10_000
    assert json.loads(encoded({"t": text}, sort_keys=True)) == {"t": text}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 1.0}, None),
        ({"a": 0}, {"a": False}, ("command.a", 0, False)),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, ("command.a.b[1].c", 2, 3)),
        ({"a": [1]}, {"a": [1, 2]}, ("command.a", [1], [1, 2])),
        ({"a": 1}, {}, ("command.a", 1, "nothing")),
        ({}, {"a": None}, ("command.a", "nothing", None)),
        ({"argv": "x", "l2": 0}, {"argv": "y", "l2": 1}, ("command.l2", 0, 1)),
        ({"argv": "x", "l2": 0}, {"argv": "y", "l2": 0}, ("command.argv", "x", "y")),
        ({"a": {"b": 1}}, {"a": 1}, ("command.a", {"b": 1}, 1)),
    ],
)
def test_the_first_difference_is_the_deepest_path(old, new, found):
    assert first_difference(old, new, "command") == found


def test_one_command_has_one_id_whatever_the_order_of_its_keys():
    assert run_id({"a": 1, "b": 2}, {}) == run_id({"b": 2, "a": 1}, {}) != run_id({"a": 1, "b": 3}, {})
    assert run_id({}, {"digest": "x"}) != run_id({}, {"digest": "y"})


def whole(**changes):
    parts = {"command": {"l2": 0.0}, "data": {"digest": "x"}, "rows": 3, "shard_size": 2}
    return {"schema_version": 1, **parts, "provenance": {"threads": 2, "parameters": "p"}} | changes


def test_a_manifest_comes_back(tmp_path):
    written = write_manifest(tmp_path, whole())
    assert read_manifest("open", tmp_path) == written and write_manifest(tmp_path, written) == written


def test_a_changed_manifest_is_named(tmp_path):
    write_manifest(tmp_path, whole())
    path = tmp_path / MANIFEST
    path.write_text(path.read_text().replace("0.0", "0.1"))
    with pytest.raises(StoreError, match=rf"open: {path} must be as it was written; got content of another hash"):
        read_manifest("open", tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": "1"}', '{"schema_version": 0}', "\x00", "\xff"])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / MANIFEST).write_bytes(text.encode("latin1"))
    with pytest.raises(StoreError, match=rf"{tmp_path / MANIFEST} must be as it was written"):
        read_manifest("open", tmp_path)


def test_a_newer_schema_is_refused(tmp_path):
    write_manifest(tmp_path, whole(schema_version=2))
    with pytest.raises(
        StoreError, match=r"must be at most 1; got 2, of a newer infotorch\. Run: pip install --upgrade"
    ):
        read_manifest("open", tmp_path)


def test_a_folder_without_manifest_is_no_run(tmp_path):
    with pytest.raises(StoreError, match=r"must be a run; got no manifest\.json in it"):
        read_manifest("open", tmp_path)
    with pytest.raises(StoreError, match="must be a run; got no such folder"):
        read_manifest("open", tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": {"l2": 0.1}}, "got command.l2 0.0 there and 0.1 now"),
        ({"data": {"digest": "y"}}, 'got data.digest "x" there and "y" now'),
        ({"rows": 4}, "got rows 3 there and 4 now"),
        ({"shard_size": 3}, "got shard_size 2 there and 3 now"),
        ({"provenance": {"threads": 2, "parameters": "q"}}, 'got provenance.parameters "p" there and "q" now'),
        ({"command": {"l2": 0.0, "note": "x" * 500}}, "got command.note nothing there and"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_another_command_is_refused_by_its_first_difference(changes, message, finished):
    with pytest.raises(StoreError, match=re.escape(message)) as caught:
        check_same(pathlib.Path("run"), whole(), whole(**changes), finished=finished)
    assert len(str(caught.value)) < 250


def test_another_machine_may_read_a_finished_run_but_not_go_on_with_another():
    other = whole(provenance={"threads": 4, "parameters": "p"})
    check_same(pathlib.Path("run"), whole(), other, finished=True)
    with pytest.raises(StoreError, match=re.escape("got provenance.threads 2 there and 4 now")):
        check_same(pathlib.Path("run"), whole(), other, finished=False)
