import json

import pytest

from infotorch import store


@pytest.fixture
def kept(tmp_path, finished_run):
    return finished_run(tmp_path / "a")


def test_a_whole_run_passes_and_its_files_are_counted(run, kept):
    files = [str(f) for f in store.verify(kept)]
    assert run("verify", kept) == (0, f"{kept}: whole, {len(files)} files as the manifest says\n", "")
    assert json.loads(run("verify", kept, "--json").out) == {"run": str(kept), "files": files}


@pytest.mark.parametrize("harm", ["truncated", "altered", "absent"])
def test_a_damaged_shard_fails_and_is_named(run, kept, harm):
    shard = next((kept / "scores").glob("*.parquet"))
    whole = shard.read_bytes()
    if harm == "absent":
        shard.unlink()
    else:
        shard.write_bytes(whole[:-10] if harm == "truncated" else whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    done = run("verify", kept)
    assert done.code == 1 and done.out == "" and done.err.count("\n") == 1
    assert shard.name in done.err and "unexpected" not in done.err


def test_a_folder_that_is_no_run_fails_in_one_line(run, tmp_path):
    done = run("verify", tmp_path / "absent")
    assert done.code == 1 and done.out == "" and done.err.count("\n") == 1 and "unexpected" not in done.err
