import torch

from infotorch import Task
from infotorch.measures import Margin
from tests.laws import assert_same
from tests.measures.baselines.doubles import binary, classifier, shown, two_logits


def values(task, x, y):
    return torch.from_numpy(Margin().scores(task, x, y).values)


def test_it_is_the_labels_logit_minus_the_largest_other_one(rng):
    task, x, y = classifier(rng)
    truth = [
        f[label] - max(f[c] for c in range(3) if c != label) for f, label in zip(task.model(x).detach(), y, strict=True)
    ]
    assert_same(values(task, x, y), torch.stack(truth))


def test_it_is_below_0_where_the_prediction_is_another(rng):
    task, x, y = classifier(rng, N=200)
    assert torch.equal(values(task, x, y) < 0, task.model(x).argmax(1) != y)


def test_it_is_the_logarithm_of_odds(rng):
    task, x, y = classifier(rng, C=2)
    p = task.model(x).softmax(1).detach()
    given = p.gather(1, y[:, None])[:, 0]
    assert_same(values(task, x, y), (given / (1 - given)).log())
    assert Margin().scores(task, x, y)["margin"].unit == "nats"


def test_one_logit_is_two(rng):
    task, x, y = binary(rng)
    z = task.model(x)[:, 0].detach()
    assert_same(values(task, x, y), torch.where(y == 1, z, -z))
    assert_same(values(task, x, y), values(two_logits(task), x, y.long()))


def test_golden():
    logits = torch.tensor([[1.0, 5.0, 2.0], [1.0, 5.0, 2.0], [4.0, 4.0, 0.0], [-1e4, -2e4, -3e4]])
    assert values(*shown(logits), torch.tensor([2, 1, 0, 0])).tolist() == [-3, 3, 0, 1e4]


def test_classes_that_a_model_rules_out_count_as_far(rng):
    task, x, _ = classifier(rng)
    ruled = Task(task.model, forward=lambda model, x: model(x).index_fill(1, torch.tensor([2]), -torch.inf))
    f = task.model(x).detach()
    assert_same(values(ruled, x, torch.zeros(11, dtype=torch.int64)), f[:, 0] - f[:, 1])


def test_a_number_added_to_all_logits_changes_nothing(rng):
    task, x, y = classifier(rng)
    shifted = Task(task.model, forward=lambda model, x: model(x) + 5)
    assert_same(values(shifted, x, y), values(task, x, y))
