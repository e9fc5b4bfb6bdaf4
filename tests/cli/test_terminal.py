import json

import pytest

from infotorch.cli.terminal import Terminal, finite


def test_results_are_json_even_where_json_lacks_the_number(capsys):
    Terminal(json=True).result({"a": [1.5, float("inf"), float("nan"), (-float("inf"),)], "b": True, "c": 2**60})
    assert json.loads(capsys.readouterr().out) == {"a": [1.5, None, None, [None]], "b": True, "c": 2**60}
    assert finite({1: float("inf")}) == {"1": None}


def test_a_table_fits_80_columns_and_never_cuts_a_number(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    Terminal().table(
        ["id", "given → suggested", "unique information weights [nats]", "own residual"],
        [["x" * 28, "y" * 12 + " → " + "z" * 12, "1,230", "1.23e-05"]] * 3,
        right=[2, 3],
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("1,230" in line and "1.23e-05" in line for line in lines) == 3


def test_a_cell_is_shown_and_not_obeyed(capsys):
    Terminal().table(["[b]id[/b]"], [["[red]x[/red]"], ["\x1b[31m"], ["a\nb"], [":smile:"]])
    out = capsys.readouterr().out
    assert "[b]id[/b]" in out and "[red]x[/red]" in out and r"\x1b[31m" in out and r"a\nb" in out and ":smile:" in out


def test_a_line_is_not_wrapped_so_that_a_path_can_be_copied(capsys):
    path = "/very/long" * 30
    Terminal().facts([("run", path), ("report", "y")])
    assert capsys.readouterr().out == f"run     {path}\nreport  y\n"


@pytest.mark.parametrize("text", ["[red]", "https://x.org 12 True", "a → b"])
def test_a_line_holds_no_markup_and_no_highlighting(capsys, monkeypatch, text):
    monkeypatch.setenv("FORCE_COLOR", "1")
    Terminal().say(text)
    assert capsys.readouterr().out == text + "\n"
