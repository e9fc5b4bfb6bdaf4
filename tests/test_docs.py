"""What the pages of docs show runs as it stands there."""

import pathlib
import re

import pytest
import torch

from benchmarks.engine import coverage, nets, race, workloads
from benchmarks.measures import baselines, fisher_trace
from benchmarks.scale import plan, summaries, usefulness
from benchmarks.weights import sweep

HOUSE = pathlib.Path(__file__).parents[1]
PAGES = sorted((HOUSE / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        exec(block, names)


@pytest.mark.parametrize("page", [HOUSE / "README.md", *PAGES], ids=lambda page: str(page.relative_to(HOUSE)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_baselines_are_those_of_the_committed_lines():
    """The table is what the benchmark prints of its last lines."""
    assert baselines.table() in (HOUSE / "docs/baselines.md").read_text(), "run python -m benchmarks.measures.baselines"


def test_fisher_traces_are_those_of_the_committed_lines():
    """The tables are what the benchmark prints of its last lines."""
    page = (HOUSE / "docs/fisher-trace.md").read_text()
    assert all(table in page for table in fisher_trace.tables()), "run python -m benchmarks.measures.fisher_trace"


def test_scale_results_are_those_of_the_committed_lines():
    """The page is what the benchmark writes of its last lines, and every goal on it is met."""
    assert usefulness.PAGE.read_text() == usefulness.text(), "run python -m benchmarks.scale.usefulness --page"
    assert not [goal for goal, holds in usefulness.goals() if not holds]
    assert not plan.misses(), "a plan is more than 30 % from its run"


def test_summaries_are_those_of_the_committed_lines():
    """The table is what the benchmark prints of its last lines."""
    assert summaries.table() in (HOUSE / "docs/summarize.md").read_text(), "run python -m benchmarks.scale.summaries"


def test_the_sweep_of_beta_is_that_of_the_committed_lines():
    """The table is what the benchmark prints of its last lines, and the published effect is there."""
    assert sweep.table() in (HOUSE / "docs/variational.md").read_text(), "run python -m benchmarks.weights.sweep"
    assert not sweep.misses(sweep.last())


def test_bounds_results_are_those_of_the_committed_lines():
    """The page is what the benchmark writes, with bounds above the gap, not far, falling in n."""
    page = pytest.importorskip("benchmarks.bounds.page")
    assert page.PAGE.read_text() == page.text(), "run python -m benchmarks.bounds.page"
    assert not page.misses()


def test_limit_results_are_those_of_the_committed_lines():
    """The page is what the benchmark writes, and every figure on it is what it must be."""
    page = pytest.importorskip("benchmarks.limit.page")
    assert page.PAGE.read_text() == page.text(), "run python -m benchmarks.limit --check"
    assert not [demand.text for demand in page.demands() if not demand.holds]


def test_engine_results_are_those_of_the_committed_lines():
    """Page and plot are what the benchmark writes of its lines, and infotorch is right or refuses on every network."""
    page = pytest.importorskip("benchmarks.engine.page")
    assert page.PAGE.read_text() == page.text(), "run python -m benchmarks.engine.page"
    assert page.digest() in page.PLOT.read_text(), "run python -m benchmarks.engine.page"
    assert page.short() in (page.PAGE.parents[1] / "README.md").read_text(), "copy the page's table In short"
    assert not [key for key, line in page.lines().items() if page.OURS in line["wrong"]]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_infotorch_is_right_or_refuses_on_every_configuration():
    """What infotorch does now is what the coverage table says, and never a wrong number."""
    _, *lines = coverage.read()
    for name in (coverage.OURS, coverage.FALLBACK):
        found = {config: verdict["status"] for config, verdict in coverage.column(name).items()}
        assert set(found.values()) <= {"right", "refuses"}, found
        assert found == {line["configuration"]: line[name]["status"] for line in lines}, (
            "run python -m benchmarks.engine.coverage"
        )
    assert coverage.PAGE.read_text() == coverage.text(), "run python -m benchmarks.engine.coverage"


@pytest.mark.parametrize("key", workloads.WORKLOADS)
def test_forms_of_the_race_agree_with_a_loop(key):
    """On a network of every layer kind of the race; the other libraries are checked where they are raced."""
    torch.manual_seed(0)
    model = nets.resnet([4, 6], 1, 2)
    problem = nets.Problem(name="", model=model.eval(), x=torch.randn(4, 3, 8, 8), y=torch.randint(10, (4,)))
    problem = workloads.problem_for(workloads.WORKLOADS[key], problem)
    modules = [race.library(rival) for rival, package in race.PEERS.items() if package in ("infotorch", "torch")]
    result = race.checked(key, workloads.WORKLOADS[key], problem, modules)
    assert result.error and not result.wrong and not result.unable, (result.wrong, result.unable)
