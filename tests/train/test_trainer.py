"""Trajectories, laws and refusals of a step."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch.errors import ConfigError, DataError, DivergenceError
from infotorch.measures.label_info import LabelInfoMeter
from infotorch.train.limit_gradient import limit_gradient
from infotorch.train.trainer import LimitTrainer
from tests.laws import assert_same, assert_same_bits
from tests.train.golden import FOLDER, load
from tests.train.problems import TRAJECTORIES, Trajectory, batches, mlp, networks, samples, weights


def close(got, want, rtol=1e-10):
    return (torch.as_tensor(got, dtype=torch.float64) - want).abs().max() <= rtol * (1 + want.abs().max())


def test_all_goldens_are_here():
    assert {path.stem.removeprefix("train_") for path in FOLDER.glob("train_*.npz")} == set(TRAJECTORIES)


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_golden_trajectories(name):
    run = Trajectory(name)
    q = "laplace" if run.case["q"] == "laplace" else "gaussian"
    meter = LabelInfoMeter(3, 24, q=q, lam=float(run.case["lam"]))
    trainer = LimitTrainer(run.classifier, run.aux, **run.options, meter=meter)
    told = [trainer.step(batch) for batch in run.batches]
    for want, got in run.end():
        assert close(got.detach(), want)
    assert close([step["loss"] for step in told], run.case["losses"])
    assert close([step["kl_nats"] for step in told], run.case["kl"])


@pytest.mark.parametrize("name", [name for name in TRAJECTORIES if "sgd" in name])
def test_golden_trajectories_in_float32(name):
    run = Trajectory(name, torch.float32)
    trainer = LimitTrainer(run.classifier, run.aux, **run.options)
    losses = [trainer.step(batch)["loss"] for batch in run.batches]
    for want, got in run.end():
        assert close(got.detach(), want, 1e-5)
    assert close(losses, run.case["losses"], 1e-5)


def test_a_step_tells_what_it_did(rng):
    trainer = LimitTrainer(*networks(), beta=0.3, lam=5.0)
    batch = samples(rng)
    z, v = (net(batch[0]).detach() for net in trainer.networks.values())
    told = trainer.step(batch)
    s, u, t = z.softmax(1), v.softmax(1), F.one_hot(batch[1], 4)
    match, pen = (u - t).square().sum(), (s - u).square().sum()
    assert close(told["loss"], (match + 0.3 * pen) / 24)
    assert close(told["match"], match) and close(told["pen"], pen)
    assert close(told["ce_noisy"], F.cross_entropy(z, batch[1], reduction="sum"))
    assert close(told["kl_nats"], 5 * match)
    assert (told["step"], told["labels"], told["warm_up"], told["skipped"]) == (0, 24, False, False)
    assert trainer.step(batch)["step"] == 1


@pytest.mark.parametrize("options", [{}, {"lam": 5.0}, {"q": "laplace", "lam": 5.0}, {"q": "ce", "beta": 0.0}])
def test_labels_reach_the_classifier_only_through_the_auxiliary(options, rng):
    """After one step the classifier is bit-equal whatever the labels, and the auxiliary isn't."""
    x, y, ids = samples(rng)
    ends = []
    for labels in (y, y.roll(1), y[torch.randperm(24, generator=rng)]):
        classifier, aux = networks()
        LimitTrainer(classifier, aux, **options).step((x, labels, ids))
        ends.append((weights(classifier), weights(aux)))
    for other in ends[1:]:
        for mine, theirs in zip(ends[0][0], other[0], strict=True):
            assert_same_bits(mine, theirs)
        assert any(not torch.equal(mine, theirs) for mine, theirs in zip(ends[0][1], other[1], strict=True))


def test_the_classifier_learns_the_auxiliary_s_soft_labels(rng):
    """Its step is that of cross-entropy with the auxiliary's probabilities."""
    x, y, ids = samples(rng)
    classifier, aux = networks()
    twin, u = copy.deepcopy(classifier), aux(x).softmax(1).detach()
    LimitTrainer(classifier, aux, optimizer=torch.optim.SGD(classifier.parameters(), 0.1)).step((x, y, ids))
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    F.cross_entropy(twin(x), u).backward()
    optimizer.step()
    for got, want in zip(weights(classifier), weights(twin), strict=True):
        assert_same(got, want)


