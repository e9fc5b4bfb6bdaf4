"""The file that is written: whole, the same for the same run, self-contained, of limited size."""

import base64
import dataclasses
import hashlib
import json
import pathlib
import re
import sys

import numpy as np
import pyarrow as pa
import pytest

from infotorch.errors import MissingExtraError, StoreError
from infotorch.report import build
from infotorch.report.build import embedded_json
from infotorch.table import Column, Scores
from tests.report.double import SOURCE, DoubleRun, digits_run, noise_run


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return build(digits_run(), tmp_path_factory.mktemp("report") / "digits.html").read_text()


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])


def test_a_warning_is_told_of_at_the_head(digits, tmp_path):
    link = '<a href="#believe-title">a warning</a>'
    assert digits.index('class="finding"') < digits.index(link) < digits.index('class="figures"')
    calm = dataclasses.replace(digits_run(), noted={})
    assert link not in build(calm, tmp_path / "a.html").read_text()


def test_the_same_run_gives_the_same_bytes(tmp_path):
    assert (
        build(digits_run(), tmp_path / "a.html").read_bytes() == build(digits_run(), tmp_path / "b.html").read_bytes()
    )


def test_sections_come_in_the_order_of_the_design(digits):
    titles = re.findall(r'<h2 id="[\w-]+-title">(.*?)</h2>', digits)
    assert titles == ["Look at these first", "Distribution", "Most and least informative", "Scores against each other",
                      "Agreement with true retraining", "Why believe it"]  # fmt: skip


def test_head_has_at_most_four_numbers_each_with_its_kind(digits):
    head = digits[digits.index("<h1>") : digits.index("<nav")]
    values = re.findall(r'<span class="value">(.*?)</span>', head)
    kinds = re.findall(r'<dd class="kind">(.*?)</dd>', head)
    assert values == ["0.988", "0.925", *values[2:]] and len(values) == len(kinds) == 4
    assert set(kinds) <= {"bound", "estimate", "diagnostic", "heuristic"}


def test_without_notes_the_page_says_what_it_can_from_the_scores(tmp_path):
    html = build(dataclasses.replace(digits_run(), noted={}, manifest={}), tmp_path / "a.html").read_text()
    assert "own residual of 400 samples." in html
    assert "differ from the label that is suggested without the sample" in html and "So many tell" not in html
    assert "Agreement with true retraining" not in html


def test_a_list_that_is_cut_says_how_many_more_there_are(digits, tmp_path):
    """Half of the suggested labels differ, of which a tenth of the samples is listed."""
    label = np.arange(400) % 2
    columns = {
        name: Column(values=values, unit="1", source=SOURCE)
        for name, values in (("memorization", np.linspace(-0.5, 1, 400)), ("suggested_label", np.zeros(400, int)))
    }
    rows = pa.table({"index": np.arange(400), "id": [str(i) for i in range(400)], "label": label})
    run = DoubleRun(table=Scores(index=np.arange(400), columns=columns), rows=rows)
    html = build(run, tmp_path / "a.html").read_text()
    assert "40 samples whose suggested label differs from the given one, the largest memorization first." in html
    assert "The suggested label differs for 160 more, in all 50\N{NO-BREAK SPACE}% of the samples" in html
    assert data_of(html)["orders"]["suspicious"] == list(range(399, 320, -2))
    assert "is suggested without the sample. So many tell more of the network than of the labels." in html
    assert "samples of no memorization" not in digits


@pytest.mark.parametrize(("name", "first", "ends"), [
    ("margin", "smallest margin", "certain"), ("self_confidence", "smallest self-confidence", "certain"),
    ("loss", "largest loss", "surprising"), ("el2n", "largest error norm (EL2N)", "surprising"),
    ("gradient_norm", "largest gradient norm", "surprising"),
])  # fmt: skip
def test_a_baseline_is_listed_from_its_suspicious_end(name, first, ends, tmp_path):
    column = Column(values=np.linspace(-1 if name == "margin" else 0, 2, 40), unit="1", source=SOURCE)
    rows = pa.table({"index": np.arange(40), "label": np.arange(40) % 2})
    html = build(DoubleRun(table=Scores(index=np.arange(40), columns={name: column}), rows=rows), tmp_path / "a.html")
    html = html.read_text()
    assert f"The samples with the {first}." in html and f"Most and least {ends}" in html
    low = first.startswith("smallest")
    assert (data_of(html)["orders"]["suspicious"][0] == 0) == low and data_of(html)["orders"]["most"][0] == 39


def test_nothing_points_outside(digits):
    without_runtime = re.sub(r"<script>.*?</script>", "", digits, flags=re.S)
    assert not re.findall(r'(?:src|href|action)\s*=\s*"(?!#|data:)', without_runtime)
    assert "@import" not in without_runtime and "url(" not in without_runtime


def test_policy_allows_the_page_own_scripts_and_no_request(digits):
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', digits)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy and "connect-src" not in policy
    for text in re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", digits, re.S):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert not re.search(r"<[^>]+\s(?:on\w+|style)=", re.sub(r"<script.*?</script>", "", digits, flags=re.S))


def test_every_chart_has_words_and_a_table(digits):
    figures = re.findall(r"<figure.*?</figure>", digits, re.S)
    assert len(figures) == len(data_of(digits)["charts"]) == 3 + 4 + 3 + 1
    for figure in figures:
        assert re.search(r'role="img" aria-label="[^"]{20,}"', figure)
        assert figure.count("<tr>") >= 2


