"""Has the programs compiled that the collected tests will run."""

from tests.emulate import programs


def pytest_collection_finish(session):
    for item in [] if session.config.option.collectonly else session.items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        for what in ("variant", "fault"):
            if what in params and item.path.parent.name == "emulate":
                programs.soon(params[what])


def pytest_sessionfinish():
    programs.stop()
