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
    with pytest.raises((AssertionError, RuntimeError)) as error:
        for seed in SEEDS:
            check(driver(fault), fault.call(seed))
    assert fault.says in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("fault", {(fault.op, fault.variant): fault for fault in FAULTS}.values(), ids=names)
def test_there_is_none_without_it(fault):
    program = driver(fault.variant)
    for seed in SEEDS:
        check(program, fault.call(seed))
    assert program.close() == ""
