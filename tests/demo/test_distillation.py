"""Distillation's demo: what it prints follows from what it wrote, and it says that distillation doesn't help here."""

import json
import pathlib

import pytest

from infotorch import demo
from infotorch.demo import distillation
from infotorch.demo.distillation import ALONE, STUDENTS, TAUGHT, TEACHER, statement
from infotorch.errors import StoreError


def test_statement_says_what_the_seeds_show():
    def figures(**accuracies):
        rows = {name: [(0.9, 1.0), (0.92, 1.0), (0.91, 1.0)] for name in (TEACHER, *STUDENTS)}
        return {**rows, **{TAUGHT[int(n[1:])]: [(a, 1.0) for a in found] for n, found in accuracies.items()}}

    helps = statement(figures(t1=(0.94, 0.96, 0.95)))
    assert helps.startswith(f"Here distillation helps: the best taught student ({TAUGHT[1]}) gains +4.0 ± 0.0 points")
    noise = statement(figures(t2=(0.95, 0.91, 0.93), t0=(0.5, 0.5, 0.5)))
    assert noise.startswith(f"On digits distillation does not help: the best taught student ({TAUGHT[2]}) gains +2.0 ±")
    assert statement(figures()).startswith("On digits distillation does not help")


@pytest.mark.slow
def test_digits(tmp_path, monkeypatch):
    """Two seeds of a third of the training: far above chance; a second run takes the teachers that are there."""
    monkeypatch.setattr(distillation, "NUM_SEEDS", 2)
    monkeypatch.setattr(distillation, "EPOCHS", 20)
    monkeypatch.setattr(distillation, "STEPS", 120)
    seen = []
    found = demo.run_distill(tmp_path / "a", progress=lambda *told: seen.append(told))
    rows = {row.name: row for row in found.rows}
    assert list(rows) == [TEACHER, *STUDENTS] and seen[-1] == ("distilling", 10, 10)
    assert rows[TEACHER].fidelity == 1.0 and all(row.accuracy > 0.5 for row in found.rows)
    assert json.loads(found.results.read_text())[1]["accuracy"] == rows[ALONE].accuracy
    path = tmp_path / "a" / "teacher-0" / "step-00000030.pt"
    before = path.stat().st_mtime_ns
    assert demo.run_distill(tmp_path / "a").rows == found.rows and path.stat().st_mtime_ns == before
    (pathlib.Path(tmp_path) / "manifest.json").touch()
    with pytest.raises(StoreError, match="must be free for the demo's folder; got a run"):
        demo.run_distill(tmp_path)