@pytest.mark.parametrize("q", ["gaussian", "laplace"])
def test_two_optimizers_take_the_steps_of_the_authors_one(q, rng):
    """One Adam over both networks, a sum for the classifier and a mean for the auxiliary; the last batch is short."""
    x, y, ids = samples(rng, N=20)
    classifier, aux = networks()
    f, a = copy.deepcopy(classifier), copy.deepcopy(aux)
    trainer = LimitTrainer(classifier, aux, q=q, beta=10.0, reduction="reference")
    together = torch.optim.Adam([*f.parameters(), *a.parameters()], 1e-3)
    for batch in 5 * batches(x, y, ids):
        trainer.step(batch)
        z, v = f(batch[0]), a(batch[0])
        s, u, t = z.detach().softmax(1), v.softmax(1), F.one_hot(batch[1], 4)
        g, mu = s - t, s - u
        match = (g - mu).square() if q == "gaussian" else (g - mu).abs()
        together.zero_grad()
        torch.autograd.backward([(match + 10 * mu.square()).sum(1).mean(), z], [None, mu.detach()])
        together.step()
    for got, want in zip(weights(classifier, aux), weights(f, a), strict=True):
        assert_same(got, want)


@pytest.mark.parametrize("reduction", ["mean", "sum", "reference"])
@pytest.mark.parametrize("options", [{}, {"lam": 5.0}])
@pytest.mark.parametrize("parts", [2, 5, 24])
@pytest.mark.parametrize("soft", [False, True])
def test_accumulation_equals_the_whole_batch(reduction, options, parts, soft, rng):
    x, y, ids = samples(rng)
    # Labels spread unevenly over the parts; or probabilities.
    y = F.one_hot(y, 4) * 0.9 + 0.025 if soft else torch.where(torch.arange(24) % 5 == 3, -100, y)
    y = y.double() if soft else y
    ends = []
    for grad_accum in (1, parts):
        classifier, aux = networks()
        trainer = LimitTrainer(
            classifier, aux, reduction=reduction, grad_accum=grad_accum, **options,
            optimizer=torch.optim.SGD(classifier.parameters(), 0.1),
            aux_optimizer=torch.optim.SGD(aux.parameters(), 0.1),
        )  # fmt: skip
        told = [trainer.step((x, y, ids)) for _ in range(3)]
        trainer.end_epoch()
        ends.append((weights(classifier, aux), told, trainer.epoch_scores))
    for whole, split in zip(ends[0][0], ends[1][0], strict=True):
        assert_same(split, whole)
    assert [step["labels"] for step in ends[1][1]] == [24 if soft else 19] * 3
    assert ends[1][1][2]["loss"] == pytest.approx(ends[0][1][2]["loss"], rel=1e-13)
    assert (ends[0][2].ids == ends[1][2].ids).all() and abs(ends[0][2].values - ends[1][2].values).max() < 1e-6


def test_warm_up_leaves_the_classifier_and_its_optimizer(rng):
    classifier, aux = networks(norm=True)
    optimizer = torch.optim.AdamW(classifier.parameters(), 0.1, weight_decay=0.5)
    trainer = LimitTrainer(classifier, aux, optimizer=optimizer, warm_up=1)
    before, aux_before, mean = weights(classifier), weights(aux), classifier[1].running_mean.clone()
    batch = samples(rng)
    assert [trainer.step(batch)["warm_up"] for _ in range(3)] == [True] * 3
    for p, old in zip(classifier.parameters(), before, strict=True):
        assert_same_bits(p.detach(), old)
        assert p.grad is None
    assert not optimizer.state_dict()["state"]
    assert all(
        not torch.equal(p, old) for p, old in zip(aux.parameters(), aux_before, strict=True) if p.grad is not None
    )
    assert not torch.equal(weights(aux)[0], aux_before[0])
    assert not torch.equal(classifier[1].running_mean, mean)  # statistics of BatchNorm move
    trainer.end_epoch()
    assert trainer.step(batch)["warm_up"] is False and not torch.equal(weights(classifier)[0], before[0])
    assert {int(state["step"]) for state in optimizer.state_dict()["state"].values()} == {1}