def test_embedded_json_cannot_end_its_element():
    text = embedded_json({"id": "</script><!--\u2028&"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"id": "</script><!--\u2028&"}


def test_hostile_names_are_escaped(tmp_path):
    run = digits_run(40)
    hostile = '"><script>window.hacked=1</script>\u202e\x00'
    rows = run.rows.set_column(1, "id", [[f"{hostile}{i}" for i in range(40)]])
    rows = rows.append_column(hostile, [[hostile, "a"] * 20])
    html = build(dataclasses.replace(run, rows=rows), tmp_path / "a.html").read_text()
    assert "<script>window" not in html
    assert data_of(html)["samples"]["id"][3] == hostile.replace("\x00", "␀") + "3"


def test_half_a_surrogate_pair_in_a_note_does_not_stop_the_page(tmp_path):
    run = dataclasses.replace(digits_run(40), noted={"finding": {"text": "a\ud800b"}})
    assert "a?b" in build(run, tmp_path / "a.html").read_text()


def regression():
    columns = {"own_residual": Column(values=np.arange(1.0, 9.0), unit="1", source=SOURCE)}
    samples = {"index": np.arange(8), "id": list("abcdefgh"), "label": np.linspace(0, 1, 8)}
    return DoubleRun(table=Scores(index=np.arange(8), columns=columns), rows=pa.table(samples))


def texts():
    columns = {"unique_information_weights": Column(values=np.array([1.0, 2.0, np.inf]), unit="nats", source=SOURCE)}
    samples = {"index": np.arange(3), "id": list("abc"), "text": ["one", "two", "x" * 30_000]}
    return DoubleRun(table=Scores(index=np.arange(3), columns=columns), rows=pa.table(samples))


def infinite():
    columns = {"unique_information_weights": Column(values=np.array([1.0, 2, 3, np.inf]), unit="nats", source=SOURCE)}
    columns["own_residual"] = Column(values=np.full(4, np.inf), unit="1", source=SOURCE)
    samples = {"index": np.arange(4), "id": list("abcd"), "label": [0, 1, 0, 1]}
    return DoubleRun(table=Scores(index=np.arange(4), columns=columns), rows=pa.table(samples))


def bare():
    columns = {"unique_information_weights": Column(values=np.zeros(1), unit="nats", source=SOURCE)}
    return DoubleRun(table=Scores(index=np.arange(1), columns=columns), rows=pa.table({"index": np.arange(1)}))


def ensemble():
    rng = np.random.default_rng(0)
    columns = {}
    for time in (1, 10, "inf"):
        for name in (f"unique_information_weights_t={time}", f"unique_information_weights_t={time}_stderr"):
            columns[name] = Column(values=rng.gamma(2, 1, 30), unit="nats", source=SOURCE)
        columns[f"suggested_label_t={time}"] = Column(values=rng.integers(0, 3, 30), unit="1", source=SOURCE)
    samples = {"index": np.arange(30), "id": [str(i) for i in range(30)], "label": np.arange(30) % 3}
    return DoubleRun(table=Scores(index=np.arange(30), columns=columns), rows=pa.table(samples))


@pytest.mark.parametrize("run", [regression, texts, infinite, bare, ensemble], ids=lambda run: run.__name__)
def test_runs_with_only_some_of_it_have_a_page(run, tmp_path):
    html = build(run(), tmp_path / "a.html").read_text()
    assert len(data_of(html)["samples"]["index"]) == len(run().table)
    assert "NaN" not in html[: html.index('<script type="application/json"')]


def test_standard_errors_reach_the_panel(tmp_path):
    scores = data_of(build(ensemble(), tmp_path / "a.html").read_text())["samples"]["scores"]
    assert [len(score["stderr"]) for score in scores] == [30, 30, 30]


def test_cut_texts_are_announced(tmp_path):
    html = build(texts(), tmp_path / "a.html").read_text()
    assert "The texts are cut at 20,000 characters." in html


def test_two_thousand_samples_with_noisy_pictures_stay_under_six_megabytes(tmp_path):
    """Noise is the worst picture for PNG."""
    html = build(noise_run(2000, side=32), tmp_path / "a.html")
    assert html.stat().st_size < 6_000_000
    samples = data_of(html.read_text())["samples"]
    assert all(samples["image"])


def test_a_hundred_thousand_rows_are_binned_and_the_page_says_so(tmp_path):
    html = build(noise_run(100_000), tmp_path / "a.html")
    assert html.stat().st_size < 6_000_000
    text = html.read_text()
    assert "Charts show all 100,000 samples in bins" in text
    assert data_of(text)["samples"]["total"] == 100_000 and not data_of(text)["brushes"]


@pytest.mark.parametrize("module", ["jinja2", "altair", "vl_convert", "PIL"])
def test_a_missing_library_is_named_with_the_command_that_brings_it(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf'report: needs {module}; .* Run: pip install "infotorch\[report\]"'):
        build(digits_run(20), tmp_path / "a.html")


def test_an_unwritable_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"report: .*file/a\.html must be writable; got .*\. Give another --html"):
        build(digits_run(20), tmp_path / "file" / "a.html")


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "replace", full)
    with pytest.raises(StoreError, match="must be writable; got No space left on device"):
        build(digits_run(), tmp_path / "a.html")
    assert not list(tmp_path.iterdir())
