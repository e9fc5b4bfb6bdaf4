import dataclasses
import inspect
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import pytest
from torch import Tensor, nn

from infotorch.cli import flags
from infotorch.cli.failures import Usage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ours:
    """Options of each kind."""

    name: ClassVar[str] = "ours"
    space: Literal["weights", "functions"] = "weights"
    """Where the distance is taken, ``weights`` or
    ``functions``."""
    l2: float = 0.0
    steps: int | Sequence[int] | None = None
    """Steps [of descent]."""
    time: float | Sequence[float] | None = None
    layers: Literal["all", "last"] | Sequence[str] = "all"
    center: bool = False
    num_probes: int = 3
    groups: Tensor | Sequence[Sequence[bool]] | None = None
    models: Sequence[nn.Module] = ()
    anything: Any = None


@dataclasses.dataclass(frozen=True)
class Theirs:
    l2: float = 1.0
    power: float = 2.0
    """The power."""


REGISTRY = {"ours": Ours, "theirs": Theirs}


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("space", "functions", "functions"),
        ("l2", "1e-3", 1e-3),
        ("l2", "-1", -1.0),
        ("steps", "300", 300),
        ("steps", "1,10, 100", (1, 10, 100)),
        ("steps", "5,", (5,)),
        ("time", "inf", math.inf),
        ("time", "1,inf", (1.0, math.inf)),
        ("layers", "last", "last"),
        ("layers", "fc*,conv1", ("fc*", "conv1")),
        ("layers", "fc*", ("fc*",)),
        ("num_probes", "7", 7),
    ],
)
def test_a_value_is_read_as_the_field_has_it(field, text, value):
    read = flags.flags_of(Ours)[field].parse("score", text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        (
            "space",
            "weight",
            "score: --space must be one of 'weights', 'functions'; got 'weight'. Did you mean 'weights'?",
        ),
        ("l2", "abc", "score: --l2 must be a number (inf is one); got 'abc'. Run: infotorch score --help."),
        ("l2", "nan", "score: --l2 must be a number (inf is one); got 'nan'. Run: infotorch score --help."),
        ("num_probes", "2.5", "score: --num-probes must be a whole number; got '2.5'. Run: infotorch score --help."),
        (
            "steps",
            "1,x",
            "score: --steps must be a whole number, several with commas between; got 'x'. Run: infotorch score --help.",
        ),
    ],
)
def test_a_value_that_the_field_does_not_take_is_refused(field, text, message):
    with pytest.raises(Usage) as caught:
        flags.flags_of(Ours)[field].parse("score", text)
    assert str(caught.value) == message


def test_fields_that_no_command_line_can_express_are_left_out():
    assert list(flags.flags_of(Ours)) == ["space", "l2", "steps", "time", "layers", "center", "num_probes"]


def test_the_help_of_a_flag_is_the_docstring_of_its_field():
    read = flags.flags_of(Ours)
    assert read["space"].help == "Where the distance is taken, weights or functions."
    assert read["space"].metavar == "weights|functions"
    assert read["l2"].help == "" and read["l2"].metavar == "NUMBER"
    assert read["time"].metavar == "NUMBER|NUMBER,..."
    made = {p.name: p for p in flags.parameters(REGISTRY, but=["time"])}
    assert list(made) == ["space", "l2", "steps", "layers", "center", "num_probes", "power"]
    option = made["steps"].annotation.__metadata__[0]
    assert option.help == r"Steps \[of descent]." and made["space"].annotation.__metadata__[0].help.endswith(
        r"functions. \[default: weights]"
    )
    assert made["steps"].kind is inspect.Parameter.KEYWORD_ONLY


def test_each_measure_gets_the_values_of_its_own_fields():
    given = {"l2": "0.5", "power": "3", "center": True}
    assert flags.settings(REGISTRY, ["theirs", "ours"], given) == [
        {"l2": 0.5, "power": 3.0},
        {"l2": 0.5, "center": True},
    ]


def test_a_flag_of_no_chosen_measure_names_the_measure_it_belongs_to():
    with pytest.raises(Usage) as caught:
        flags.settings(REGISTRY, ["theirs"], {"num_probes": "3"})
    assert str(caught.value) == (
        "score: --num-probes belongs to ours; got --measure theirs. Leave the option out, or add the measure."
    )