def test_clipping_is_of_each_network_by_itself(rng):
    x, y, ids = samples(rng)
    plain, clipped = [], []
    for limit, moved in ((None, plain), (0.01, clipped)):
        nets = networks()
        before = weights(*nets)
        optimizers = [torch.optim.SGD(net.parameters(), 1.0) for net in nets]
        LimitTrainer(*nets, optimizer=optimizers[0], aux_optimizer=optimizers[1], clip_norm=limit).step((x, y, ids))
        moved += [new - old for new, old in zip(weights(*nets), before, strict=True)]
    for part in (slice(0, 4), slice(4, 8)):
        norm = torch.stack([d.norm() for d in plain[part]]).norm()
        assert norm > 0.01
        for got, want in zip(clipped[part], plain[part], strict=True):
            assert (got - want * 0.01 / (norm + 1e-6)).abs().max() < 1e-12


@pytest.mark.parametrize("form", ["labels", "probabilities", "sequence", "single"])
def test_every_form_of_labels_trains(form, rng):
    C = 1 if form == "single" else 4
    nets = networks(C=C)
    x, y, ids = samples(rng)
    if form == "probabilities":
        y = torch.softmax(torch.randn(24, 4, generator=rng, dtype=torch.float64), 1)
    elif form == "sequence":
        x, y, ids = x.view(6, 4, 6), torch.where(y == 0, -100, y).view(6, 4), torch.arange(6)
    elif form == "single":
        y = (y > 1).long()
    trainer = LimitTrainer(*nets, lr=1e-2, lam=50.0)
    losses = [trainer.step((x, y, ids))["loss"] for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]
    trainer.end_epoch()
    assert len(trainer.epoch_scores.ids) == len(x) and trainer.meter.num_classes == (2 if C == 1 else 4)


def test_a_batch_without_labels_moves_nothing(rng):
    nets = networks()
    optimizers = [torch.optim.SGD(net.parameters(), 1.0) for net in nets]
    before = weights(*nets)
    x, _, ids = samples(rng)
    told = LimitTrainer(*nets, optimizer=optimizers[0], aux_optimizer=optimizers[1]).step(
        (x, torch.full((24,), -100), ids)
    )
    assert told["loss"] == 0 and told["labels"] == 0
    for new, old in zip(weights(*nets), before, strict=True):
        assert_same_bits(new, old)


def test_nested_inputs_and_dicts(rng):
    class Nested(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, inputs):
            return self.net(inputs["x"] + inputs["more"][0])

    x, y, ids = samples(rng)
    ends = []
    for wrap in (False, True):
        nets = networks()
        trainer = LimitTrainer(*(map(Nested, nets) if wrap else nets), grad_accum=3)
        half = {"x": x / 2, "more": (x / 2,)}
        trainer.step({"inputs": half if wrap else x, "labels": y, "ids": ids})
        ends.append(weights(*nets))
    for nested, plain in zip(*ends, strict=True):
        assert_same_bits(nested, plain)


def test_half_precision_scaling_is_exact(rng):
    """Under a loss scale of 65536 the gradients are those of scale 1, and float32's within the rounding of half."""
    batch = samples(rng, dtype=torch.float32)
    found = {}
    for amp, scale in (("fp16", 65536.0), ("fp16", 1.0), (None, 1.0)):
        nets = networks(dtype=torch.float32)
        before = weights(*nets)
        optimizers = [torch.optim.SGD(net.parameters(), 1.0) for net in nets]
        trainer = LimitTrainer(*nets, optimizer=optimizers[0], aux_optimizer=optimizers[1], amp=amp)
        if amp:
            trainer.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        assert not trainer.step(batch)["skipped"]
        found[amp, scale] = [old - new for new, old in zip(weights(*nets), before, strict=True)]
    for scaled, unscaled, full in zip(*found.values(), strict=True):
        size = full.abs().max()
        assert size > 1e-3
        assert (scaled - full).abs().max() < 4 * 2**-10 * size and (unscaled - full).abs().max() < 4 * 2**-10 * size
        assert (scaled - unscaled).abs().max() < 4 * 2**-10 * size


def test_an_overflow_of_the_scale_skips_both_networks(rng):
    batch = samples(rng, dtype=torch.float32)
    nets = networks(dtype=torch.float32)
    trainer = LimitTrainer(*nets, amp="fp16")
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = weights(*nets)
    assert trainer.step(batch)["skipped"]
    for new, old in zip(weights(*nets), before, strict=True):
        assert_same_bits(new, old)
    assert trainer.scaler.get_scale() == 2.0**39
    assert not trainer.optimizer.state_dict()["state"] and not trainer.aux_optimizer.state_dict()["state"]


