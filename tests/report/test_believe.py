"""Checks, settings, and the command that repeats a run."""

import dataclasses

from infotorch.report.believe import checks, command, facts, flat, warnings
from infotorch.report.view import view
from tests.report.double import digits_run


def with_manifest(**manifest):
    return view(dataclasses.replace(digits_run(), manifest=manifest))


def test_unreliable_samples_are_named():
    seen = view(digits_run())
    name, text, kind = checks(seen, {})[0]
    assert name == "Conditioning: scores marked reliable" and kind == "diagnostic"
    assert text.startswith("399 of 400 samples (99.8") and text.endswith(f"not reliable: {seen.ids[7]}")


def test_retraining_and_identical_inputs_are_stated():
    seen = view(digits_run())
    found = {name: text for name, text, _ in checks(seen, {3: [(5, 0.0)], 5: [(3, 0.0)], 6: [(3, 9.0)]})}
    assert found["True retraining"].startswith("Pearson 0.991, Spearman 0.985")
    assert found["Identical inputs"].startswith("2 samples have the same picture as another: ")


def test_command_is_the_command_line():
    assert command(view(digits_run())) == "infotorch demo --seed 0"
    assert command(with_manifest(command={"argv": ["infotorch", "score", "a b.py:task"]})) == (
        "infotorch score 'a b.py:task'"
    )


def test_a_run_from_python_shows_its_configuration():
    assert command(with_manifest(command={"measures": ["x"]})) == '{\n  "measures": [\n    "x"\n  ]\n}'


def test_nested_settings_are_dotted():
    config = {"a": {"b": 1, "c": [{"d": None}, {"d": True}]}, "e": [1, 2]}
    assert flat(config) == [("a.b", "1"), ("a.c[0].d", "none"), ("a.c[1].d", "True"), ("e", "1, 2")]


def test_measures_go_by_their_names():
    config = {"measures": [{"name": "unique_information", "l2": 0.1}, {"name": "grad_norm"}]}
    assert flat(config) == [("measures.unique_information.l2", "0.1"), ("measures.grad_norm", "yes")]


def test_a_long_setting_is_cut_and_says_so():
    assert flat({"x": "y" * 1000})[0][1].endswith("… (1,000 characters)")


def test_every_score_names_its_source_and_kind():
    scores = dict(dict(facts(view(digits_run())))["Scores"])
    assert scores["unique_information_weights"] == "arXiv 2101.06640, eq. 5; estimate, unit nats"


def test_warnings_are_the_runs():
    assert warnings(view(digits_run())) == ["1 sample is marked not reliable."]
