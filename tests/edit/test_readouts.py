"""What is read out, against counting by hand; and real digits that are forgotten."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import edit
from infotorch.errors import ConfigError, DataError, NumericsError
from infotorch.task import Task
from tests.edit.problems import classified, net


def sets(N=20):
    task, x, y = classified(N)
    return task, {"forget": (x[:6], y[:6]), "retain": (x[6:13], y[6:13]), "test": (x[13:], y[13:])}


def test_errors_losses_and_the_attack_by_hand():
    task, given = sets()
    found = edit.readouts(task, **given)
    losses = {name: nn.functional.cross_entropy(task.model(x), y, reduction="none") for name, (x, y) in given.items()}
    for name, (x, y) in given.items():
        assert getattr(found, f"{name}_error") == pytest.approx(float((task.model(x).argmax(1) != y).double().mean()))
        assert getattr(found, f"{name}_loss") == pytest.approx(losses[name].mean().item())
    lower = losses["forget"][:, None] < losses["test"]
    assert found.membership_auc == pytest.approx(float(lower.double().mean()))
    assert found.relearn_steps is None


def test_weights_take_the_models_place():
    task, given = sets()
    other = net(seed=4)
    want = edit.readouts(Task(other), **given)
    before = copy.deepcopy(task.model.state_dict())
    for weights in (other, other.state_dict(), torch.cat([p.flatten() for p in other.parameters()])):
        assert edit.readouts(task, weights, **given) == want
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())


def test_loaders_and_dicts_are_read_too():
    task, given = sets()
    loaders = {name: DataLoader(TensorDataset(*pair), batch_size=4) for name, pair in given.items()}
    one, other = edit.readouts(task, **given), edit.readouts(task, **loaders)
    assert one.forget_loss == pytest.approx(other.forget_loss) and one.test_error == other.test_error


def test_relearning_counts_steps():
    task, given = sets()
    loss = edit.readouts(task, **given).forget_loss
    assert edit.readouts(task, **given, relearn_to=loss + 1e-6).relearn_steps == 0
    few = edit.readouts(task, **given, relearn_to=0.5 * loss, relearn_lr=0.05).relearn_steps
    more = edit.readouts(task, **given, relearn_to=0.25 * loss, relearn_lr=0.05).relearn_steps
    assert 0 < few < more < 1000
    assert edit.readouts(task, **given, relearn_to=0.25 * loss, relearn_limit=2).relearn_steps == math.inf


def test_without_classes_or_test_samples_there_is_no_such_readout():
    task = Task(net(), loss="mse")
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    found = edit.readouts(task, forget=(x[:3], y[:3]), retain=(x[3:], y[3:]))
    assert found.forget_error is None and found.test_error is None and found.membership_auc is None
    logit = Task(net((3, 4, 1)), loss="binary_cross_entropy")
    y = (logit.model(x)[:, 0] > 0).double()
    assert edit.readouts(logit, forget=(x[:3], y[:3]), retain=(x[3:], 1 - y[3:])).retain_error == 1
    soft = Task(net())
    y = soft.model(x).softmax(1).detach()
    assert edit.readouts(soft, forget=(x[:3], y[:3]), retain=(x[3:], y[3:])).retain_error == 0


def test_bad_input_is_refused():
    task, given = sets()
    with pytest.raises(DataError, match="readouts: retain and forget must share no sample"):
        edit.readouts(task, forget=given["forget"], retain=given["forget"])
    with pytest.raises(DataError, match="readouts: forget must hold a sample; got none"):
        edit.readouts(task, forget=tuple(t[:0] for t in given["forget"]), retain=given["retain"])
    with pytest.raises(ConfigError, match="relearn_limit at least 1"):
        edit.readouts(task, **given, relearn_to=1.0, relearn_limit=0)
    with torch.no_grad():
        next(task.model.parameters())[0, 0] = math.nan
    with pytest.raises(NumericsError, match=r"readouts: .*finite"):
        edit.readouts(task, **given)


def trained(x, y, ridge):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10)).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        penalty = sum(p.square().sum() for p in model.parameters())
        total = nn.functional.cross_entropy(model(x), y, reduction="sum") + 0.5 * ridge * penalty
        total.backward()
        return total

    optimizer.step(loss)
    return model.eval()


def test_scrubbed_digits_look_like_those_never_seen():
    """Wrong labels learnt by heart are forgotten by a Newton step, though the net is no quadratic, as residual says."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    rng = torch.Generator().manual_seed(0)
    order = torch.randperm(len(digits.target), generator=rng)[:330]
    x, y = torch.tensor(digits.data / 16)[order], torch.tensor(digits.target)[order]
    y = torch.cat([(y[:130] + torch.randint(1, 10, (130,), generator=rng)) % 10, y[130:]])  # wrong labels
    forget, test, retain = ((x[part], y[part]) for part in (slice(0, 30), slice(30, 130), slice(130, None)))
    ridge = 0.3
    task = Task(trained(torch.cat([forget[0], retain[0]]), torch.cat([forget[1], retain[1]]), ridge))
    given = {"retain": retain, "forget": forget, "test": test}
    before = edit.readouts(task, **given)
    anew = edit.readouts(task, trained(*retain, ridge), **given)
    newton = edit.scrub(task, retain, forget=forget, method="newton", noise=1e-4, ridge=ridge)
    noisy = edit.scrub(task, retain, forget=forget, method="fisher", noise=1e-2, ridge=ridge)
    after, hidden = edit.readouts(task, newton.weights, **given), edit.readouts(task, noisy.weights, **given)
    assert before.forget_error < 0.2 and before.membership_auc > 0.95
    assert anew.forget_error > 0.9 and anew.membership_auc < 0.6
    assert after.forget_error > 0.9 and after.membership_auc < before.membership_auc - 0.2
    assert after.retain_error < 0.05
    assert hidden.forget_error > before.forget_error and hidden.membership_auc < before.membership_auc
    assert newton.bound == 0 and newton.residual > 100 and noisy.bound > 100


def test_they_are_diagnostics():
    task, x, y = classified()
    assert edit.readouts(task, retain=(x[:10], y[:10]), forget=(x[10:], y[10:])).kind == "diagnostic"