def test_bfloat16_trains_without_scaler(rng):
    nets = networks(dtype=torch.float32)
    trainer = LimitTrainer(*nets, amp="bf16", lr=1e-2)
    losses = [trainer.step(samples(rng.manual_seed(0), dtype=torch.float32))["loss"] for _ in range(40)]
    assert not trainer.scaler.is_enabled() and losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"x": lambda x: x.index_fill(0, torch.tensor(4), math.nan)},
            DataError,
            "inputs must be finite; got nan in sample 14 at",
        ),
        ({"y": lambda y: y.index_fill(0, torch.tensor(4), 7)}, ValueError, "7"),
        ({"y": lambda y: y.double()}, ValueError, "limit_gradient"),
        ({"y": lambda y: y[:-1]}, DataError, "inputs and labels must agree on N; got 24 and 23"),
        ({"ids": lambda ids: ids.int()}, DataError, r"ids must be int64 \[24\]; got torch.int32"),
    ],
)
def test_refusals_of_a_batch(change, error, text, rng):
    batch = dict(zip(("x", "y", "ids"), samples(rng), strict=True))
    batch["ids"] = batch["ids"] + 10
    for name, made in change.items():
        batch[name] = made(batch[name])
    nets = networks()
    before = weights(*nets)
    with pytest.raises(error, match=text):
        LimitTrainer(*nets).step(tuple(batch.values()))
    for new, old in zip(weights(*nets), before, strict=True):
        assert_same_bits(new, old)


def test_a_network_must_return_a_tensor(rng):
    class Output(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return (self.net(x),)

    with pytest.raises(ConfigError, match=r"classifier must return its logits, a tensor; got tuple. Wrap it"):
        LimitTrainer(Output(), mlp(1)).step(samples(rng))


def test_the_user_s_schedulers_step_with_the_epoch(rng):
    nets = networks()
    optimizer = torch.optim.SGD(nets[0].parameters(), 1.0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2], 0.1)
    trainer = LimitTrainer(*nets, optimizer=optimizer, schedulers=[scheduler])
    rates = []
    for batch in batches(*samples(rng)):
        rates.append(optimizer.param_groups[0]["lr"])
        trainer.step(batch)
        trainer.end_epoch()
    assert rates == pytest.approx([1.0, 0.1, 0.01]) and len(trainer.history) == 3


@pytest.mark.parametrize("q", ["gaussian", "laplace"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 5.0])
def test_golden_optimum_is_what_an_auxiliary_learns(q, beta, rng):
    """At the noisy posterior p no other prediction has a lower expected loss, and descent arrives there."""
    case = load(f"optimum_{q}_b{beta}")
    p, s, best = case["p"], case["s"], case["u"]  # [6, 4]

    def expected(v):
        z, labels = (s.log()[:, None].expand(6, 4, 4), torch.arange(4).expand(6, 4))
        rows = limit_gradient(z, v[:, None].expand(6, 4, 4), labels, q=q, beta=beta, reduction="none")
        return (p * rows).sum(1)  # [6]

    least = expected(best.log())
    for share in (1e-4, 1e-2, 0.3, 1.0):
        other = torch.softmax(3 * torch.randn(60, 6, 4, generator=rng, dtype=torch.float64), 2)
        for u in best + share * (other - best):
            assert (expected(u.clamp(min=0).log()) >= least - 1e-12).all()
    v = torch.zeros(6, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([v], 0.1)
    for _ in range(400):
        optimizer.zero_grad()
        expected(v).sum().backward()
        optimizer.step()
    assert (v.softmax(1) - best).abs().max() < 0.01


def test_a_gradient_that_no_scale_mends_is_told_of(rng):
    """Under fp16 a step whose gradient overflows is skipped, at a lower scale each time, and not for ever."""
    x, y, ids = samples(rng, dtype=torch.float32)
    classifier, aux = networks(dtype=torch.float32)
    trainer = LimitTrainer(classifier, aux, amp="fp16")
    aux[0].weight.register_hook(lambda grad: torch.full_like(grad, torch.nan))
    skipped = 0
    with pytest.raises(DivergenceError, match=r"aux\.0\.weight"):
        for _ in range(40):
            skipped += trainer.step((x, y, ids))["skipped"]
    assert skipped == 16
