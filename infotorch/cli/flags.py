"""The fields of the measures as flags: name, type, choices, default and help are read off the dataclasses."""

import ast
import contextlib
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import typer

from infotorch.cli.failures import Usage
from infotorch.errors import ConfigError, unknown

OWN = ("batch_size", "memory_limit", "shard_size", "test_data")
"""Options of the command itself that messages speak of."""
TABLE_HELP = "Write the whole table: .csv, .parquet, .jsonl or .json."
SCALARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER", str: "TEXT"}


class Flag(NamedTuple):
    """What can be written after ``--name`` for one field of one measure."""

    field: str
    choices: tuple[str, ...]
    scalars: tuple[type, ...]
    """Types of a single value, the narrowest first."""
    items: tuple[type, ...]
    """Types of the members of a comma-separated sequence."""
    toggle: bool
    """``--name`` and ``--no-name`` rather than a value."""
    help: str
    default: str

    @property
    def name(self) -> str:
        return "--" + self.field.replace("_", "-")

    @property
    def metavar(self) -> str:
        kinds = [*self.choices, *(SCALARS[t] for t in self.scalars), *(f"{SCALARS[t]},..." for t in self.items)]
        return "|".join(kinds)

    def parse(self, where: str, text: str) -> Any:
        """The value written as ``text``.

        Raises:
            Usage: It is none that the field takes; the nearest choice is named.
        """
        if text in self.choices:
            return text
        if "," in text and self.items:
            return tuple(self.scalar(where, part.strip(), self.items) for part in text.split(",") if part.strip())
        if self.scalars:
            return self.scalar(where, text, self.scalars)
        if self.items:
            return (self.scalar(where, text, self.items),)
        raise Usage(str(unknown(where, self.name, text, self.choices)))

    def scalar(self, where: str, text: str, types: Sequence[type]) -> Any:
        for kind in types:
            try:
                value = kind(text)
            except ValueError:
                continue
            if value == value:  # NaN is no setting
                return value
        names = " or ".join({int: "a whole number", float: "a number (inf is one)", str: "text"}[t] for t in types)
        if self.choices:
            names += " or one of " + ", ".join(map(repr, self.choices))
        commas = ", several with commas between" if self.items else ""
        raise Usage(f"{where}: {self.name} must be {names}{commas}; got {text!r}. Run: infotorch {where} --help.")


def whole(least: int) -> Callable[[str], int]:
    """A parser for an option of typer: a whole number from ``least`` on."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", str(text)) or int(text) < least:
            raise typer.BadParameter(f"must be a whole number, at least {least}; got {str(text)!r}")
        return int(text)

    return parse


def flags_of(measure: type) -> dict[str, Flag]:
    """The flags of a measure by field name; fields that no command line can express (models, arrays) are left out."""
    hints = typing.get_type_hints(measure)
    described = descriptions(measure)
    flags = {}
    for field in dataclasses.fields(measure):
        if not field.init:
            continue
        choices, scalars, items, toggle = expressible(hints[field.name])
        if toggle or choices or scalars or items:
            default = "" if field.default is dataclasses.MISSING or field.default is None else str(field.default)
            flags[field.name] = Flag(
                field.name, choices, scalars, items, toggle, described.get(field.name, ""), default
            )
    return flags


def expressible(hint: Any) -> tuple[tuple[str, ...], tuple[type, ...], tuple[type, ...], bool]:
    """What of a type can be written on a command line: choices, single values, members of a sequence, or a toggle."""
    choices: list[str] = []
    scalars: set[type] = set()
    items: set[type] = set()
    toggle = False
    for member in members(hint):
        origin, args = typing.get_origin(member), typing.get_args(member)
        if origin is Literal:
            choices += [a for a in args if isinstance(a, str)]
        elif member is bool:
            toggle = True
        elif member in SCALARS:
            scalars.add(member)
        elif isinstance(origin, type) and issubclass(origin, Sequence):
            items |= {a for arg in args for a in members(arg) if a in SCALARS and a is not bool}
    order = [int, float, str]
    only_toggle = toggle and not (choices or scalars or items)
    return (
        tuple(choices), tuple(t for t in order if t in scalars), tuple(t for t in order if t in items), only_toggle,
    )  # fmt: skip


def members(hint: Any) -> list[Any]:
    """The members of a union, or the type itself; without None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [m for arg in typing.get_args(hint) for m in members(arg)]
    return [] if hint is type(None) else [hint]


