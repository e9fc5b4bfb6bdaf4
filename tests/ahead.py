"""What tests wait for, begun when they are collected: long commands that run behind the tests before them.

A test marked ``ahead(function, ...)`` comes after those that aren't, and has its outcome by ``soon(...).result()``.
"""

import functools
import os
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def jobs() -> int:
    return int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)


@functools.cache
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(jobs())


@functools.cache
def soon(function: Any, *args: Any) -> Future:
    """Its one call with these arguments."""
    return pool().submit(function, *args)


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess:
    """Behind the tests that run meanwhile, whose threads would wait for each other."""
    return subprocess.run(["nice", *map(str, command)], capture_output=True, text=True, **options)


def stop() -> None:
    """Begins nothing more."""
    pool().shutdown(cancel_futures=True)
