"""Each checker finds the faults that it is there for, and nothing in kernels without one."""

import shutil

import pytest

from tests.emulate import build
from tests.emulate.calls import check
from tests.emulate.driver import Driver, driver
from tests.emulate.faults import FAULTS

SEEDS = range(1, 9)


def names(fault):
    return f"{fault.what} ({fault.op}, {fault.variant})"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=names)
def test_a_fault_is_found(fault, tmp_path):
    for folder in ("csrc", "tests/emulate"):
        shutil.copytree(build.HOUSE / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    file = tmp_path / fault.file
    text = file.read_text()
    assert text.count(fault.right) == 1, f"{fault.right!r} must be in {fault.file} once, for the fault to replace it"
    file.write_text(text.replace(fault.right, fault.wrong))
    faulty = Driver(build.program(fault.variant, tmp_path, fault.op))
    with pytest.raises((AssertionError, RuntimeError)) as error:
        for seed in SEEDS:
            check(faulty, fault.call(seed))
    assert fault.says in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("fault", {(fault.op, fault.variant): fault for fault in FAULTS}.values(), ids=names)
def test_the_call_is_right_without_it(fault):
    for seed in SEEDS:
        check(driver(fault.variant), fault.call(seed))
    assert driver(fault.variant).close() == ""
