"""A caller's own layers, and what is said where they are told wrongly."""

import re

import pytest
import torch
from torch import nn

from infotorch.capture import Use, capture, register_layer
from infotorch.capture.layers.table import RULES, forget_kinds, rule_of
from infotorch.errors import CaptureError, ConfigError
from infotorch.task import Task
from tests.capture.agreement import assert_loops


@pytest.fixture(autouse=True)
def registry():
    """What a test registers is forgotten after it."""
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)
    forget_kinds()


class Own(nn.Module):
    """A matrix with two uses, a bias beside it and a scale of the result."""

    def __init__(self):
        super().__init__()
        self.matrix, self.shift = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(3))
        self.scale = nn.Parameter(torch.randn(3, 1))

    def forward(self, x):  # [N, 3]
        self.first = x @ self.matrix.T + self.shift
        self.inner = self.first.tanh()
        self.second = self.inner @ self.matrix.T
        self.rows = torch.stack([self.second, x.square()], -1)  # [N, 3, 2]
        return self.rows * self.scale


def uses(module, inputs, output):
    return [
        Use(a=inputs[0], params=["matrix", "shift"], output=module.first),
        Use(a=module.inner, params=["matrix"], output=module.second),
        Use(a=module.rows, params=["scale"], output=output, kind="scale"),
    ]


def test_registered_layer_is_exact(rng):
    register_layer(Own, uses)
    model = nn.Sequential(nn.Linear(2, 3), Own(), nn.Tanh(), nn.Flatten()).double()
    cap = assert_loops(model, torch.randn(4, 2, dtype=torch.float64, generator=rng))
    assert list(cap.pairs) == ["0", "1.matrix", "1.shift", "1.scale"] and cap.pairs["1.matrix"].T == 2


def test_without_it_the_parameters_are_offenders():
    with pytest.raises(CaptureError, match=r"1\.matrix  parameter of Own  used 2 times outside a captured layer"):
        capture(Task(nn.Sequential(nn.Linear(2, 3), Own()).eval(), loss="mse"), torch.ones(4, 2), seeds="logits")


def test_wrong_use_is_found_by_the_verification(rng):
    def wrong(own, inputs, output):
        return [uses(own, inputs, output)[0], Use(a=own.first, params=["matrix"], output=own.second)]

    register_layer(Own, wrong)
    task = Task(Own().eval(), loss="mse", params=["matrix", "shift"])
    with pytest.raises(CaptureError, match="gradients of 'matrix' must agree with autograd's gradient of the batch"):
        capture(task, torch.randn(4, 3, generator=rng), seeds="logits", verify=True)


def test_use_that_is_left_out_is_found():
    register_layer(Own, lambda *call: uses(*call)[1:])
    with pytest.raises(CaptureError, match="matrix  parameter of Own  used 1 time outside a captured layer"):
        capture(Task(Own().eval(), loss="mse"), torch.ones(4, 3), seeds="logits")


def test_layer_of_torch_can_be_taught_anew_and_subclasses_with_a_forward_are_not_meant():
    register_layer(nn.Linear, lambda module, inputs, output: [])

    class Other(nn.Linear):
        def forward(self, x):
            return x

    assert rule_of(nn.Linear(2, 2)).uses(nn.Linear(2, 2), (), None) == [] and rule_of(Other(2, 2)) is None


@pytest.mark.parametrize(
    "module_type, fn, message",
    [
        (nn.Linear(2, 2), uses, "module_type must be a class of nn.Module; got Linear("),
        (int, uses, "module_type must be a class of nn.Module; got <class 'int'>. Pass the class itself."),
        (Own, "uses", "fn must be callable; got 'uses'. Pass fn(module, inputs, output)."),
    ],
)
def test_registration_is_checked(module_type, fn, message):
    with pytest.raises(ConfigError, match=re.escape(f"register_layer: {message}")):
        register_layer(module_type, fn)


@pytest.mark.parametrize(
    "fn, message",
    [
        (lambda m, i, o: [(i[0], o)], "fn must return a list of Use(a=, params=, output=) for Own; got (tensor("),
        (lambda m, i, o: [Use(a=i[0], params=["matrices"], output=o)], "of 'matrix', 'shift', 'scale'; got 'matrices'"),
        (
            lambda m, i, o: [Use(a=i[0], params=["matrix"], output=o, kind="diag")],
            "kind must be one of 'linear'",
        ),
    ],
)
def test_what_it_returns_is_checked(fn, message):
    register_layer(Own, fn)
    with pytest.raises(ConfigError, match=re.escape(message)):
        capture(Task(Own().eval(), loss="mse"), torch.ones(4, 3), seeds="logits")


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))

    def forward(self, x):
        self.calls = [(x, x * self.scale), (x[:, :1], x[:, :1].sin() * self.scale)]
        return self.calls[0][1].sum(1) + self.calls[1][1].sum(1)


def test_scales_of_other_numbers_of_positions_add(rng):
    def both(module, inputs, output):
        (x, y), (z, w) = module.calls
        return [
            Use(a=x, params=["scale"], output=y, kind="scale"),
            Use(a=z.sin(), params=["scale"], output=w, kind="scale"),
        ]

    register_layer(Scaled, both)
    model, x = Scaled().double().eval(), torch.randn(4, 5, 3, dtype=torch.float64, generator=rng)
    assert_loops(model, x)


@pytest.mark.parametrize(
    "shape, use, message",
    [
        (
            (2, 3),
            {"a": (4, 2), "output": (4, 3)},
            r"a weight \[2, 3\] must take a \[N, \*T, 3\] to output \[N, \*T, 2\]",
        ),
        ((3,), {"a": (4, 3), "output": (4, 5, 3), "kind": "scale"}, r"must have a of its output's shape"),
    ],
)
def test_sizes_that_cannot_be_are_refused(shape, use, message):
    class Any(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(shape))

        def forward(self, x):
            return x * self.w.sum()

    given = {key: torch.ones(value) if isinstance(value, tuple) else value for key, value in use.items()}
    register_layer(Any, lambda *_: [Use(params=["w"], **given)])
    with pytest.raises(ConfigError, match=message):
        capture(Task(Any().eval(), loss="mse"), torch.ones(4, 2), seeds="logits")


def test_square_matrix_told_the_wrong_way_round_is_found_without_being_asked_for(rng):
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(3, 3))

        def forward(self, x):
            return x @ self.w

    register_layer(Square, lambda _, inputs, output: [Use(a=inputs[0], params=["w"], output=output)])
    with pytest.raises(CaptureError, match="must agree with autograd's gradient"):
        capture(Task(Square().eval(), loss="mse"), torch.randn(4, 3, generator=rng), seeds="logits")
