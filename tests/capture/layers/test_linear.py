import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from infotorch.capture import capture
from infotorch.task import Task
from tests.capture.agreement import assert_exact


@settings(max_examples=25, deadline=None)
@given(
    leading=st.lists(st.integers(1, 3), max_size=3),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3)),
    bias=st.booleans(),
    frozen=st.sampled_from([None, "weight", "bias"]),
)
def test_linear_is_exact_for_any_leading_sizes(leading, sizes, bias, frozen):
    N, I, O = sizes
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(I, O, bias=bias), nn.Tanh(), nn.Linear(O, 2)).double()
    for name, p in model[0].named_parameters():
        p.requires_grad_(name != frozen)
    assert_exact(model, torch.randn(N, *leading, I, dtype=torch.float64))


def test_output_layer_keeps_its_unit_seeds_unwritten():
    """The last layer's b is a view of one identity, whatever N is."""
    task = Task(nn.Linear(3, 4).double().eval(), loss="mse")
    pair = capture(task, torch.ones(6, 3, dtype=torch.float64), seeds="logits").pairs[""]
    assert pair.unit and pair.b.shape == (6, 4, 1, 4) and pair.b.untyped_storage().nbytes() == 16 * 8


def test_input_by_keyword_is_seen():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(input=x)

    assert_exact(Keyword().double(), torch.randn(4, 3, dtype=torch.float64))


def test_empty_sequence_has_gradient_zero():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x).sum(1)

    task = Task(Pooled().eval(), loss="mse")
    pair = capture(task, (torch.zeros(4, 0, 3), torch.ones(4, 2))).pairs["fc"]
    assert pair.T == 0 and not pair.grad(1).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_captured_as_its_products_saw_it(dtype):
    """Under autocast two uses of a weight share one cast of it; both are counted, and pairs are float32."""
    torch.manual_seed(0)
    fc = nn.Linear(6, 6)
    model = nn.Sequential(fc, nn.Tanh(), fc, nn.Linear(6, 2)).eval()
    x, y = torch.randn(5, 6), torch.randn(5, 2)
    with torch.autocast("cpu", dtype):
        cap = capture(Task(model, loss="mse"), (x, y))
    exact = capture(Task(model, loss="mse"), (x, y))
    for name, pair in cap.pairs.items():
        assert pair.a.dtype == pair.b.dtype == torch.float32
        error = (pair.grad(2) - exact.pairs[name].grad(2)).norm() / exact.pairs[name].grad(2).norm()
        assert error < 0.05
    assert torch.equal(cap.pairs["3"].a, cap.pairs["3"].a.to(dtype).float())


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_bilinear_is_exact(leading, bias, rng):
    class Joins(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.join = nn.Linear(3, 2), nn.Bilinear(2, 3, 4, bias=bias)

        def forward(self, x):
            return self.join(self.left(x), x).tanh().flatten(1)

    assert_exact(Joins().double(), torch.randn(3, *leading, 3, dtype=torch.float64, generator=rng))


@pytest.mark.parametrize("frozen", [None, "weight", "bias"])
@pytest.mark.parametrize("twice", [True, False])
def test_conv1d_of_transformers_is_exact(frozen, twice, rng):
    utils = pytest.importorskip("transformers.pytorch_utils")
    layer = utils.Conv1D(4, 4 if twice else 3)
    model = nn.Sequential(layer, nn.Tanh(), layer if twice else nn.Linear(4, 2), nn.Flatten()).double()
    for name, p in layer.named_parameters():
        p.data.normal_(generator=rng)
        p.requires_grad_(name != frozen)
    cap = assert_exact(model, torch.randn(3, 2, 4 if twice else 3, dtype=torch.float64, generator=rng))
    if frozen != "weight":
        assert cap.pairs["0"].transposed and cap.pairs["0"].bias == (frozen is None)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(), (6,), (2, 3)])
def test_an_in_place_operation_may_follow(bias, leading, rng):
    """With a bias and positions the output is a view, which an in-place operation replaces in the graph."""
    model = nn.Sequential(nn.Linear(4, 8, bias=bias), nn.ReLU(inplace=True), nn.Linear(8, 2), nn.Flatten()).double()
    assert_exact(model, torch.randn(5, *leading, 4, dtype=torch.float64, generator=rng))
