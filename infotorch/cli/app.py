"""The commands, and what happens around each: parse, run, explain what failed.

A command is one file here with a function ``command(terminal, ...)`` and one line in ``COMMANDS``. Only the file of
the command that was asked for is imported, so that ``verify`` and ``--help`` never wait for torch.
"""

import importlib
import importlib.metadata
import inspect
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import typer

from infotorch import errors
from infotorch.cli.failures import Guard, Usage
from infotorch.cli.memory import keep_memory
from infotorch.cli.terminal import Terminal


class Command(NamedTuple):
    """Where a command lives, its line in the list of commands, and what to do after an interrupt."""

    module: str
    help: str
    resumable: Literal["never", "always", "with --out"] = "never"


class Part(NamedTuple):
    """One of the commands that a command is made of: ``plan`` of ``bound plan``. Its module lists them as ``PARTS``."""

    function: Callable[..., None]
    help: str


COMMANDS = {
    "demo": Command("infotorch.cli.demo", "Show on handwritten digits what infotorch does.", "always"),
    "score": Command("infotorch.cli.score", "Score every sample of a task of your own.", "with --out"),
    "fidelity": Command("infotorch.cli.fidelity", "Compare a run's sketched scores with exact ones, size by size."),
    "summarize": Command("infotorch.cli.summarize", "Keep the samples that a network learns most from."),
    "info": Command("infotorch.cli.info", "Weigh what a trained network's weights and layers hold.", "with --out"),
    "scrub": Command("infotorch.cli.scrub", "Take what a network knows of some samples out of its weights."),
    "train": Command("infotorch.cli.train", "Train a classifier that doesn't memorise wrong labels.", "with --out"),
    "bound": Command("infotorch.cli.bound", "Bound the generalization gap, from many training runs.", "always"),
    "sweep": Command("infotorch.cli.sweep", "Train with noisy weights at many betas, on random labels too.", "always"),
    "embed": Command("infotorch.cli.embed", "Say how near tasks are, by what each needs of a network.", "with --out"),
    "complexity": Command("infotorch.cli.complexity", "Tell how hard labels are along a training.", "with --out"),
    "report": Command("infotorch.cli.report", "Write a run as one HTML file that opens without a network."),
    "show": Command("infotorch.cli.show", "Print the samples of a run to look at first."),
    "label-errors": Command("infotorch.cli.label_errors", "List the labels of a run that look wrong."),
    "groups": Command("infotorch.cli.groups", "Compare the scores of a run by class, source or any column."),
    "duplicates": Command("infotorch.cli.duplicates", "List the samples of a run that are nearly the same."),
    "verify": Command("infotorch.cli.verify", "Check every file of a run against its hash."),
    "doctor": Command("infotorch.cli.doctor", "Print versions, devices, what was built and what is missing."),
}
COMMON = {
    "as_json": Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON.")],
    "quiet": Annotated[bool, typer.Option("--quiet", help="Show no progress.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after ``infotorch``; those of the process where None.

    Returns:
        The exit code: 0 done, 1 failed (also where nobody reads the output any more), 2 bad usage, 130 interrupted.
    """
    if argv is None:
        keep_memory()
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter shows its code instead
    name = next((word for word in argv if not word.startswith("-")), None)
    command = COMMANDS.get(name) if name else None
    if name:  # the common options may also stand before the command
        place = argv.index(name)
        before = [word for word in argv[:place] if word in ("--json", "--quiet", "--debug")]
        argv = [word for word in argv[:place] if word not in before] + [name, *before, *argv[place + 1 :]]
    where = name if name and command else "infotorch"
    debug = "--debug" in argv
    kept = {"always", "with --out"} if any(word.partition("=")[0] == "--out" for word in argv) else {"always"}
    with Guard(where=where, debug=debug, resumable=command is not None and command.resumable in kept) as guard:
        action = parse(argv, name)
        if isinstance(action, int):
            guard.code = action
        else:
            action()
    with Guard(where=where, debug=debug) as written:
        sys.stdout.flush()
    if guard.pipe or written.pipe:
        silence_stdout()
    return guard.code or written.code or (0 if argv else 2)


def parse(argv: list[str], name: str | None) -> Callable[[], None] | int:
    """The command with its options bound, not yet run; an int where help or the version was all that was asked for."""
    processes = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    if name in COMMANDS and name != "score" and processes != "1":
        raise Usage(
            f"{name}: there must be one process, for only score shares its work; got {processes}. "
            "Start it without torchrun."
        )
    if name and name not in COMMANDS:
        raise Usage(str(errors.unknown("infotorch", "a command", name, COMMANDS)))
    app = typer.Typer(
        name="infotorch",
        help="What a neural network learnt from each of its training samples.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(options)
    for each, command in COMMANDS.items():
        module = importlib.import_module(command.module) if each == name else None
        parts: Mapping[str, Part] | None = getattr(module, "PARTS", None)
        if parts is None:
            app.command(each, help=command.help)(bound(unasked if module is None else module.command))
            continue
        check_part(each, argv, parts)
        group = typer.Typer(no_args_is_help=True)
        for word, part in parts.items():
            group.command(word, help=part.help)(bound(part.function))
        app.add_typer(group, name=each, help=command.help)
    return app(args=argv or ["--help"], prog_name="infotorch", standalone_mode=False)


def check_part(name: str, argv: Sequence[str], parts: Mapping[str, Part]) -> None:
    """Refuses a word after ``name`` that is none of its parts."""
    word = next((word for word in argv[argv.index(name) + 1 :] if not word.startswith("-")), None)
    if word is not None and word not in parts:
        raise Usage(str(errors.unknown(name, "a command", word, parts)))


def unasked(terminal: Terminal) -> None:
    """Stands in the list of commands for one that was not asked for."""


def bound(function: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """``function(terminal, **options)`` as typer wants it: options alone, the common ones added; the call is delayed.

    Delaying keeps the errors of the command out of the parser's hands.
    """

    def parsed(*, as_json: bool, quiet: bool, debug: bool, **options: Any) -> Callable[[], None]:
        return lambda: function(Terminal(json=as_json, quiet=quiet), **options)

    own = list(inspect.signature(function).parameters.values())[1:]
    common = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=hint)
        for key, hint in COMMON.items()
    ]
    parsed.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]  # read by typer
    parsed.__annotations__ = {p.name: p.annotation for p in [*own, *common]}
    return parsed


def version(asked: bool) -> None:
    if asked:
        print(f"infotorch {installed_version()}")
        raise typer.Exit()


def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=version, help="Print the version.")
    ] = False,
) -> None:
    """The options that stand before a command."""


def installed_version() -> str:
    try:
        return importlib.metadata.version("infotorch")
    except importlib.metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


def silence_stdout() -> None:
    """Lets the interpreter flush into the void at exit, where it would complain about the closed pipe."""
    void = os.open(os.devnull, os.O_WRONLY)
    os.dup2(void, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    os.close(void)
