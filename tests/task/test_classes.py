"""What is a label, what outputs say of it, and the 0-1 error."""

import pytest
import torch
from torch import nn

from infotorch import Task
from infotorch.task.classes import all_missed, given_classes, is_single, is_soft, labelled, missed_by, predicted_classes

F = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0]])


def test_forms_of_labels():
    z, y = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([0, -100])
    assert predicted_classes(z, y).tolist() == [1, 0] and given_classes(z, y).tolist() == [0, -100]
    assert labelled(z, y).tolist() == [True, False]
    soft = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    assert is_soft(z, soft) and given_classes(z, soft).tolist() == [0, 1] and labelled(z, soft).all()
    single = torch.tensor([-1.0, 4.0])
    for logits in (single, single[:, None]):
        for y in (torch.tensor([0, 1]), torch.tensor([0.2, 0.7])):
            assert is_single(logits, y) and not is_soft(logits, y)
            assert predicted_classes(logits, y).tolist() == given_classes(logits, y).tolist() == [0, 1]
            assert labelled(logits, y).tolist() == [True, True]


@pytest.mark.parametrize(
    ("loss", "outputs", "y", "want"),
    [
        ("cross_entropy", F, torch.tensor([1, 1, 1]), [0, 1, 0]),
        ("cross_entropy", F, torch.tensor([[0.4, 0.6], [0.2, 0.8], [0.9, 0.1]]), [0, 1, 1]),
        ("cross_entropy", F[None], torch.tensor([[1, -100, 0]]), [0, 1]),  # a token that is ignored is none
        ("binary_cross_entropy", F[:, :1] - 2, torch.tensor([0.0, 0.0, 0.0]), [0, 1, 0]),
        ("binary_cross_entropy", F[:, :1] - 2, torch.tensor([[1], [1], [0]]), [1, 0, 0]),
        ("binary_cross_entropy", F[:, :1] - 2, torch.tensor([0.7, 0.3, 0.2]), [1, 1, 0]),
        ("binary_cross_entropy", torch.zeros(1, 1), torch.ones(1), [1]),  # a logit of 0 says class 0
        (lambda f, y: f[:, 0], F, torch.tensor([0, 0, 1]), [1, 0, 0]),
        ("mse", F, F, None),
        (lambda f, y: f[:, 0], F, torch.tensor([[2, 0], [1, 1], [0, 3]]), None),  # counts, one an output
        (lambda f, y: f[:, 0], F[:, :1], torch.tensor([0, 1, 1]), None),  # the threshold is the loss's own
        (lambda f, y: f[:, 0], F, F.softmax(1), None),
    ],
)
def test_labels_that_are_missed(loss, outputs, y, want):
    found = missed_by(Task(nn.Linear(1, 1), loss=loss), outputs, y)
    assert (None if found is None else found.long().tolist()) == want


def test_the_error_of_batches_counts_labels_not_batches():
    task = Task(nn.Linear(1, 1))
    batches = [missed_by(task, F[:1], torch.tensor([0])), missed_by(task, F[1:], torch.tensor([0, 1]))]
    assert all_missed(batches).tolist() == [1, 0, 0] and all_missed(batches).dtype == torch.float64
    assert all_missed([*batches, None]) is None
    assert all_missed([missed_by(task, F[None], torch.full((1, 3), -100))]) is None
