"""What a person sees of a training."""

import io

import pytest

from infotorch.train.progress import TrainingBar, summary

ENTRY = {"epoch": 0, "loss": 1.25, "val_acc": 0.812, "val_stderr": 0.009, "nats": 12.345, "nats_of": "passed on"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_summary_holds_what_is_known():
    assert summary(ENTRY) == "noisy val 81.2 ± 0.9 %, 12.35 nats passed on"
    assert summary({**ENTRY, "val_acc": None}) == "12.35 nats passed on"
    assert summary({**ENTRY, "nats_of": "nll of gradients"}) == "noisy val 81.2 ± 0.9 %"
    assert summary({**ENTRY, "nats": None}) == "noisy val 81.2 ± 0.9 %" and summary({}) == ""


def show(shown, file, fail=False):
    with TrainingBar(2, shown, file) as bar:
        bar.step(0, 1, 4, 2.0)
        bar.step(0, 4, 4, 1.0)
        bar.epoch(ENTRY)
        if fail:
            raise KeyError
        bar.step(1, 1, 4, 0.5)
    return file.getvalue()


def test_a_terminal_gets_one_live_line():
    text = show(None, Terminal())
    assert "epoch 1/2" in text and "epoch 2/2" in text
    assert "noisy val 81.2 ± 0.9 %, 12.35 nats passed on" in " ".join(text.split())


def test_elsewhere_lines_are_written_if_asked_for_ten_seconds_apart():
    seconds = iter([0, 4, 10, 10, 12, 19.5, 21, 21, 22, 22])
    file = io.StringIO()
    with TrainingBar(6, True, file, clock=lambda: next(seconds), name="LIMIT") as bar:
        for epoch in range(6):
            bar.epoch({**ENTRY, "epoch": epoch})
    lines = file.getvalue().splitlines()
    assert [line.partition("/")[0] for line in lines] == ["LIMIT epoch 2", "LIMIT epoch 5", "LIMIT epoch 6"]
    assert lines[0] == "LIMIT epoch 2/6: loss 1.25 noisy val 81.2 ± 0.9 %, 12.35 nats passed on"
    assert show(None, io.StringIO()) == "" and show(False, io.StringIO()) == "" and show(False, Terminal()) == ""


def test_an_error_ends_the_line():
    file = Terminal()
    with pytest.raises(KeyError):
        show(None, file, fail=True)
    assert file.getvalue().endswith("\n") or "\x1b[?25h" in file.getvalue()  # the cursor is back
