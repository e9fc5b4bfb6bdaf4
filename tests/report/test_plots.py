"""Chart specifications: what they draw, in which units, and that no text from the data is code."""

import json

import numpy as np
import pytest

from infotorch.report.axes import of_score
from infotorch.report.plots import distribution, quantiles, scatter, spread
from infotorch.report.view import spearman, view
from tests.report.double import digits_run, noise_run


@pytest.fixture(scope="module")
def seen():
    return view(digits_run())


def layers(figure):
    return figure.spec["layer"]


def values(layer, spec):
    data = layer.get("data") or spec["data"]
    return spec["datasets"][data["name"]]


def test_distribution_counts_every_sample_once_in_all_and_once_in_its_class(seen):
    figure = distribution(seen, 0)
    counted = [int(bar["samples"].split(" of ")[0]) for bar in values(layers(figure)[0], figure.spec)]
    assert sum(counted) == 2 * len(seen)


def test_distribution_has_a_row_for_all_and_for_each_class(seen):
    figure = distribution(seen, 0)
    names = next(p["value"] for p in figure.spec["params"] if p["name"] == "row_names")
    assert names == [*"9876543210", "all"]
    assert [row[0] for row in figure.table.rows] == ["all", *"0123456789"]


def test_distribution_of_many_classes_has_twelve_rows():
    figure = distribution(view(noise_run(3000, classes=100)), 0)
    assert len(figure.table.rows) == 13
    assert figure.table.rows[-1][0] == "89 others"


def test_axes_are_named_with_units(seen):
    figure = scatter(seen, 0, 2)
    encoding = layers(figure)[0]["encoding"]
    assert encoding["x"]["title"] == "Unique information in weights (nats)"
    assert encoding["y"]["title"] == "Own residual"


def test_scatter_states_spearman(seen):
    rho = spearman(seen.scores[0].values, seen.scores[2].values)
    assert f"Spearman {rho:.3f} over 400 samples." in scatter(seen, 0, 2).caption


def test_scatter_reads_the_one_table_of_samples(seen):
    figure = scatter(seen, 0, 2)
    assert figure.spec["datasets"] == {"samples": [], "selected": []}
    assert figure.brush == ("c0", "c2")


def test_scatter_of_many_rows_is_binned_and_loses_none():
    large = view(noise_run(20_000))
    figure = scatter(large, 0, 1)
    assert figure.brush is None
    assert sum(cell["n"] for cell in values(layers(figure)[0], figure.spec)) == 20_000


def test_spread_puts_the_largest_median_first(seen):
    score = seen.scores[0]
    groups = [(str(c), np.flatnonzero(seen.code == c)) for c in range(10)]
    figure = spread(score, "class", groups, of_score(score), place=0)
    medians = [row["median"] for row in values(layers(figure)[0], figure.spec)]
    assert medians == sorted(medians, reverse=True)


def test_quantiles_are_numpys(seen):
    score = seen.scores[2]
    rows = np.arange(50)
    name, samples, _, middle, _, largest, share = quantiles("t", score, [("some", rows)]).rows[0]
    assert (name, middle) == ("some", f"{np.median(score.values[:50]):.3f}")
    assert largest == f"{score.values[:50].max():.2f}"
    assert samples.startswith("50 (") and share.endswith("%")


def test_no_color_is_fixed(seen):
    """Colors are variables of the page: one drawing serves light, dark and print."""
    text = json.dumps([distribution(seen, 0).spec, scatter(seen, 0, 1).spec])
    assert "#" not in text and "rgb" not in text


def test_names_of_classes_are_data_and_never_expressions():
    run = noise_run(60, classes=2)
    hostile = "'];alert(1)//"
    names = [hostile if label else "plain" for label in run.rows["label"].to_pylist()]
    seen = view(type(run)(table=run.table, rows=run.rows.append_column("label_name", [names])))
    spec = distribution(seen, 0).spec

    def expressions(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("labelExpr", "calculate", "filter", "test", "expr"):
                    yield str(value)
                yield from expressions(value)
        elif isinstance(node, list):
            for value in node:
                yield from expressions(value)

    assert list(expressions(spec)) and not any("alert" in e for e in expressions(spec))
    assert hostile in json.dumps(spec, ensure_ascii=False)
