import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch.errors import ConfigError, DataError, NotSupported
from infotorch.task import LOSSES, Loss, Task, num_samples, select
from tests.laws import assert_same


def refused(error, message, call):
    with pytest.raises(error, match="^" + re.escape(message)):
        call()


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).eval()


def double(*shape, rng):
    return torch.randn(shape, dtype=torch.float64, generator=rng)


class TestLosses:
    """Values against torch's, Hessians against autograd's."""

    def targets(self, name, rng):
        if name == "cross_entropy":
            return torch.randint(0, 3, (6,), generator=rng), double(6, 3, rng=rng)
        if name == "mse":
            return double(6, 3, rng=rng), double(6, 3, rng=rng)
        return torch.rand(6, dtype=torch.float64, generator=rng), double(6, 1, rng=rng)

    def test_values_are_torchs_without_reduction(self, rng):
        y, f = self.targets("cross_entropy", rng)
        assert_same(LOSSES["cross_entropy"].value(f, y), F.cross_entropy(f, y, reduction="none"))
        p = double(6, 3, rng=rng).softmax(1)
        assert_same(LOSSES["cross_entropy"].value(f, p), F.cross_entropy(f, p, reduction="none"))
        y, f = self.targets("mse", rng)
        assert_same(LOSSES["mse"].value(f, y), 0.5 * F.mse_loss(f, y, reduction="none").sum(1))
        y, f = self.targets("binary_cross_entropy", rng)
        want = F.binary_cross_entropy_with_logits(f[:, 0], y, reduction="none")
        assert_same(LOSSES["binary_cross_entropy"].value(f, y), want)

    @pytest.mark.parametrize("name", LOSSES)
    def test_hessian_sqrt_times_its_transpose_is_the_hessian(self, name, rng):
        y, f = self.targets(name, rng)
        S = LOSSES[name].hessian_sqrt(f, y)
        for n in range(6):
            H = torch.autograd.functional.hessian(
                lambda row, n=n: LOSSES[name].value(row[None], y[n : n + 1]).sum(), f[n]
            )
            assert_same(S[n] @ S[n].mT, H)

    def test_golden(self):
        """Two equal logits are ln 2 nats, whichever loss asks."""
        zero = torch.zeros(1, 2)
        assert LOSSES["cross_entropy"].value(zero, torch.tensor([1])).item() == pytest.approx(math.log(2))
        assert LOSSES["binary_cross_entropy"].value(zero[:, :1], torch.tensor([1])).item() == pytest.approx(math.log(2))
        assert LOSSES["mse"].value(zero, torch.tensor([[3.0, 4.0]])).item() == 12.5

    def test_token_losses_are_summed_and_ignored_labels_left_out(self, rng):
        f, y = double(2, 5, 3, rng=rng), torch.randint(0, 3, (2, 5), generator=rng)
        y[0, 1:] = -100
        want = F.cross_entropy(f.transpose(1, 2), y, reduction="none").sum(1)
        assert_same(LOSSES["cross_entropy"].value(f, y), want)

    def test_hessian_of_a_function_is_not_made_up(self, model):
        task = Task(model, loss=lambda outputs, y: outputs.sum(1))
        message = "task: the loss's output Hessian must be known; got the function <lambda>. Give loss= an object with"
        refused(NotSupported, message, lambda: task.criterion.hessian_sqrt(torch.ones(2, 3), torch.ones(2)))

    def test_an_object_with_both_methods_is_a_loss(self, model):
        class Own:
            def value(self, outputs, y):
                return outputs.sum(1)

            def hessian_sqrt(self, outputs, y):
                return torch.zeros(len(outputs), 3, 1)

        own = Own()
        assert isinstance(own, Loss) and Task(model, loss=own).criterion is own


class TestRefusedLosses:
    def test_unknown_name(self, model):
        message = (
            "task: loss must be one of 'cross_entropy', 'mse', 'binary_cross_entropy'; got 'crossentropy'. "
            "Did you mean 'cross_entropy'?"
        )
        refused(ConfigError, message, lambda: Task(model, loss="crossentropy"))

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    def test_modules_that_reduce(self, model, reduction):
        message = (
            'task: a loss must have reduction="none", one number a sample; got CrossEntropyLoss with reduction='
            f'"{reduction}". Pass CrossEntropyLoss(reduction="none"), or the name of a built-in loss.'
        )
        refused(ConfigError, message, lambda: Task(model, loss=nn.CrossEntropyLoss(reduction=reduction)))
        Task(model, loss=nn.CrossEntropyLoss(reduction="none"))

    def test_functions_that_reduce(self, model):
        task = Task(model, loss=F.cross_entropy)
        message = (
            'task: the loss must return one number a sample, [2]; got shape []. Use reduction="none" and sum over all'
        )
        refused(ConfigError, message, lambda: task.losses(torch.ones(2, 3), torch.tensor([0, 1])))
        task = Task(model, loss=nn.MSELoss(reduction="none"))
        refused(
            ConfigError,
            "task: the loss must return one number a sample, [2]; got shape [2, 3].",
            lambda: task.losses(torch.ones(2, 3), torch.ones(2, 3)),
        )

    def test_no_function_at_all(self, model):
        refused(
            ConfigError, "task: loss must be a name or a function; got int. Choose of", lambda: Task(model, loss=3)
        )


