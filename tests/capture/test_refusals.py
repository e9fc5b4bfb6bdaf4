"""Right, or a listed error: what the other engines answer wrongly in silence."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch.capture import capture
from infotorch.errors import CaptureError, ConfigError, DataError
from infotorch.task import Task
from tests.capture.agreement import assert_exact


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
        self.scale = nn.Parameter(torch.ones(4))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.cell(x[:, 0]) * self.scale)


class Positions(nn.Module):
    """Position embeddings looked up once and broadcast over the batch."""

    def __init__(self, T, lead):
        super().__init__()
        self.fc, self.pos = nn.Linear(3, 4), nn.Embedding(T, 4)
        self.register_buffer("ids", torch.arange(T).expand(1, T) if lead else torch.arange(T))

    def forward(self, x):  # [N, T, 3]
        return (self.fc(x) + self.pos(self.ids)).tanh().sum(1)


def refusal(model, x, **options):
    task = Task(model.eval(), loss=lambda outputs, y: outputs.flatten(1).sum(1), **options)
    with pytest.raises(CaptureError) as caught:
        capture(task, (x, torch.zeros(len(x))))
    return str(caught.value)


def test_all_offenders_are_listed_with_the_remedies():
    model = nn.ModuleDict({"encoder": Weighted()})
    model.forward = lambda x: model["encoder"](x)
    assert refusal(model, torch.ones(5, 6, 3)) == (
        "capture: every trainable parameter must belong to a supported layer; got 2 that do not:\n"
        "  encoder.scale                         parameter of Weighted  used 1 time outside a captured layer\n"
        "  encoder.cell.parametrizations.weight  ParametrizationList    original0, original1\n"
        'Freeze them or pass params=[...] without them; or pass fallback="func" to take per-sample gradients\n'
        "of these parameters by torch.func (slower: one vmap over the batch)."
    )


def test_the_remedies_work():
    model = Weighted().eval()
    x, y = torch.ones(5, 6, 3), torch.zeros(5, 2)
    assert list(capture(Task(model, loss="mse", params=["fc.*"]), (x, y)).pairs) == ["fc"]
    cap = capture(Task(model, loss="mse"), (x, y), fallback="func", verify=True)
    assert cap.plan.fallback == ("scale", *(f"cell.parametrizations.weight.original{i}" for i in (0, 1)))
    assert set(cap.pairs) == {*cap.plan.fallback, "cell.bias", "fc"}
    model.cell.requires_grad_(False)
    model.scale.requires_grad_(False)
    assert list(capture(Task(model, loss="mse"), (x, y)).pairs) == ["fc"]


def test_layers_apart_and_layers_unknown_are_listed_at_once():
    class Both(Positions):
        def __init__(self):
            super().__init__(5, False)
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return self.fc(x).sum(1) * self.scale + self.pos(self.ids).cumsum(0)[-1]

    assert re.search(
        r"got 2 that do not:\n  scale  parameter of Both  used 1 .*\n  pos    Embedding          weight: must see one",
        refusal(Both(), torch.ones(3, 5, 3)),
    )


def test_functional_use_beside_the_layer_is_found():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3, bias=False)

        def forward(self, x):
            return F.linear(F.linear(self.fc(x), self.fc.weight), self.fc.weight)

    assert "fc.weight  parameter of Linear  used 2 times outside a captured layer" in refusal(
        Functional(), torch.ones(2, 3)
    )


def test_penalty_on_the_weights_is_found():
    """A loss that touches a parameter has a part that no layer shows."""
    model = nn.Linear(3, 2).eval()
    task = Task(model, loss=lambda outputs, y: outputs.sum(1) + model.weight.square().sum())
    with pytest.raises(CaptureError, match="weight  parameter of Linear  used 1 time outside"):
        capture(task, (torch.ones(4, 3), torch.ones(4)))


def test_a_layer_with_a_forward_of_its_own_is_not_taken_for_its_parent():
    class Scaled(nn.Linear):
        def forward(self, x):
            return 2 * F.linear(x, self.weight, self.bias)

    assert "parameter of Scaled" in refusal(nn.Sequential(Scaled(3, 2)), torch.ones(2, 3))
    patched = nn.Linear(3, 2)
    patched.forward = lambda x: F.linear(x, 3 * patched.weight, patched.bias)
    assert "parameter of Linear" in refusal(nn.Sequential(patched), torch.ones(2, 3))


def test_a_layer_that_inherits_its_forward_is_supported(rng):
    class Named(nn.Linear):
        pass

    assert_exact(nn.Sequential(Named(3, 2)).double(), torch.randn(4, 3, dtype=torch.float64, generator=rng))


@pytest.mark.parametrize("parametrize", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.orthogonal])
def test_parametrized_weight_is_refused_and_its_bias_alone_is_exact(parametrize, rng):
    model = parametrize(nn.Linear(3, 3))
    assert "parametrizations.weight" in refusal(nn.Sequential(model), torch.ones(2, 3))
    cap = capture(
        Task(nn.Sequential(model).eval(), loss="mse", params=["0.bias"]),
        (torch.ones(2, 3), torch.zeros(2, 3)),
        verify=True,
    )
    assert list(cap.pairs) == ["0.bias"]


def test_parameters_swapped_for_the_forward_are_found():
    class Swaps(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.out = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            swapped = {"weight": 2 * self.out.weight.new_ones(3, 3), "bias": self.fc.bias}
            return self.out(torch.func.functional_call(self.fc, swapped, x))

    assert "fc.weight  parameter of Linear  replaced for the forward" in refusal(Swaps(), torch.ones(2, 3))


def test_memory_limit_is_judged_before_the_backward():
    task = Task(nn.Linear(512, 512).eval(), loss="mse")
    batch = (torch.ones(512, 512), torch.ones(512, 512))
    with pytest.raises(
        ConfigError, match=r"must hold the batch's pairs \(needs 2 MiB\); got 1 MiB. Raise memory_limit"
    ):
        capture(task, batch, memory_limit=2**20)
    assert capture(task, batch, memory_limit=2**21).nbytes == 2**21


def test_complex_parameters_are_refused():
    model = nn.Linear(3, 2).to(torch.complex64).eval()
    with pytest.raises(CaptureError, match=r"parameters must be real; got 'weight' of torch\.complex64. Leave it out"):
        capture(Task(model, loss="mse"), torch.ones(4, 3, dtype=torch.complex64), seeds="logits")


def test_synchronized_batch_norm_is_refused():
    text = refusal(nn.Sequential(nn.Linear(3, 2), nn.SyncBatchNorm(2)), torch.ones(4, 3))
    assert "\n  1  SyncBatchNorm  weight, bias\n" in text


def test_batch_on_another_device_is_refused():
    with pytest.raises(DataError, match=r"x must be on the model's device cpu; got meta. Pass x.to\('cpu'\)"):
        capture(Task(nn.Linear(3, 2).eval(), loss="mse"), torch.ones(4, 3, device="meta"), seeds="logits")


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm1d(2)], ids=str)
def test_train_mode_is_refused(layer):
    model = nn.Sequential(nn.Linear(3, 2), layer).train()
    with pytest.raises(ConfigError, match="the model must be in eval mode; got '1'"):
        capture(Task(model, loss="mse"), torch.ones(4, 3), seeds="logits")
    assert model.training and model[1].training


@pytest.mark.parametrize("loss", [lambda f, y: ((f - y) ** 2).mean(), lambda f, y: (f - y) ** 2])
def test_losses_of_other_shapes_are_refused(loss):
    with pytest.raises(ConfigError, match=r"the loss must return one number a sample, \[4\]; got shape"):
        capture(Task(nn.Linear(3, 2).eval(), loss=loss), (torch.ones(4, 3), torch.ones(4, 2)))
