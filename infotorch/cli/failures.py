"""What a failure says and which exit code it gives: one line in the house's form, the trace only with ``--debug``."""

import difflib
import errno
import sys
import traceback
from types import TracebackType

import typer

from infotorch.cli.text import one_line
from infotorch.errors import ConfigError, InfotorchError

# typer bundles its own click from 0.16 on; the base of BadParameter is the right class under either.
UsageError: type[BaseException] = typer.BadParameter.__mro__[1]


class Usage(ConfigError):
    """The command line itself is wrong: exit code 2."""


class Guard:
    """Prints what went wrong inside of it and keeps the exit code; nothing is carried on from."""

    INTERRUPT = 130

    def __init__(self, *, where: str, debug: bool, resumable: bool = False) -> None:
        self.where, self.debug, self.resumable = where, debug, resumable
        self.code, self.pipe = 0, False

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, SystemExit | GeneratorExit):
            return False
        line, self.code = explain(self.where, error, resumable=self.resumable)
        self.pipe = isinstance(error, BrokenPipeError)
        if self.debug and self.code == 1 and line:
            traceback.print_exception(error, file=sys.stderr)
        if line:
            print(one_line(line), file=sys.stderr)
        return True


def explain(where: str, error: BaseException, *, resumable: bool = False) -> tuple[str, int]:
    """The line that says what failed and what to do, and the exit code."""
    again = "Run the same command again: it goes on from there." if resumable else ""
    if isinstance(error, UsageError):
        return usage(where, error), 2
    if isinstance(error, Usage):
        return str(error), 2
    if isinstance(error, InfotorchError):
        return str(error), 1
    if isinstance(error, KeyboardInterrupt):
        return f"{where}: stopped by an interrupt. {again}".rstrip(), Guard.INTERRUPT
    if isinstance(error, BrokenPipeError):
        return "", 1  # as rich and typer have it
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error)):
        return f"{where}: memory must suffice; got {named(error)}. Lower --memory-limit or --batch-size.", 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}: the disk must have room; got {named(error)}. Free some. {again}".rstrip(), 1
    if isinstance(error, FileNotFoundError):
        return f"{where}: the file must exist; got {named(error)}. Check the path.", 1
    if isinstance(error, OSError):
        return f"{where}: the file must be readable and writable; got {named(error)}. Check the path.", 1
    return f"{where}: failed unexpectedly; got {named(error)}. Add --debug for the trace.", 1


def named(error: BaseException) -> str:
    """``TypeName: message``, or the type alone where there is no message."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def usage(where: str, error: BaseException) -> str:
    """The parser's complaint in the house's form."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    program = "infotorch" if where == "infotorch" else f"infotorch {where}"
    remedy = f"Run: {program} --help."
    if type(error).__name__ == "NoSuchOption" and context is not None:
        got = str(getattr(error, "option_name", ""))
        valid = [option for each in context.command.params for option in [*each.opts, *each.secondary_opts]]
        near = difflib.get_close_matches(got, [o for o in valid if o.startswith("--")], n=1, cutoff=0.5)
        return f"{where}: an option must be one it knows; got {got!r}. " + (
            f"Did you mean {near[0]!r}?" if near else remedy
        )
    if type(error).__name__ == "MissingParameter" and parameter is not None:
        flags = [each for each in parameter.opts if each.startswith("--")]
        what = flags[0] if flags else parameter.metavar or str(parameter.name).upper()
        return f"{where}: {what} must be given; got nothing. {remedy}"
    if parameter is not None and str(error).startswith("must be"):
        return f"{where}: {parameter.opts[0]} {error}. {remedy}"
    message = getattr(error, "format_message", error.__str__)()
    return f"{where}: {message[:1].lower()}{message[1:].rstrip('.')}. {remedy}"
