"""What tests wait for, begun when they are collected: long commands that run behind the tests before them.

A test marked ``ahead(function, ...)`` comes after those that aren't, and has its outcome by ``soon(...).result()``.
"""

import functools
import os
import signal
import subprocess
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

TEMPORARY = tempfile.gettempdir()
"""Where folders of what runs ahead are, wherever a test meanwhile has them made."""
pools: dict[str, ThreadPoolExecutor] = {}
running: set[subprocess.Popen] = set()


def jobs() -> int:
    return int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)


def pool(name: str) -> ThreadPoolExecutor:
    """One a name, as what waits for others may not take their places."""
    return pools.setdefault(name, ThreadPoolExecutor(jobs()))


@functools.cache
def soon(function: Any, *args: Any) -> Future:
    """Its one call with these arguments."""
    return pool("functions").submit(function, *args)


def folder() -> tempfile.TemporaryDirectory:
    """A new one, which is deleted with the object."""
    return tempfile.TemporaryDirectory(dir=TEMPORARY)


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess:
    """Behind the tests that run meanwhile, whose threads would wait for each other."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(["nice", *map(str, command)], **pipes, **options) as process:
        running.add(process)
        try:
            stdout, stderr = process.communicate()
        finally:
            running.discard(process)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def stop() -> None:
    """Begins nothing more, and ends what runs."""
    for each in pools.values():
        each.shutdown(wait=False, cancel_futures=True)
    for process in list(running):
        os.killpg(process.pid, signal.SIGTERM)
