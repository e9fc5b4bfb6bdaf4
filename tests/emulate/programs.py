"""The programs that tests run, compiled ahead of them: while the first tests run, compilers work on what comes next."""

import functools
import shutil
from concurrent.futures import Future
from pathlib import Path

from tests import ahead
from tests.emulate import build
from tests.emulate.driver import Driver
from tests.emulate.faults import Fault


def soon(what: str | Fault) -> Future:
    """The program of a variant, or of a fault."""
    return ahead.soon(faulty if isinstance(what, Fault) else build.program, what)


def faulty(fault: Fault) -> Path:
    with ahead.folder() as folder:
        root = Path(folder)
        for part in ("csrc", "tests/emulate"):
            shutil.copytree(build.HOUSE / part, root / part, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        file = root / fault.file
        text = file.read_text()
        assert text.count(fault.right) == 1, (
            f"{fault.right!r} must be in {fault.file} once, for the fault to replace it"
        )
        file.write_text(text.replace(fault.right, fault.wrong))
        return build.program(fault.variant, root, fault.op)


@functools.cache
def driver(what: str | Fault) -> Driver:
    return Driver(soon(what).result())