def descriptions(measure: type) -> dict[str, str]:
    """The docstring beneath each field, from the class's source, on one line each."""
    found: dict[str, str] = {}
    for owner in reversed(measure.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for node, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(below, ast.Expr):
                text = below.value.value if isinstance(below.value, ast.Constant) else None
                if isinstance(text, str):
                    found[node.target.id] = " ".join(text.replace("``", "").split())
    return found


def parameters(registry: Mapping[str, type], *, but: Sequence[str]) -> list[inspect.Parameter]:
    """One keyword parameter for typer for each flag of any measure, help and default in it; those in ``but`` left out.

    The values stay text: which measure they are for is known only once all options are read.
    """
    made: dict[str, inspect.Parameter] = {}
    for measure, cls in registry.items():
        for field, flag in flags_of(cls).items():
            if field in made or field in but:
                continue
            words = [flag.name, f"--no-{flag.name[2:]}"] if flag.toggle else [flag.name]
            said = f"{flag.help} [default: {flag.default}]" if flag.default else flag.help
            option = typer.Option(
                "/".join(words),
                help=said.strip().replace("[", "\\["),  # rich would take it for markup
                metavar=None if flag.toggle else flag.metavar,
                show_default=False,
                rich_help_panel=f"Options of {measure}",
            )
            hint: Any = bool | None if flag.toggle else str | None
            made[field] = inspect.Parameter(
                field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=typing.Annotated[hint, option]
            )
    return list(made.values())


def settings(
    registry: Mapping[str, type], chosen: Sequence[str], given: Mapping[str, Any], *, where: str = "score"
) -> list[dict[str, Any]]:
    """For each chosen measure the values given for its fields.

    Raises:
        Usage: A value does not parse, or none of the chosen measures has the flag.
    """
    of = {name: flags_of(registry[name]) for name in chosen}
    for field in given:
        if not any(field in flags for flags in of.values()):
            owners = [name for name, cls in registry.items() if field in flags_of(cls)]
            raise Usage(
                f"{where}: --{field.replace('_', '-')} belongs to {', '.join(owners)}; got --measure "
                f"{' --measure '.join(chosen)}. Leave the option out, or add the measure."
            )
    return [
        {
            field: v if flags[field].toggle else flags[field].parse(where, v)
            for field, v in given.items()
            if field in flags
        }
        for flags in of.values()
    ]


@contextlib.contextmanager
def spoken(registry: Mapping[str, type]) -> Iterator[None]:
    """Turns the options that a ConfigError speaks of in Python's words into flags: ``layers='last'``, ``test_data``."""
    try:
        yield
    except ConfigError as error:
        names = sorted(
            {*OWN, *(name for cls in registry.values() if dataclasses.is_dataclass(cls) for name in flags_of(cls))}
        )
        text = re.sub(
            rf"\b({'|'.join(names)})=('[^']*'|[\w.]+|\[[^\]]*\])",
            lambda found: f"--{found[1].replace('_', '-')} {found[2].strip(chr(39))}",
            str(error),
        )
        bare = "|".join(name for name in names if "_" in name)  # others are words of plain English as well
        text = re.sub(rf"(?<![\w.-])({bare})\b", lambda found: f"--{found[1].replace('_', '-')}", text)
        if text == str(error):
            raise
        raise type(error)(text) from error
