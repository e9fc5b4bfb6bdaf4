"""Parts of features: whole or absent, of one key, readable by NumPy alone."""

import json
import shutil

import numpy as np
import pytest

from infotorch.errors import DataError, StoreError
from infotorch.store.features import feature_store, features_begun, open_features

KEY = {"parameters": "abc", "sketch": {"kind": "sjlt", "dim": 4}}


def rows(start, stop):
    """Features [n, 3, 4] and outputs [n, 3] that say which row they are of."""
    index = np.arange(start, stop, dtype=np.float32)
    return index[:, None, None] + np.linspace(0, 0.5, 12, dtype=np.float32).reshape(3, 4), index[:, None] * np.ones(3)


def stored(start, stop, dtype):
    features, outputs = rows(start, stop)
    return features.astype(dtype), outputs


def write(part, dtype="float32", inputs="x", step=2):
    part.write((stored(n, min(n + step, part.stop), dtype) for n in range(part.start, part.stop, step)), inputs)


def open_store(folder, num_rows=11, part_size=4, key=KEY):
    return feature_store(folder, key=key, num_rows=num_rows, part_size=part_size)


def test_parts_are_read_as_they_were_written(tmp_path):
    with open_store(tmp_path / "f") as store:
        for part in store.parts():
            assert not part.has("x")
            write(part)
            assert part.has("x") and not part.has("other inputs")
            part.check()
        features, outputs = rows(0, 11)
        for first, last in ((0, 11), (3, 9), (5, 6)):
            found = [part.read(*share) for part, *share in store.between(first, last)]
            np.testing.assert_array_equal(np.concatenate([f for f, _ in found]), features[first:last])
            np.testing.assert_array_equal(np.concatenate([o for _, o in found]), outputs[first:last])
    mapped = np.load(tmp_path / "f" / "part-00001.npy", mmap_mode="r")
    np.testing.assert_array_equal(mapped, features[4:8])


def test_a_store_grows_and_keeps_what_it_has(tmp_path):
    with open_store(tmp_path / "f", num_rows=6) as store:
        for part in store.parts():
            write(part)
    with open_store(tmp_path / "f", num_rows=11) as store:
        assert [part.has("x") for part in store.parts()] == [True, False, False]


def test_features_of_a_float64_network_lose_nothing(tmp_path):
    with open_store(tmp_path / "f", num_rows=4) as store:
        (part,) = store.parts()
        part.write(iter([(rows(0, 4)[0] / np.float64(3), rows(0, 4)[1])]), "x")
        np.testing.assert_array_equal(part.read(0, 4)[0], rows(0, 4)[0] / np.float64(3))


def test_another_key_is_refused_by_its_first_field(tmp_path):
    with open_store(tmp_path / "f"):
        pass
    other = {"parameters": "abc", "sketch": {"kind": "sjlt", "dim": 5}}
    with pytest.raises(StoreError, match=r"got sketch\.dim 4 there, 5 here"), open_store(tmp_path / "f", key=other):
        pass
    with pytest.raises(StoreError, match="got part_size 4 there, 8 here"), open_store(tmp_path / "f", part_size=8):
        pass


def test_one_writer_at_a_time_and_no_foreign_folder(tmp_path):
    with open_store(tmp_path / "f"), pytest.raises(StoreError, match="one writer"), open_store(tmp_path / "f"):
        pass
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match=r"holds 'thesis\.tex'"), open_store(tmp_path / "mine"):
        pass


def test_a_part_that_breaks_off_is_absent(tmp_path):
    """By an error of the producer, by too few rows; those before it stay, and a second try succeeds."""
    with open_store(tmp_path / "f") as store:
        first, second, _ = store.parts()
        write(first)

        def failing():
            yield rows(4, 6)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            second.write(failing(), "x")
        with pytest.raises(DataError, match=r"rows 4 to 7; got 2 of them"):
            second.write(iter([rows(4, 6)]), "x")
        assert first.has("x") and not second.has("x")
        assert not list((tmp_path / "f").glob("*.tmp"))
        write(second)
        assert second.has("x")


def test_damage_is_named(tmp_path):
    with open_store(tmp_path / "f", num_rows=4) as store:
        (part,) = store.parts()
        write(part)
        shutil.copy(part.file, tmp_path / "whole")
        part.file.write_bytes(part.file.read_bytes()[:-8])
        with pytest.raises(StoreError, match=r"part-00000\.npy must be as it was written; got 3 rows of 4"):
            part.read(0, 4)
        with pytest.raises(StoreError, match="content of another hash"):
            part.check()
        part.file.write_bytes(b"nonsense")
        with pytest.raises(StoreError, match="got no array"):
            part.read(0, 4)
        shutil.copy(tmp_path / "whole", part.file)
        part.record.write_text(json.dumps({"start": 0, "stop": 3}))
        assert not part.has("x")


def test_a_store_is_opened_to_be_read(tmp_path):
    with open_store(tmp_path / "f" / "network-0") as store:
        for part in store.parts():
            write(part)
    for folder in (tmp_path / "f", tmp_path / "f" / "network-0"):
        found = open_features(folder, key={"parameters": "abc"})
        assert found.num_rows == 11
        np.testing.assert_array_equal(np.concatenate([p.read(*s)[0] for p, *s in found.between(0, 11)]), rows(0, 11)[0])
    with pytest.raises(StoreError, match="must be of this run; got parameters 'abc' there, 'xyz' here"):
        open_features(tmp_path / "f", key={"parameters": "xyz"})
    with pytest.raises(StoreError, match=r"must be a folder of features; got no manifest\.json in it"):
        open_features(tmp_path)


def test_a_store_that_is_not_whole_is_not_opened(tmp_path):
    with open_store(tmp_path / "f") as store:
        with pytest.raises(StoreError, match="must have every part of its features; got 0"):
            open_features(tmp_path / "f")
        for part in store.parts():
            write(part)
    (tmp_path / "f" / "part-00001.json").unlink()
    with pytest.raises(StoreError, match="must have every part of its features; got 2"):
        open_features(tmp_path / "f")
    with open_store(tmp_path / "f") as store:
        write(list(store.parts())[1])
    data = bytearray((tmp_path / "f" / "part-00002.npy").read_bytes())
    data[-1] ^= 1
    (tmp_path / "f" / "part-00002.npy").write_bytes(data)
    with pytest.raises(StoreError, match="must be as it was written; got content of another hash"):
        open_features(tmp_path / "f")


def test_a_store_is_found_without_a_touch_of_it(tmp_path):
    assert features_begun(tmp_path / "f", key=KEY, num_rows=11, part_size=4) is None
    assert not list(tmp_path.iterdir())
    with open_store(tmp_path / "f") as store:
        for part in store.parts():
            write(part)
    there = sorted(tmp_path.rglob("*"))
    assert features_begun(tmp_path / "f", key=KEY, num_rows=11, part_size=4) == store
    with pytest.raises(StoreError, match=r"got sketch\.dim 4 there, 5 here"):
        features_begun(tmp_path / "f", key={**KEY, "sketch": {"kind": "sjlt", "dim": 5}}, num_rows=11, part_size=4)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").write_text("mine")
    with pytest.raises(StoreError, match="holds 'mine'"):
        features_begun(tmp_path / "other", key=KEY, num_rows=11, part_size=4)
    (tmp_path / "other" / "mine").unlink()
    assert features_begun(tmp_path / "other", key=KEY, num_rows=11, part_size=4) is None
    (tmp_path / "other").rmdir()
    assert sorted(tmp_path.rglob("*")) == there
