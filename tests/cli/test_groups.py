import json

import numpy as np
import pyarrow.parquet
import pytest

from infotorch.curation import informativeness
from tests.curation.doubles import kept, noisy

LONG = "\x1b[31m long name of a column"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    table, known, _ = noisy(metadata={LONG: np.arange(60) % 7, "hostile": np.array(["\x1b[31m", "y" * 500] * 30)})
    return kept(tmp_path_factory.mktemp("runs") / "a", table, known)


def test_groups_are_shown_in_80_columns(run, made):
    done = run("groups", made, "--per", "source")
    lines = done.out.splitlines()
    assert done.code == 0 and max(map(len, lines)) <= 80
    assert lines[0] == "2 of 2 groups by source, highest mean unique information weights first:"
    web = next(line for line in lines if line.startswith("web"))
    assert web.split()[1] == "20" and web.endswith("100.0 %")
    assert run("groups", made).out.startswith("3 of 3 groups by label, highest mean unique information weights first:")
    top = run("groups", made, "--by", "own_residual", "--top", "2").out.splitlines()
    assert top[0] == "2 of 3 groups by label, highest mean own residual first:"
    fifths = run("groups", made, "--per", "size").out.splitlines()
    assert fifths[0] == "5 of 5 parts of size, mean unique information weights in each:" and max(map(len, fifths)) <= 80
    assert any(line.startswith("0 to ") for line in fifths)


@pytest.mark.parametrize("per", [LONG, "hostile"])
def test_no_name_is_obeyed(run, made, per):
    done = run("groups", made, "--per", per)
    assert done.code == 0 and "\x1b" not in done.out and r"\x1b[31m" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_json_and_the_file_have_every_group(run, made, tmp_path):
    truth = informativeness(made, per="source").table()
    file = tmp_path / "a.parquet"
    found = json.loads(run("groups", made, "--per", "source", "--top", "1", "--out", file, "--json").out)
    assert found["groups"] == truth.to_pylist() and found["unit"] == "nats" and not found["fifths"]
    assert pyarrow.parquet.read_table(file).equals(truth)
    assert run("groups", made, "--out", file).out.splitlines()[-1] == f"written  {file}"


def test_mistakes_fail_in_one_line(run, made):
    for words, line in (
        (["--per", "sorce"], "got 'sorce'. Did you mean 'source'?"),
        (["--by", "own_residaul"], "got 'own_residaul'. Did you mean 'own_residual'?"),
        (["--out", "a.txt"], "the file's ending must be one of '.csv'"),
    ):
        done = run("groups", made, *words)
        assert done.code == 2 and done.out == "" and done.err.count("\n") == 1 and line in done.err, done
