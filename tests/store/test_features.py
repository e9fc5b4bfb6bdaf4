"""Parts of features: whole or absent, of one key, readable by NumPy alone."""

import hashlib
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
        found = open_features(folder, key={"parameters": ["abd", "abc"]})
        assert found.num_rows == 11
        np.testing.assert_array_equal(np.concatenate([p.read(*s)[0] for p, *s in found.between(0, 11)]), rows(0, 11)[0])
    with pytest.raises(StoreError, match="must be of this run; got parameters 'abc' there, 'x' or 'z' here"):
        open_features(tmp_path / "f", key={"parameters": ["x", "z"]})
    with pytest.raises(StoreError, match=r"must be a folder of features; got no manifest\.json in it"):
        open_features(tmp_path)


def test_a_store_that_is_not_whole_is_not_opened(tmp_path):
    with open_store(tmp_path / "f") as store:
        with pytest.raises(StoreError, match="must have every part of its features; got none"):
            open_features(tmp_path / "f")
        for part in store.parts():
            write(part)
    (tmp_path / "f" / "part-00001.json").unlink()
    with pytest.raises(StoreError, match=r"must have features of rows 4 to 7 of 11; got no part-00001\.json"):
        open_features(tmp_path / "f")
    with open_store(tmp_path / "f") as store:
        write(list(store.parts())[1])
    data = bytearray((tmp_path / "f" / "part-00002.npy").read_bytes())
    data[-1] ^= 1
    (tmp_path / "f" / "part-00002.npy").write_bytes(data)
    with pytest.raises(StoreError, match="must be as it was written; got content of another hash"):
        open_features(tmp_path / "f")


def test_features_of_another_number_of_samples_are_told(tmp_path):
    """Of 11 samples, then of 6 in the same folder: the first two parts are the latter's, the last is the former's."""
    for num_rows in (11, 6):
        with open_store(tmp_path / "f", num_rows=num_rows) as store:
            for part in store.parts():
                write(part, inputs="y" if num_rows == 6 else "x")
    assert open_features(tmp_path / "f", num_rows=6).num_rows == 6
    for known in (11, None):
        with pytest.raises(StoreError, match=r"must be of 11 samples; got rows 4 to 5 in part-00001\.json, for 4 to 7"):
            open_features(tmp_path / "f", num_rows=known)
    with pytest.raises(StoreError, match=r"must have features of rows 12 to 12 of 13; got no part-00003\.json"):
        with open_store(tmp_path / "g", num_rows=12) as store:
            for part in store.parts():
                write(part)
        open_features(tmp_path / "g", num_rows=13)


def test_features_of_other_inputs_are_refused(tmp_path):
    hashes = np.arange(11, dtype=np.uint64)
    for size in (4, 11):
        with open_store(tmp_path / str(size), part_size=size) as store:
            for part in store.parts():
                write(part, inputs=hashes[part.start : part.stop].tobytes().hex())
        assert open_features(tmp_path / str(size), inputs=hashlib.sha256(hashes.tobytes()).hexdigest()).num_rows == 11
        other = hashlib.sha256(hashes[::-1].tobytes()).hexdigest()
        with pytest.raises(StoreError, match=f"must be of these samples; got inputs '.*' there, '{other}' here"):
            open_features(tmp_path / str(size), inputs=other)


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
