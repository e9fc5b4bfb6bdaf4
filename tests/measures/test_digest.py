"""The same content has the same digest; anything else that a callable does has another."""

import functools
import subprocess
import sys

import pytest
import torch
from torch import nn

from infotorch.measures.digest import digest_of_code, digest_of_model, plain_repr

FACTOR = 2.0


def helper(x):
    return x + 1


def through(x):
    return helper(x) * FACTOR


def adder(n):
    return lambda x: x + n


def default(x, n=1):
    return x + n


class Loss:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, outputs, y):
        return self.scale * outputs.sum(1)


class OtherLoss(Loss):
    def __call__(self, outputs, y):
        return self.scale * outputs.mean(1)


class Net(nn.Module):
    def __init__(self, act=torch.tanh):
        super().__init__()
        self.linear, self.act = nn.Linear(2, 2), act
        nn.init.ones_(self.linear.weight), nn.init.ones_(self.linear.bias)

    def forward(self, x):
        return self.act(self.linear(x))


class OtherNet(Net):
    def forward(self, x):
        return -super().forward(x)


OtherNet.__qualname__ = "Net"
SAME = {
    "lambdas": lambda: (lambda x: x.tanh(), lambda z: z.tanh()),
    "closures": lambda: (adder(1), adder(1)),
    "objects": lambda: (Loss(2.0), Loss(2.0)),
    "networks": lambda: (Net(), Net()),
    "partials": lambda: (functools.partial(default, n=2), functools.partial(default, n=2)),
    "teachers": lambda: (adder(Net()), adder(Net())),
}
DIFFERENT = {
    "code": lambda: (lambda x: x.tanh(), lambda x: x.relu()),
    "constants": lambda: (lambda x: x * 2.0, lambda x: x * 3.0),
    "inner code": lambda: (lambda x: (lambda: x + 1)(), lambda x: (lambda: x + 2)()),
    "closures": lambda: (adder(1), adder(2)),
    "functions closed over": lambda: (adder(lambda: 1), adder(lambda: 2)),
    "defaults": lambda: (functools.partial(default, n=2), functools.partial(default, n=3)),
    "attributes": lambda: (Loss(2.0), Loss(3.0)),
    "methods": lambda: (Loss(2.0), OtherLoss(2.0)),
    "bound methods": lambda: (Loss(2.0).__call__, Loss(3.0).__call__),
    "builtins": lambda: (torch.tanh, torch.relu),
    "library functions": lambda: (nn.functional.gelu, nn.functional.silu),
    "function of a network": lambda: (Net(), Net(torch.relu)),
    "forward of a network": lambda: (Net(), OtherNet()),
    "heads": lambda: tuple(seeded(functools.partial(nn.MultiheadAttention, 4, heads)) for heads in (1, 2)),
    "weights of a teacher": lambda: (adder(Net()), adder(moved(Net()))),
}


def seeded(make):
    torch.manual_seed(0)
    return make()


def moved(model):
    with torch.no_grad():
        model.linear.weight += 1
    return model


@pytest.mark.parametrize("case", SAME)
def test_what_does_the_same_has_the_same_digest(case):
    first, second = SAME[case]()
    assert digest_of_code(first) == digest_of_code(second)


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_does_something_else_has_another_digest(case):
    first, second = DIFFERENT[case]()
    assert digest_of_code(first) != digest_of_code(second)


@pytest.mark.parametrize(("name", "value"), [("FACTOR", 3.0), ("helper", lambda x: x)])
def test_what_a_function_names_in_its_own_file_counts(monkeypatch, name, value):
    before = digest_of_code(through)
    monkeypatch.setitem(globals(), name, value)
    assert digest_of_code(through) != before


def test_parameters_and_all_buffers_belong_to_the_model_and_not_to_its_code():
    first, second = Net(), moved(Net())
    assert digest_of_model(first) != digest_of_model(second)
    assert digest_of_code(first, state=False) == digest_of_code(second, state=False)
    for model, value in ((first, 0.0), (second, 1.0)):
        model.load_state_dict(Net().state_dict())
        model.register_buffer("unsaved", torch.tensor(value), persistent=False)
    assert digest_of_model(first) != digest_of_model(second)


def test_a_model_without_code_of_its_own_has_no_bytecode():
    assert len(digest_of_model(nn.Linear(2, 2))) == 64
    assert digest_of_model(Net()).startswith(f"{sys.implementation.cache_tag}:")


def test_things_that_lead_back_to_themselves_end():
    loss, model = Loss(2.0), Net()
    loss.self, model.forward = loss, Net.forward.__get__(model)
    assert digest_of_code(loss) == digest_of_code(loss) and digest_of_model(model) == digest_of_model(model)


def test_addresses_are_left_out():
    assert plain_repr(object()) == "<object object>"


def test_another_process_has_the_same_digest():
    """Compiled or loaded, and whatever the order of sets of text."""
    code = "from tests.measures.test_digest import *; print([digest_of_code(f) for m in SAME.values() for f in m()])"
    found = {
        subprocess.run(
            [sys.executable, *flags, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed, flags in (("1", ()), ("2", ("-B",)))
    }
    assert len(found) == 1 and "cpython" in found.pop()
