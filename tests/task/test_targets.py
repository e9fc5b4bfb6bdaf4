import pytest
import torch

from infotorch.errors import ConfigError, DataError
from infotorch.task import Task
from tests.task.refusal import refused


class TestLabels:
    @pytest.mark.parametrize(
        "y, message",
        [
            ([0, 1, 3, 5], "task: labels must be in 0..2, for 3 outputs; got 3 at sample 2. Map labels to 0, 1, ..."),
            ([0, 1, -100, 2], "task: labels must be in 0..2, for 3 outputs; got -100 at sample 2."),
            ([[0], [1], [2], [0]], "task: class labels must be [4] for outputs [4, 3]; got [4, 1]."),
        ],
    )
    def test_labels_out_of_range_name_sample_and_range(self, model, y, message):
        refused(DataError, message, lambda: Task(model).losses(torch.ones(4, 3), torch.tensor(y)))

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

    def test_one_output_with_class_labels_names_the_binary_loss(self, model):
        message = (
            'task: labels must be in 0..0, for 1 output; got 1 at sample 2. Use loss="binary_cross_entropy" or widen '
            "the model's last layer."
        )
        refused(DataError, message, lambda: Task(model).losses(torch.ones(3, 1), torch.tensor([0, 0, 1])))


class TestResidualTargets:
    def test_residual_targets_are_one_hot_or_the_targets(self, model):
        task = Task(model)
        assert task.residual_targets(torch.tensor([2, 0]), 3).tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        assert task.residual_targets(torch.tensor([[0.5, 0.5, 0.0]]), 3).tolist() == [[0.5, 0.5, 0.0]]
        binary = Task(model, loss="binary_cross_entropy")
        assert binary.residual_targets(torch.tensor([1, 0]), 1).tolist() == [[1.0], [0.0]]
        refused(DataError, "task: labels must be in 0..2", lambda: task.residual_targets(torch.tensor([3]), 3))
        message = "task: targets must have one number for each of 3 outputs; got [2]."
        refused(DataError, message, lambda: task.residual_targets(torch.ones(2), 3))

    @pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
    def test_two_classes_on_one_output_are_0_and_1(self, model, loss, dtype):
        """Labels that are all of class 0 have target 0, which is not the first entry of a one-hot row."""
        task = Task(model, loss=loss)
        for labels in ([0, 1, 1], [0, 0, 0], [1, 1, 1]):
            targets = task.residual_targets(torch.tensor(labels, dtype=dtype), 1)
            assert targets.dtype == torch.float64 and targets.tolist() == [[float(label)] for label in labels]

    @pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
    def test_further_classes_on_one_output_are_refused(self, model, loss):
        message = (
            "task: class labels must be 0 or 1, for one output; got 2 at sample 1. Map the two classes to 0 and 1 with "
            'loss="binary_cross_entropy", or widen the model\'s last layer; targets of a regression are floating point.'
        )
        refused(DataError, message, lambda: Task(model, loss=loss).residual_targets(torch.tensor([0, 2, -1]), 1))
        assert Task(model, loss="mse").residual_targets(torch.tensor([0.0, 2.0]), 1).tolist() == [[0.0], [2.0]]

    @pytest.mark.parametrize(
        "y, got",
        [
            (torch.tensor([0, 1, 2]), "2 at sample 2"),
            (torch.tensor([0.5, -0.25, 2.0]), "-0.25 at sample 1"),
            (torch.tensor([[0.0], [1.5]]), "1.5 at sample 1"),
        ],
    )
    def test_binary_targets_are_probabilities(self, model, y, got):
        task = Task(model, loss="binary_cross_entropy")
        message = f"task: labels of binary_cross_entropy must be in [0, 1]; got {got}. Map the two classes to 0 and 1."
        refused(DataError, message, lambda: task.residual_targets(y, 1))
        refused(DataError, message, lambda: task.losses(torch.ones(len(y), 1), y))

    def test_small_integers_are_class_labels_too(self, model):
        assert Task(model).residual_targets(torch.tensor([2, 0]).int(), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
