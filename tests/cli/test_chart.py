from infotorch.cli.chart import drawn
from infotorch.errors import MissingExtraError
from infotorch.report.sweep import transition

ROWS = [{"beta": 1.0, "corruption": 0.0, "kl": 1.0, "train_acc": 0.5}]


def test_the_page_is_named(tmp_path):
    assert drawn("Sweep", lambda: transition(ROWS), tmp_path / "a.html") == str(tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size > 10_000


def test_a_missing_extra_is_told_in_its_place(tmp_path):
    def missing():
        raise MissingExtraError("report: needs altair; got no such module. Run pip install 'infotorch[report]'.")

    assert drawn("Sweep", missing, tmp_path / "a.html").startswith("not drawn: report: needs altair")
    assert list(tmp_path.iterdir()) == []
