"""Has compiled, while other tests run, what the collected tests of this folder need; they come after those."""

from tests import ahead
from tests.emulate import programs, resources


def is_here(item):
    return item.path.parent.name == "emulate"


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: (is_here(item), item.path.name == "test_resources.py"))  # its build is the largest


def pytest_collection_finish(session):
    here = [item for item in session.items if is_here(item) and not session.config.option.collectonly]
    for item in here:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        for what in ("variant", "fault"):
            if what in params:
                programs.soon(params[what])
    if resources.nvcc() and any(item.path.name == "test_resources.py" for item in here):
        ahead.soon(resources.built, resources.TESTED)
