import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch.errors import ConfigError, DataError
from infotorch.task import Task
from tests.task.refusal import refused


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
        refused(ConfigError, "task: loss must be a name or a function; got int. Choose of", lambda: Task(model, loss=3))


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
            ((torch.ones(5, 4), torch.ones(5, device="meta")), "task: y must be on the model's device cpu; got meta."),
        ],
    )
    def test_wrong_batches(self, task, batch, message):
        refused(DataError, message, lambda: task.split(batch))


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


@pytest.mark.parametrize(
    "model, x",
    [
        (nn.Linear(3, 2), torch.zeros(4, 5)),
        (nn.Linear(3, 2), torch.zeros(4, 3, dtype=torch.int64)),
        (nn.Conv2d(3, 2, 1), torch.zeros(4, 1, 5, 5)),
    ],
    ids=["width", "dtype", "channels"],
)
def test_inputs_that_the_model_cannot_take(model, x):
    with pytest.raises(DataError, match=r"task: x must fit the model; got \[4, .*, of which torch says: "):
        Task(model.eval()).outputs(x)


def test_pictures_in_bytes_are_told_from_numbers():
    with pytest.raises(DataError, match=r"that the model takes; of pictures in bytes, x\.float\(\) / 255 say\."):
        Task(nn.Conv2d(3, 2, 1).eval()).outputs(torch.zeros(4, 3, 5, 5, dtype=torch.uint8))


def test_an_error_of_the_model_stays_its_own():
    def forward(model, x):
        raise RuntimeError("out of patience")

    with pytest.raises(RuntimeError, match="out of patience"):
        Task(nn.Linear(3, 2).eval(), forward=forward).outputs(torch.zeros(4, 3))
