import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from infotorch.blocks import per_sample_grad_norms, per_sample_grads, sketch
from infotorch.blocks.loading import batches, is_loader
from infotorch.capture import capture
from infotorch.errors import ConfigError, DataError
from infotorch.task import Task
from tests.blocks.cases import case
from tests.laws import assert_same

STREAMED = {
    "per_sample_grad_norms": per_sample_grad_norms,
    "sketch": lambda *args, **options: sketch(*args, dim=20, seed=0, **options),
}


@pytest.fixture(params=STREAMED)
def streamed(request):
    return STREAMED[request.param]


class Failing(Dataset):
    """A sample in the third batch of two is broken."""

    def __init__(self, made):
        self.made = made

    def __len__(self):
        return len(self.made.x)

    def __getitem__(self, n):
        if n == 5:
            raise RuntimeError("a broken file")
        return self.made.x[n], self.made.y[n]


def loader_of(made, **options):
    return DataLoader(TensorDataset(made.x, made.y), **options)


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_rows_come_in_the_loaders_order(streamed, batch_size):
    made = case("conv")
    whole = streamed(made.task, made.batch)
    assert_same(streamed(made.task, loader_of(made, batch_size=batch_size)), whole)
    assert_same(streamed(made.task, iter([made.batch])), whole)


def test_dicts_stream_too():
    made = case("mlp")
    task = Task(
        made.task.model, loss="mse", forward=lambda model, batch: model(batch["x"]), target=lambda batch: batch["y"]
    )
    given = ({"x": x, "y": y} for x, y in loader_of(made, batch_size=3))
    assert_same(per_sample_grad_norms(task, given), made.G.norm(dim=1))


def test_progress_counts_batches(streamed):
    made, steps = case("mlp"), []
    streamed(made.task, loader_of(made, batch_size=3), progress=lambda *step: steps.append(step))
    assert steps == [("batches", 1, 3), ("batches", 2, 3), ("batches", 3, 3)]
    steps.clear()
    streamed(made.task, iter([made.batch]), progress=lambda *step: steps.append(step))
    assert steps == [("batches", 1, 0)], "a generator has no length"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_loader_is_told_with_its_batch(workers):
    made = case("mlp")
    before = {name: p.clone() for name, p in made.task.model.named_parameters()}
    with pytest.raises(DataError) as caught:
        per_sample_grad_norms(made.task, DataLoader(Failing(made), batch_size=2, num_workers=workers))
    assert str(caught.value).startswith(
        "per_sample_grad_norms: the loader must give every batch; got RuntimeError at batch 2: "
    )
    assert "a broken file" in str(caught.value) and isinstance(caught.value.__cause__, RuntimeError)
    for module in made.task.model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module.training
    for name, p in made.task.model.named_parameters():
        assert p.grad is None and p.requires_grad and torch.equal(p, before[name])


def test_an_interrupt_of_the_loader_is_left_as_it_is():
    made = case("mlp")

    def interrupted():
        yield made.batch
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        per_sample_grad_norms(made.task, interrupted())


def test_a_generator_gives_its_batches_once():
    made = case("mlp")
    given = (batch for batch in [made.batch])
    per_sample_grad_norms(made.task, given)
    with pytest.raises(DataError) as caught:
        per_sample_grad_norms(made.task, given)
    assert str(caught.value) == (
        "per_sample_grad_norms: the loader must give at least one batch; got none. A generator gives its batches "
        "once: make a new one for every call."
    )


def test_an_error_of_the_model_is_its_own():
    made = case("mlp")
    with pytest.raises(DataError, match=r"task: x must be torch.float64 as the model is"):
        per_sample_grad_norms(made.task, [made.batch, (made.x.float(), made.y)].__iter__())


def test_a_batch_elsewhere_is_refused_and_one_of_a_loader_is_moved():
    made = case("mlp")
    elsewhere = made.x.to("meta"), made.y.to("meta")
    for call in (per_sample_grads, per_sample_grad_norms):
        with pytest.raises(DataError, match=r"x must be on the model's device cpu; got meta. Pass x.to\('cpu'\)"):
            call(made.task, elsewhere)
    on_meta = Task(torch.nn.Linear(5, 3).to("meta").eval(), loss="mse")
    nested = {"x": [made.x, (made.y,)], "note": "kept"}
    (moved,) = batches("norms", on_meta, iter([nested]))
    assert moved["x"][0].device.type == moved["x"][1][0].device.type == "meta" and moved["note"] == "kept"


def test_captures_take_no_loader():
    made = case("mlp")
    with capture(made.task, made.batch) as cap, pytest.raises(ConfigError, match="got a loader beside it"):
        per_sample_grad_norms(cap, loader_of(made, batch_size=2))


def test_what_is_a_loader():
    made = case("mlp")
    assert is_loader(loader_of(made)) and is_loader(iter([])) and is_loader(batch for batch in [])
    assert not any(map(is_loader, (made.x, made.batch, list(made.batch), {"x": made.x}, None, 3)))


@pytest.mark.cuda
def test_batches_are_on_the_gpu_when_they_come(gpu):
    made = case("mlp")
    task = Task(torch.nn.Linear(5, 3).to(gpu).eval(), loss="mse")
    given = list(batches("norms", task, loader_of(made, batch_size=3)))
    assert all(x.device == y.device == gpu for x, y in given)
    assert_same(torch.cat([x for x, _ in given]).cpu(), made.x)
