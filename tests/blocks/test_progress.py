import io

import pytest
import torch
from rich.console import Console
from rich.text import Text
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import fisher, ntk, per_sample_grad_norms, sketch
from infotorch.blocks import progress
from infotorch.errors import DataError
from infotorch.task import Task

TASK = Task(nn.Linear(3, 2).eval(), loss="mse")
DATA = torch.randn(10, 3), torch.zeros(10, 2)
CALLS = {
    "per_sample_grad_norms": lambda data, **options: per_sample_grad_norms(TASK, data, **options),
    "sketch": lambda data, **options: sketch(TASK, data, dim=4, seed=0, **options),
    "fisher": lambda data, **options: fisher(TASK, data, structure="diagonal", **options).diag(),
    "ntk": lambda data, **options: ntk(TASK, data, batch_size=5, **options).values,
}


def given(name):
    return DATA[0] if name == "ntk" else DataLoader(TensorDataset(*DATA), batch_size=5)


@pytest.fixture
def terminal(monkeypatch):
    """What a person sees on stderr, 80 columns wide."""
    seen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **options: Console(file=seen, force_terminal=True, width=80, highlight=False)
    )
    return seen


@pytest.mark.parametrize("name", CALLS)
def test_a_bar_shows_steps_and_changes_nothing(name, terminal):
    call = CALLS[name]
    shown = call(given(name), progress=True)
    torch.testing.assert_close(shown, call(given(name)), rtol=0, atol=0)
    text = terminal.getvalue()
    stage, last = ("kernel", "3/3") if name == "ntk" else ("batches", "2/2")
    assert stage in text and last in text and "0:00:0" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is there again
    assert Text.from_ansi(text.split("\r")[-1]).cell_len <= 80


def test_a_loader_without_length_has_a_bar_without_end(terminal):
    batches = (tuple(part) for part in given("sketch"))
    assert len(per_sample_grad_norms(TASK, batches, progress=True)) == 10
    assert "2/?" in terminal.getvalue()


def test_the_cursor_is_there_again_after_an_error(terminal):
    bad = [DATA, (torch.full((2, 3), torch.nan), torch.zeros(2, 2))]
    with pytest.raises(DataError, match=r"this is batch 1 of the loader"):
        per_sample_grad_norms(TASK, iter(bad), progress=True)
    assert terminal.getvalue().count("\x1b[?25h") == 1


def test_without_a_terminal_the_last_state_is_printed_alone(capfd):
    per_sample_grad_norms(TASK, given("sketch"), progress=True)
    out, err = capfd.readouterr()
    assert out == "" and err.count("batches") == 1 and "2/2" in err


@pytest.mark.parametrize("silent", [False, None])
def test_nothing_is_shown_unless_asked_for(silent, capfd):
    per_sample_grad_norms(TASK, given("sketch"), progress=silent)
    assert capfd.readouterr() == ("", "")


def test_steps_are_told_to_a_function():
    seen = []
    per_sample_grad_norms(TASK, given("sketch"), progress=lambda *step: seen.append(step))
    assert seen == [("batches", 1, 2), ("batches", 2, 2)]