class TestSelection:
    @pytest.mark.parametrize(
        "params, names",
        [
            (None, ["0.weight", "0.bias", "2.weight", "2.bias"]),
            (["2.*"], ["2.weight", "2.bias"]),
            (["2.bias", "0.weight"], ["0.weight", "2.bias"]),
            (lambda name: name.endswith("bias"), ["0.bias", "2.bias"]),
        ],
    )
    def test_names_globs_and_predicates(self, model, params, names):
        assert list(Task(model, params=params).parameters()) == names

    def test_frozen_parameters_are_never_among_them(self, model):
        model[0].weight.requires_grad_(False)
        assert list(Task(model, params=["0.*"]).parameters()) == ["0.bias"]
        message = "task: selected parameters must require grad; got '0.weight', which matches frozen ones alone."
        refused(ConfigError, message, lambda: Task(model, params=["0.weight"]))

    def test_a_tied_parameter_answers_to_both_names(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).eval()
        model[1].weight = model[0].weight
        assert list(Task(model, params=["1.weight"]).parameters()) == ["0.weight"]

    def test_unmatched_glob_names_the_nearest(self, model):
        message = (
            "task: every entry of params must match a parameter; got '2.weights', which matches none. "
            "Did you mean '2.weight'?"
        )
        refused(ConfigError, message, lambda: Task(model, params=["0.*", "2.weights"]))

    def test_one_string_is_not_a_list(self, model):
        message = "task: params must be a list of names or globs; got '0.*'. Pass ['0.*']."
        refused(ConfigError, message, lambda: Task(model, params="0.*"))

    def test_nothing_selected(self, model):
        message = "task: params must select a parameter that requires grad; got none."
        refused(ConfigError, message, lambda: Task(model, params=lambda name: False))
        refused(ConfigError, message, lambda: Task(model.requires_grad_(False)))

    def test_model_must_be_a_module(self):
        refused(ConfigError, "task: model must be an nn.Module; got function.", lambda: Task(lambda x: x))


class TestMode:
    """A model in train mode is refused, not switched."""

    def test_any_module_in_train_mode(self, model):
        model[2].train()
        message = "task: the model must be in eval mode; got '2' (Linear) in train mode. Call model.eval() first."
        refused(ConfigError, message, lambda: Task(model).outputs(torch.ones(2, 4)))
        assert model[2].training and not model[0].training

    def test_batch_norm_and_dropout_are_named_first(self):
        x = torch.ones(2, 4)
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        message = (
            "task: the model must be in eval mode; got '1' (BatchNorm1d) in train mode, where BatchNorm makes each "
            "output depend on the whole batch. Call model.eval() first."
        )
        refused(ConfigError, message, lambda: Task(model).outputs(x))
        model = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
        message = (
            "task: the model must be in eval mode; got '1' (Dropout) in train mode, where dropout draws a new mask"
        )
        refused(ConfigError, message, lambda: Task(model).outputs(x))

    def test_batch_norm_without_statistics_in_eval_mode(self):
        model = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)).eval()
        message = "task: BatchNorm must use stored statistics; got '0' with track_running_stats=False"
        refused(ConfigError, message, lambda: Task(model).outputs(torch.ones(2, 4)))


