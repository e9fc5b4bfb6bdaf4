import numpy as np
import pytest

from infotorch.cli.rows import Rows
from infotorch.cli.terminal import Terminal
from infotorch.table import Column, Scores


def rows(labels, names=None, **columns):
    made = {name: Column(values=np.asarray(v), unit="1", source="a test") for name, v in columns.items()}
    N = len(labels)
    return Rows(
        scores=Scores(index=np.arange(N), columns=made),
        ids=[f"s{i}" for i in range(N)],
        labels=labels,
        names=names or {},
    )


def test_contradicted_labels_come_first_then_larger_residuals():
    found = rows([0, 1, 0, 1], information=[9.0, 1.0, 1.0, 1.0], own_residual=[0.9, 0.1, 0.2, 0.3],
                 suggested_label=[0, 0, 1, 1])  # fmt: skip
    assert found.suspicious(3).tolist() == [2, 1, 0]


def test_the_longest_training_speaks_where_there_are_several():
    found = rows([0, 0], own_residual_steps_1=[1.0, 0.0], own_residual_steps_9=[0.0, 1.0],
                 suggested_label_steps_1=[1, 0], suggested_label_steps_9=[0, 1])  # fmt: skip
    assert found.suspicious(2).tolist() == [1, 0]
    assert [found.given(0), found.given(1)] == ["0", "0 → 1"]


def test_standard_errors_are_not_taken_for_the_score():
    found = rows([0, 0], own_residual=[1.0, 0.0], own_residual_stderr=[0.0, 1.0])
    assert found.named("own_residual") == "own_residual" and found.suspicious(2).tolist() == [0, 1]


def test_the_asked_score_orders_where_nothing_is_suggested():
    assert rows([0.5, 1.5, None], information=[1.0, 3.0, 2.0]).suspicious(2).tolist() == [1, 2]


@pytest.mark.parametrize("name", ["margin", "normalized_margin", "self_confidence"])
def test_scores_whose_low_values_are_suspicious_order_from_below(name):
    assert rows([0, 0, 0], **{name: [0.5, -3.0, 2.0]}).suspicious(2).tolist() == [1, 0]
    found = rows([0, 0, 1], **{name: [2.0, -3.0, 0.5]}, suggested_label=[0, 0, 0])
    assert found.suspicious(3).tolist() == [2, 1, 0]
    assert rows([0, 0], **{name: [2.0, -3.0]}, own_residual=[1.0, 0.0]).suspicious(2).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("label", "shown"), [(0, "cat"), (7, "7"), (0.123456, "0.123"), (None, ""), (1, r"\x1b[31m"), ("a\nb", r"a\nb")]
)
def test_labels_go_by_their_names_and_are_not_obeyed(label, shown):
    assert rows([label], {0: "cat", 1: "\x1b[31m"}, information=[1.0]).given(0) == shown


def test_a_score_of_several_outputs_is_printed_whole(capsys):
    found = rows([0, 1], information=np.array([[1.0, 2.0], [3.0, 4.0]]), reliable=[True, False])
    found.print(Terminal(), found.suspicious(5), ["information", "reliable"])
    out = capsys.readouterr().out
    assert "1.00 2.00" in out and "False" in out and len(found.suspicious(1)) == 1
