import json
import webbrowser

import pytest

for needed in ("jinja2", "altair", "vl_convert"):
    pytest.importorskip(needed, reason="the report extra is absent")


def test_the_page_is_written_where_it_was_asked_for(run, tmp_path, finished_run):
    kept = finished_run(tmp_path / "a")
    page = tmp_path / "page.html"
    done = run("report", kept, "--html", page)
    assert done.code == 0, done.err
    assert done.out.startswith(f"report  {page} (") and done.out.endswith(" MB)\n")
    assert page.read_text().lower().startswith("<!doctype html>")


def test_other_runs_stand_on_the_same_page(run, tmp_path, finished_run):
    kept, page = finished_run(tmp_path / "a"), tmp_path / "page.html"
    (tmp_path / "table").mkdir()
    row = {"step": 0, "target": "labels", "unit_adjusted": 2.5}
    settings = {"f0": "zero", "tau": 1.0, "output": "logits", "kernel": "full", "ridge": 0.5, "ridge_rel": None,
                "data": {"num_samples": 7, "sample": None}}  # fmt: skip
    table = {"settings": settings, "checkpoints": {"step-00000000": {"sha256": "", "rows": [row]}}}
    (tmp_path / "table/complexity.json").write_text(json.dumps(table))
    done = run("report", kept, tmp_path / "table", "--html", page)
    assert done.code == 0, done.err
    assert "table: 7 samples; the kernel of all outputs; ridge 0.5; targets less nothing." in page.read_text()
    done = run("report", kept, kept, "--html", page)
    assert done.code == 1 and "a score must stand in one of the runs" in done.err and done.err.count("\n") == 1


def test_the_page_stands_beside_the_run_where_nothing_was_asked(run, tmp_path, finished_run):
    kept = finished_run(tmp_path / "a")
    before = sorted(kept.rglob("*"))
    found = json.loads(run("report", kept, "--json").out)
    assert found["html"] == str(tmp_path / "a.html") and found["bytes"] == (tmp_path / "a.html").stat().st_size
    assert sorted(kept.rglob("*")) == before, "the run stays as it is"


@pytest.mark.parametrize(("inside", "word"), [("a", "."), ("a", "./"), ("a/scores", "..")])
def test_the_page_of_the_current_folder_stands_beside_it(run, tmp_path, finished_run, monkeypatch, inside, word):
    finished_run(tmp_path / "a")
    monkeypatch.chdir(tmp_path / inside)
    done = run("report", word)
    assert done.code == 0, done.err
    assert (tmp_path / "a.html").is_file()


@pytest.mark.parametrize("started", [True, False])
def test_the_browser_is_opened_on_demand(run, tmp_path, finished_run, monkeypatch, started):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: opened.append(uri) or started)
    done = run("report", finished_run(tmp_path / "a"), "--open")
    assert done.code == 0 and opened == [(tmp_path / "a.html").as_uri()]
    assert ("No browser could be started" in done.out) != started


def test_a_folder_that_is_no_run_fails_in_one_line(run, tmp_path):
    done = run("report", tmp_path / "absent")
    assert done.code == 1 and done.out == "" and done.err.count("\n") == 1 and "unexpected" not in done.err
    assert list(tmp_path.iterdir()) == []
