import os
import pty
import subprocess
import sys

import pytest

from infotorch.cli.progress import Progress, duration


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def told(capsys, calls, **options):
    """The lines after calls of (seconds, stage, done, total)."""
    clock = Clock()
    with Progress(quiet=False, live=False, clock=clock, **options) as progress:
        for seconds, *call in calls:
            clock.now = 100.0 + seconds
            progress(*call)
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_pipe_gets_a_line_each_ten_seconds_and_one_at_the_end(capsys):
    lines = told(capsys, [(t, "kernel", t, 25) for t in range(26)])
    assert lines == [
        "kernel: 10/25  1/s  0:15 left",
        "kernel: 20/25  1/s  0:05 left",
        "kernel: 25/25 in 0:25",
    ]


def test_each_stage_ends_with_a_line(capsys):
    lines = told(capsys, [(0, "kernel", 0, 1), (1, "kernel", 1, 1), (1, "scores", 0, 2), (3, "scores", 2, 2)])
    assert lines == ["kernel: 1/1 in 0:01", "scores: 2/2 in 0:02"]


def test_a_stage_that_comes_again_and_again_does_not_flood(capsys):
    calls = [(t + done / 4, "kernel", done, 2) for t in range(30) for done in range(3)]
    lines = told(capsys, calls)
    assert len(lines) == 3


def test_the_rate_counts_from_where_the_stage_was_resumed(capsys):
    lines = told(capsys, [(0, "shards", 90, 100), (10, "shards", 95, 100)])
    assert lines == ["shards: 95/100  0.5/s  0:10 left"]


def test_hostile_stage_names_are_shown_and_not_obeyed(capsys):
    assert told(capsys, [(0, "\x1b[31m[red]", 1, 1)]) == [r"\x1b[31m[red]: 1/1 in 0:00"]


def test_quiet_is_silent(capsys):
    with Progress(quiet=True, live=True) as progress:
        progress("kernel", 1, 1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (11550, "3:12:30")])
def test_durations_read_as_on_a_clock(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("color", [True, False], ids=["color", "NO_COLOR"])
def test_a_terminal_sees_one_line_redrawn_and_removed(color):
    script = """
from infotorch.cli.terminal import Terminal
with Terminal().progress() as progress:
    for stage in ("kernel", "a stage with a name that is much too long for a line of eighty columns"):
        for done in range(1001):
            progress(stage, done, 1000)
"""
    screen, terminal = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"} | ({} if color else {"NO_COLOR": "1"})
    env.pop("GITHUB_ACTIONS", None)
    done = subprocess.Popen([sys.executable, "-c", script], stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    seen = b""
    while True:
        try:
            chunk = os.read(screen, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(screen)
    assert done.wait(60) == 0
    text = seen.decode()
    assert "kernel" in text and "1,000" in text
    assert ("\x1b[38;" in text or "\x1b[1;3" in text or "\x1b[3" in text) == color
    assert text.count("\n") <= 1, "the line is redrawn in its place"