class TestData:
    @pytest.fixture
    def task(self, model):
        return Task(model)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_values_that_are_not_finite_name_their_first_sample(self, task, value):
        x = torch.ones(5, 4)
        x[3, 2] = x[4, 0] = value
        message = f"task: x must be finite; got {value} at sample 3. Remove or repair that sample."
        refused(DataError, message, lambda: task.split((x, torch.zeros(5).long())))
        y = torch.ones(5, 3)
        y[1, 2] = value
        refused(
            DataError, f"task: y must be finite; got {value} at sample 1.", lambda: task.split((torch.ones(5, 4), y))
        )

    def test_data_without_samples(self, task):
        message = "task: data must hold at least one sample; got none."
        refused(DataError, message, lambda: task.split((torch.ones(0, 4), torch.zeros(0).long())))

    @pytest.mark.parametrize(
        "batch, message",
        [
            ((torch.ones(5, 4), torch.zeros(4).long()), "task: x and y must have one length; got 5 and [4]."),
            ((torch.ones(5, 4), torch.tensor(1)), "task: x and y must have one length; got 5 and []."),
            (
                (torch.ones(5, 4), [0] * 5),
                "task: y must be a tensor; got list. Pass torch.as_tensor(y), or give target=.",
            ),
            (([[1.0]], torch.zeros(1)), "task: x must be a tensor or a nest of tensors; got float."),
            (
                (torch.ones(5, 4).double(), torch.zeros(5)),
                "task: x must be torch.float32 as the model is; got torch.float64.",
            ),
            (torch.ones(5, 4), "task: a batch must be (x, y) or a dict; got Tensor. Pass both together."),
            (
                ((torch.ones(5), torch.ones(4)), torch.ones(5)),
                "task: tensors of x must share their first size N; got [5, 4].",
            ),
            ((torch.ones(5, 4, device="meta"), torch.ones(5)), "task: x must be on the model's device cpu; got meta."),
        ],
    )
    def test_wrong_batches(self, task, batch, message):
        refused(DataError, message, lambda: task.split(batch))

    @pytest.mark.parametrize(
        "y, message",
        [
            ([0, 1, 3, 5], "task: labels must be in 0..2, for 3 outputs; got 3 at sample 2. Map labels to 0, 1, ..."),
            ([0, 1, -100, 2], "task: labels must be in 0..2, for 3 outputs; got -100 at sample 2."),
            ([[0], [1], [2], [0]], "task: class labels must be [4] for outputs [4, 3]; got [4, 1]."),
        ],
    )
    def test_labels_out_of_range_name_sample_and_range(self, task, y, message):
        refused(DataError, message, lambda: task.losses(torch.ones(4, 3), torch.tensor(y)))

    @pytest.mark.parametrize(
        "loss, y, message",
        [
            (
                "cross_entropy",
                torch.zeros(4).int(),
                "task: class labels must be int64; got torch.int32. Pass y.long().",
            ),
            (
                "cross_entropy",
                torch.zeros(4),
                "task: probability targets must have the outputs' shape [4, 3]; got [4].",
            ),
            (
                "cross_entropy",
                torch.ones(4, 3),
                "task: probability targets must be at least 0 and sum to 1; got a sum of 3",
            ),
            ("mse", torch.zeros(4).long(), "task: targets of mse must be floating point; got torch.int64."),
            (
                "mse",
                torch.zeros(4),
                "task: targets of mse must have the outputs' shape [4, 3]; got [4]. One-hot encode",
            ),
            (
                "binary_cross_entropy",
                torch.zeros(4),
                "task: binary_cross_entropy must see one logit a sample; got outputs",
            ),
        ],
    )
    def test_wrong_targets(self, model, loss, y, message):
        error = ConfigError if loss == "binary_cross_entropy" else DataError
        refused(error, message, lambda: Task(model, loss=loss).losses(torch.ones(4, 3), y))

    def test_binary_labels_outside_of_the_unit_interval(self, model):
        task, y = Task(model, loss="binary_cross_entropy"), torch.tensor([0.0, 1.0, 0.5, -1.0])
        message = "task: labels of binary_cross_entropy must be in [0, 1]; got -1 at sample 3."
        refused(DataError, message, lambda: task.losses(torch.ones(4, 1), y))


class TestOutputs:
    def test_one_number_a_sample_is_a_column(self):
        task = Task(nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).eval(), loss="binary_cross_entropy")
        assert task.outputs(torch.ones(5, 4)).shape == (5, 1)

    def test_outputs_that_are_no_rows_are_refused(self, model):
        x = torch.ones(5, 4)
        task = Task(model, forward=lambda model, x: {"logits": model(x)})
        refused(ConfigError, "task: the model must return a tensor; got dict. Give forward=", lambda: task.outputs(x))
        task = Task(model, forward=lambda model, x: model(x).sum(0))
        refused(ConfigError, "task: outputs must be [N, ...] with N = 5; got [3]. Give", lambda: task.outputs(x))

    def test_residual_targets_are_one_hot_or_the_targets(self, model):
        task = Task(model)
        assert task.residual_targets(torch.tensor([2, 0]), 3).tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        assert task.residual_targets(torch.tensor([[0.5, 0.5, 0.0]]), 3).tolist() == [[0.5, 0.5, 0.0]]
        binary = Task(model, loss="binary_cross_entropy")
        assert binary.residual_targets(torch.tensor([1, 0]), 1).tolist() == [[1.0], [0.0]]
        refused(DataError, "task: labels must be in 0..2", lambda: task.residual_targets(torch.tensor([3]), 3))
        message = "task: targets must have one number for each of 3 outputs; got [2]."
        refused(DataError, message, lambda: task.residual_targets(torch.ones(2), 3))


def test_samples_are_selected_in_their_nest():
    x = {"ids": torch.arange(6).view(3, 2), "rest": (torch.arange(3), [torch.ones(3, 1)])}
    few = select(x, slice(1, 3))
    assert num_samples(few) == 2 and few["rest"][0].tolist() == [1, 2] and few["rest"][1][0].shape == (2, 1)
