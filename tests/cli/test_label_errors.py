import json

import pyarrow.parquet
import pytest

from infotorch.curation import label_errors
from tests.curation.doubles import kept, noisy, samples, scores

HOSTILE = ("[red]x[/red]", "\x1b[31mx", "a\nb", "y" * 10_000)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of 200 samples, of which 34 labels are wrong, with hostile ids."""
    table, known, _ = noisy(200)
    ids = (*HOSTILE, *known.ids[4:])
    known = samples(known.y, ids=ids, label_names=("[b]cat[/b]", "dog\n", "e" * 500), metadata=known.metadata)
    return kept(tmp_path_factory.mktemp("runs") / "a", table, known)


def test_wrong_labels_are_shown_in_80_columns_and_none_is_obeyed(run, made):
    done = run("label-errors", made)
    lines = done.out.splitlines()
    assert done.code == 0 and lines[0] == "34 of 200 labels (17.0 %) look wrong."
    assert max(map(len, lines)) <= 80 and "\x1b" not in done.out
    assert "These are the first 20. With --out FILE.csv all are written." in lines
    assert lines[-1] == "rule  suggested label differs, own residual > 0.5 (whisker where it doesn't)"
    assert lines[3].split() == ["rank", "id", "given", "suggested", "residual"]
    assert [line.split()[0] for line in lines[5:25]] == [str(rank) for rank in range(1, 21)]
    everything = run("label-errors", made, "--top", "200").out
    for shown in ("[red]x[/red]", r"\x1b[31mx", r"a\nb", "…y", "[b]cat[/b]", r"dog\n"):
        assert shown in everything


def test_json_has_every_label_that_looks_wrong(run, made):
    found = json.loads(run("label-errors", made, "--json").out)
    truth = label_errors(made)
    assert found["num_issues"] == 34 == len(found["issues"]) and found["num_labels"] == 200
    assert found["threshold"] == truth.threshold == 0.5 and found["by"] == "own_residual"
    assert found["issues"] == truth.table().slice(0, 34).to_pylist()


def test_options_reach_the_ranking(run, made):
    assert json.loads(run("label-errors", made, "--threshold", "0.39", "--json").out)["num_issues"] > 34
    by = json.loads(run("label-errors", made, "--by", "unique_information_weights", "--top", "5", "--json").out)
    assert by["by"] == "unique_information_weights" and len(by["issues"]) == 5 and by["threshold"] is None
    assert "rule  the first 5 of the ranking" in run("label-errors", made, "--top", "5").out


def test_all_labels_are_written(run, made, tmp_path):
    done = run("label-errors", made, "--out", tmp_path / "all.parquet")
    assert done.code == 0 and done.out.splitlines()[-1] == f"written  {tmp_path / 'all.parquet'}"
    assert pyarrow.parquet.read_table(tmp_path / "all.parquet").equals(label_errors(made).table())


def test_no_wrong_label_is_no_failure(run, tmp_path):
    path = kept(tmp_path / "a", scores(own_residual=[0.1, 0.2], suggested_label=[0, 1]), samples([0, 1]))
    done = run("label-errors", path)
    assert done.code == 0 and done.out.splitlines()[0] == "0 of 2 labels (0.0 %) look wrong."
    assert len(done.out.splitlines()) == 2
    assert run("label-errors", path, "--out", tmp_path / "none.CSV").code == 0


def test_mistakes_fail_in_one_line(run, made, tmp_path):
    for words, code, line in (
        (["--by", "own_residaul"], 2, "got 'own_residaul'. Did you mean 'own_residual'?"),
        (["--top", "0"], 2, "--top must be a whole number, at least 1; got '0'"),
        (["--top", "3", "--threshold", "1"], 2, "one of top and threshold may be given"),
        (["--out", "a.txt"], 2, "the file's ending must be one of '.csv'"),
        (["--out", tmp_path / "none" / "a.csv"], 1, "must be written; got 'no such file or directory'"),
    ):
        done = run("label-errors", made, *words)
        assert done.code == code and done.out == "" and done.err.count("\n") == 1 and line in done.err, done
    table, known, _ = noisy()
    for path, line in (
        (kept(tmp_path / "a", table, known, finish=False), "must be finished; got no scores for rows [16, 32)"),
        (tmp_path / "none", "must be a run; got no such folder"),
        (kept(tmp_path / "soft", scores(a=[1.0]), samples([[0.5, 0.5]])), "labels must be one class a sample"),
    ):
        done = run("label-errors", path)
        assert done.code == 1 and done.out == "" and done.err.count("\n") == 1 and line in done.err, done
