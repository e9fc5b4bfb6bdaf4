"""Refusals by their words."""

import re
from collections.abc import Callable

import pytest


def refused(error: type[Exception], message: str, call: Callable[[], object]) -> None:
    """The call raises ``error`` with a text that begins with ``message``."""
    with pytest.raises(error, match="^" + re.escape(message)):
        call()
