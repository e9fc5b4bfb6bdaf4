"""Each checker finds the faults that it is there for, and nothing in kernels without one."""

import pytest

from tests.emulate.calls import check
from tests.emulate.faults import FAULTS
from tests.emulate.programs import driver

SEEDS = range(1, 9)


def names(fault):
    return f"{fault.what} ({fault.op}, {fault.variant})"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=names)
def test_a_fault_is_found(fault):
    """By its checker: a race may spoil a result before both threads have met, which is told too."""
    told = ""
    for seed in SEEDS:
        try:
            check(driver(fault), fault.call(seed))
        except (AssertionError, RuntimeError) as error:
            told += f"{error}\n"
        if fault.says in told:
            break
    assert fault.says in told


@pytest.mark.slow
@pytest.mark.parametrize("fault", {(fault.op, fault.variant): fault for fault in FAULTS}.values(), ids=names)
def test_there_is_none_without_it(fault):
    program = driver(fault.variant)
    for seed in SEEDS:
        check(program, fault.call(seed))
    assert program.close() == ""
