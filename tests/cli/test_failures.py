import errno

import pytest
import torch

from infotorch.cli.failures import Guard, Usage, explain
from infotorch.errors import DataError

ENOSPC = OSError(errno.ENOSPC, "No space left on device", "runs/a")
CASES = [
    (Usage("score: x"), "score: x", 2),
    (DataError("data: y"), "data: y", 1),
    (MemoryError(), "score: memory must suffice; got MemoryError. Lower --memory-limit or --batch-size.", 1),
    (
        ENOSPC,
        "score: the disk must have room; got OSError: [Errno 28] No space left on device: 'runs/a'. Free some.",
        1,
    ),
    (
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x.npz"),
        "score: the file must exist; got FileNotFoundError: [Errno 2] No such file or directory: 'x.npz'. "
        "Check the path.",
        1,
    ),
    (
        PermissionError(errno.EACCES, "Permission denied", "/root/x"),
        "score: the file must be readable and writable; got PermissionError: [Errno 13] Permission denied: '/root/x'. "
        "Check the path.",
        1,
    ),
    (KeyError("k"), "score: failed unexpectedly; got KeyError: 'k'. Add --debug for the trace.", 1),
    (AssertionError(), "score: failed unexpectedly; got AssertionError. Add --debug for the trace.", 1),
    (KeyboardInterrupt(), "score: stopped by an interrupt.", 130),
    (BrokenPipeError(), "", 1),
]


@pytest.mark.parametrize(("error", "line", "code"), CASES, ids=[type(c[0]).__name__ for c in CASES])
def test_each_failure_has_its_line_and_its_exit_code(error, line, code):
    assert explain("score", error) == (line, code)


def test_a_failed_allocation_of_torch_is_a_lack_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    line, code = explain("score", caught.value)
    assert code == 1 and line.startswith("score: memory must suffice; got RuntimeError: ")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ENOSPC])
def test_a_resumable_command_says_that_it_goes_on(error):
    assert explain("score", error, resumable=True)[0].endswith("Run the same command again: it goes on from there.")


@pytest.mark.parametrize("debug", [False, True])
def test_the_trace_is_shown_on_demand_only(debug, capsys):
    with Guard(where="show", debug=debug) as guard:
        raise DataError("data: broken\nin two lines")
    err = capsys.readouterr().err
    assert guard.code == 1
    assert ("Traceback" in err) == debug
    assert err.splitlines()[-1] == "data: broken in two lines"


def test_an_exit_passes():
    with pytest.raises(SystemExit), Guard(where="show", debug=False):
        raise SystemExit(3)
