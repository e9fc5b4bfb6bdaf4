"""LimitCallback in real Lightning trainings: equal to a loop by hand, blind to labels, and refused in words."""

import copy
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from infotorch.errors import ConfigError, DataError, NotSupported, StoreError
from infotorch.ops import LimitNoise
from infotorch.train import limit_gradient
from tests.laws import assert_same_bits
from tests.train.problems import mlp, networks, samples, weights

lightning = pytest.importorskip("lightning.pytorch", reason="no lightning: it comes with the dev extra")
pytestmark = pytest.mark.filterwarnings("ignore")

from infotorch.train import LimitCallback  # noqa: E402  needs lightning


class Plain(lightning.LightningModule):
    """A user's module: cross-entropy of ``model``, and SGD."""

    def __init__(self, model, loss=F.cross_entropy, make=lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)):
        super().__init__()
        self.model, self.loss, self.make = model, loss, make

    def training_step(self, batch, index):
        return self.loss(self.model(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.outputs = self.model(batch[0])

    def configure_optimizers(self):
        return self.make(self.parameters())


def batches(rng, count=5, N=6, **options):
    x, y, ids = samples(rng, N=count * N, **options)
    y[::7] = -100
    return [(x[k : k + N], y[k : k + N], ids[k : k + N]) for k in range(0, count * N, N)]


def assert_close(nets, others, rtol=1e-12, atol=1e-12):
    for mine, theirs in zip(weights(*nets), weights(*others), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=atol)


def fit(module, data, *callbacks, val=None, ckpt=None, **options):
    options = {"max_epochs": 1, "precision": "64-true", **options}
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, callbacks=list(callbacks), **options,
    )  # fmt: skip
    trainer.fit(module, *(None if d is None else DataLoader(d, batch_size=None) for d in (data, val)), ckpt_path=ckpt)
    return trainer


def callback(aux, **options):
    """One whose auxiliary network moves by SGD, in which no factor is lost."""
    return LimitCallback(aux, aux_optimizer=torch.optim.SGD(aux.parameters(), 0.2, momentum=0.9), **options)


def by_hand(nets, data, *, parts=1, clip=None, q="gaussian", beta=1.0, lam=None, seed=0, half=None):
    """The same training in plain torch: each part's mean for the classifier, the step's mean for the auxiliary."""
    optimizers = [torch.optim.SGD(net.parameters(), lr, momentum=0.9) for net, lr in zip(nets, (0.1, 0.2), strict=True)]
    for step, start in enumerate(range(0, len(data), parts)):
        group = data[start : start + parts]
        total = sum(int((y != -100).sum()) for _, y, _ in group)
        for optimizer in optimizers:
            optimizer.zero_grad()
        for x, y, ids in group:
            with torch.autocast("cpu", half, enabled=half is not None):
                z, v = (net(x) for net in nets)
            noise = LimitNoise(seed=seed, step=step, ids=ids) if lam else None
            options = {"q": q, "beta": beta, "lam": lam, "noise": noise}
            (limit_gradient(z, v.detach(), y, **options) / parts).backward()
            (limit_gradient(z.detach(), v, y, **options, reduction="sum") / total).backward()
        for net, optimizer in zip(nets, optimizers, strict=True):
            if clip == "norm":
                nn.utils.clip_grad_norm_(net.parameters(), 0.05)
            if clip == "value":
                nn.utils.clip_grad_value_(net.parameters(), 0.01)
            optimizer.step()


@pytest.mark.parametrize(
    ("limit", "options", "parts", "clip"),
    [
        ({}, {}, 1, None),
        ({"q": "laplace", "beta": 10.0}, {}, 1, None),
        ({"q": "ce", "beta": 0.5}, {"gradient_clip_val": 0.05}, 1, "norm"),
        ({"lam": 5.0, "seed": 3}, {"accumulate_grad_batches": 2}, 2, None),
        ({}, {"accumulate_grad_batches": 3, "gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}, 3, "value"),
    ],
    ids=["gaussian", "laplace", "clipped", "sampled in two parts", "three parts, clipped"],
)
def test_equals_the_loop_by_hand(limit, options, parts, clip, rng):
    """Five batches, of which the last step has fewer where they are accumulated; every seventh label is missing."""
    data, nets = batches(rng), networks()
    other = copy.deepcopy(nets)
    here = callback(nets[1], batch_ids=lambda batch: batch[2], **limit)
    fit(Plain(nets[0]), data, here, **options)
    by_hand(other, data, parts=parts, clip=clip, **limit)
    assert_close(nets, other)
    assert here.auxiliary.steps == -(-len(data) // parts)


class Gradients(lightning.Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.found = [p.grad.clone() for p in pl_module.parameters()]


@pytest.mark.parametrize("options", [{}, {"q": "laplace"}, {"q": "ce"}, {"lam": 3.0}], ids=str)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_the_classifiers_gradient_knows_no_label(options, precision, rng):
    found, moved = [], []
    x, y, _ = samples(rng, N=16, dtype=torch.float32)
    for labels in (y, y.flip(0)):
        nets, seen = networks(dtype=torch.float32), Gradients()
        fit(Plain(nets[0]), [(x, labels)], LimitCallback(nets[1], **options), seen, precision=precision)
        found.append(seen.found)
        moved.append(weights(nets[1]))
    for a, b in zip(*found, strict=True):
        assert_same_bits(a, b)
    assert not all(map(torch.equal, *moved))


def test_layers_before_the_classifier_get_no_label_either(rng):
    """A head is hooked: neither the loss nor the auxiliary network sends labels to the layers before it."""
    found = []
    x, y, _ = samples(rng, N=16)
    for labels in (y, y.flip(0)):
        net, seen = mlp(), Gradients()
        aux = nn.Linear(8, 4, dtype=torch.float64)
        nn.init.ones_(aux.weight)
        nn.init.zeros_(aux.bias)
        fit(Plain(net), [(x, labels)], LimitCallback(aux, module="model.3"), seen)
        found.append(seen.found)
    assert any(g.abs().max() > 0 for g in found[0])
    for a, b in zip(*found, strict=True):
        assert_same_bits(a, b)


def mixup(z, y):
    return 0.7 * F.cross_entropy(z, y) + 0.3 * F.cross_entropy(z, y.flip(0))


LOSSES = {
    "mixup": (mixup, "a gradient 41% of which is no multiple of s - t"),
    "smoothed": (lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1), r"a gradient \d+% of which is no multiple"),
    "weighted": (lambda z, y: F.cross_entropy(z, y, torch.tensor([1.0, 2.0, 1.0, 1.0]).to(z)), "no multiple of s - t"),
    "half": (lambda z, y: F.cross_entropy(z, y) / 2, "a gradient 0.5 times as large"),
    "sum": (lambda z, y: F.cross_entropy(z, y, reduction="sum"), "a gradient 6 times as large"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_another_loss_is_refused(name, rng):
    loss, text = LOSSES[name]
    x, y, _ = samples(rng, N=6)
    y = torch.tensor([0, 1, 2, 3, 0, 2])
    must = "LimitCallback: the loss on the hooked logits must be plain cross-entropy, its mean over the labels; got "
    module = Plain(mlp(), loss)
    before = weights(module)
    with pytest.raises(ConfigError, match=f"^{must}.*{text}.*Leave mixup, .* or set grad_scale"):
        fit(module, [(x, y)], LimitCallback(mlp(1)))
    assert all(map(torch.equal, before, weights(module)))
    assert not module.model._forward_hooks


@pytest.mark.parametrize("name", ["mixup", "smoothed", "sum"])
def test_grad_scale_takes_any_loss_for_its_scale_alone(name, rng):
    x, y, ids = samples(rng, N=6)
    nets = networks()
    other = copy.deepcopy(nets)
    scale = 1.0 if name == "sum" else 1 / 6
    fit(Plain(nets[0], LOSSES[name][0]), [(x, y)], callback(nets[1], grad_scale=scale))
    if name == "sum":
        z, v = (net(x) for net in other)
        limit_gradient(z, v.detach(), y, reduction="sum").backward()
        torch.optim.SGD(other[0].parameters(), 0.1).step()
    else:
        by_hand(other, [(x, y, ids)])
    assert_close((nets[0],), (other[0],))


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_is_that_of_the_module(precision, rng):
    """fp16's scaler, which Lightning doesn't make on a CPU by itself, is one for both networks."""
    data = batches(rng, dtype=torch.float32)
    nets = networks(dtype=torch.float32)
    other = copy.deepcopy(nets)
    options = {"precision": precision}
    if precision == "16-mixed":
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        options = {"plugins": [lightning.plugins.MixedPrecision("16-mixed", "cpu", scaler)], "precision": None}
    fit(Plain(nets[0]), data, callback(nets[1]), **options)
    by_hand(other, data, half=torch.bfloat16 if precision == "bf16-mixed" else torch.float16)
    assert_close(nets, other, rtol=2e-3, atol=2e-4)


def test_an_overflow_in_fp16_moves_nothing(rng):
    nets = networks(dtype=torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    before = weights(*copy.deepcopy(nets))
    plugins = [lightning.plugins.MixedPrecision("16-mixed", "cpu", scaler)]
    data = batches(rng, 1, dtype=torch.float32)
    fit(Plain(nets[0]), data, callback(nets[1]), plugins=plugins, precision=None)
    assert all(map(torch.equal, before, weights(*nets)))


def test_one_logit_and_positions(rng):
    """The other forms of cross-entropy: a binary one, and classes on axis 1."""
    x, y, _ = samples(rng, N=8, C=2)
    one = mlp(C=1)
    bce = Plain(one, lambda z, y: F.binary_cross_entropy_with_logits(z, y.double()[:, None]))
    fit(bce, [(x, y)], LimitCallback(mlp(1, C=1), lam=2.0))

    conv, other = (nn.Conv1d(3, 4, 1, dtype=torch.float64) for _ in range(2))
    pixels, labels = torch.randn(5, 3, 7, generator=rng, dtype=torch.float64), torch.randint(4, (5, 7), generator=rng)
    labels[:, 5:] = -100
    expected = copy.deepcopy(conv)
    limit_gradient(expected(pixels), other(pixels), labels, class_dim=1).backward()
    torch.optim.SGD(expected.parameters(), 0.1).step()
    fit(Plain(conv), [(pixels, labels)], LimitCallback(other, class_dim=1))
    assert_close((conv,), (expected,))


def test_labels_may_be_probabilities_or_lie_elsewhere(rng):
    x, _, _ = samples(rng, N=8)
    soft = torch.randn(8, 4, generator=rng, dtype=torch.float64).softmax(1)
    fit(Plain(mlp()), [(x, soft)], LimitCallback(mlp(1)))

    class Named(Plain):
        def training_step(self, batch, index):
            return F.cross_entropy(self.model(batch["x"]), batch["y"])

    data = [{"x": x, "y": torch.arange(8) % 4}]
    fit(Named(mlp()), data, LimitCallback(mlp(1), batch_labels=lambda batch: batch["y"]))
    with pytest.raises(DataError, match=r"labels in batch\['labels'\] or batch\[1\]; got keys \['x', 'y'\]. Pass ba"):
        fit(Named(mlp()), data, LimitCallback(mlp(1)))


def test_a_training_goes_on_exactly_from_a_checkpoint(rng, tmp_path):
    data = batches(rng)

    def start():
        nets = networks()
        module = Plain(nets[0], make=lambda p: torch.optim.Adam(p, 1e-2))
        return nets, module, LimitCallback(nets[1], lam=4.0, lr=1e-2, seed=5)

    whole, module, here = start()
    fit(module, data, here, max_epochs=4)
    _, module, here = start()
    fit(module, data, here, max_epochs=2).save_checkpoint(tmp_path / "half.ckpt")
    again, module, here = start()
    fit(module, data, here, max_epochs=4, ckpt=tmp_path / "half.ckpt")
    assert here.auxiliary.steps == 4 * len(data)
    assert all(map(torch.equal, weights(*whole), weights(*again)))
    with pytest.raises(ConfigError, match=r"LimitCallback.load_state_dict: lam must be that of the checkpoint, 4.0; g"):
        fit(module, data, LimitCallback(mlp(1), seed=5), ckpt=tmp_path / "half.ckpt")
    wide = LimitCallback(nn.Linear(6, 4, dtype=torch.float64), lam=4.0, seed=5)
    with pytest.raises(StoreError, match=r"aux must be the network of the checkpoint, where weight is absent; got"):
        fit(module, data, wide, ckpt=tmp_path / "half.ckpt")
    with pytest.raises(StoreError, match=r"must be a checkpoint of LimitCallback \(infotorch LimitCallback 1\); got N"):
        wide.load_state_dict({})


def test_validation_is_without_it(rng):
    data, nets = batches(rng), networks()
    module = Plain(nets[0])
    here = LimitCallback(nets[1])
    fit(module, data, here, val=data[:1])
    assert_same_bits(module.outputs, nets[0](data[0][0]).detach())
    assert not nets[0]._forward_hooks and here.auxiliary.steps == len(data)


def test_the_module_itself_may_be_the_classifier(rng):
    class Whole(Plain):
        def forward(self, x):
            return self.model(x)

        def training_step(self, batch, index):
            return F.cross_entropy(self(batch[0]), batch[1])

    data, nets = batches(rng), networks()
    other = copy.deepcopy(nets)
    fit(Whole(nets[0]), data, callback(nets[1], module=""))
    by_hand(other, data)
    assert_close(nets, other)


def test_a_batch_may_be_left_out(rng):
    class Picky(Plain):
        def training_step(self, batch, index):
            loss = super().training_step(batch, index)
            return loss if index else None

    data, nets = batches(rng), networks()
    other = copy.deepcopy(nets)
    fit(Picky(nets[0]), data, callback(nets[1]))
    by_hand(other, data[1:])
    assert_close(nets, other)


class Twice(Plain):
    def training_step(self, batch, index):
        return self.loss(self.model(batch[0]) + self.model(-batch[0]), batch[1])


class Never(Plain):
    def training_step(self, batch, index):
        return sum(p.sum() for p in self.model.parameters())


class Unused(Plain):
    def training_step(self, batch, index):
        self.model(batch[0])
        return sum(p.sum() for p in self.model.parameters())


class Manual(Plain):
    automatic_optimization = False


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


TRAININGS = {
    "twice": (Twice, {}, r"'model' must be called once a batch; got a second call. Concatenate"),
    "never": (Never, {}, "must make its loss from a call of 'model'; got no such call. Name the"),
    "unused": (Unused, {}, "must make its loss from a call of 'model'; got one without a gradient"),
    "manual": (Manual, {}, "leave its optimization to Lightning; got automatic_optimization=False. Use"),
    "module": (
        Plain,
        {"module": "net"},
        "module must be the path of the classifier in Plain, which has 'model'; got",
    ),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_refusals_of_trainings(name, rng):
    kind, options, text = TRAININGS[name]
    with pytest.raises(ConfigError, match=f"^LimitCallback: .*{text}"):
        fit(kind(mlp()), batches(rng), LimitCallback(mlp(1), **options))


def test_refusals_of_networks(rng):
    data, shared = batches(rng), mlp()
    with pytest.raises(ConfigError, match=r"share no parameter; got classifier\.model\.0\.weight = aux\.0\.weight"):
        fit(Plain(shared), data, LimitCallback(shared))
    with pytest.raises(ConfigError, match=r"^LimitCallback: aux must have a trainable parameter; got none"):
        LimitCallback(nn.Identity())
    with pytest.raises(ConfigError, match=r"^LimitCallback: aux_optimizer must hold parameters of aux alone; got"):
        LimitCallback(mlp(1), aux_optimizer=torch.optim.SGD(mlp().parameters(), 0.1))
    pair = Pair(6, 4, dtype=torch.float64)
    with pytest.raises(ConfigError, match=r"aux must return its logits, a tensor; got tuple. Wrap it"):
        fit(Plain(mlp()), data, LimitCallback(pair))
    with pytest.raises(ConfigError, match=r"'model' must return its logits, a tensor; got tuple. Name the module"):
        fit(Plain(pair, lambda z, y: F.cross_entropy(z[0], y)), data, LimitCallback(mlp(1)))
    with pytest.raises(ValueError, match=r"logits and aux_logits must have one shape; got \[6, 4\] and \[6, 3\]"):
        fit(Plain(mlp()), data, LimitCallback(mlp(1, C=3)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"q": "gauss"}, "q must be one of 'gaussian', 'laplace', 'ce'; got 'gauss'. Did you mean 'gaussian'"),
        ({"beta": -1.0}, "beta must be finite and at least 0; got -1.0"),
        ({"lam": 1.0, "q": "ce"}, "lam goes with gaussian or laplace"),
        ({"grad_scale": 0.0}, "grad_scale must be 'infer' or finite and above 0; got 0.0"),
        ({"grad_scale": "mean"}, "grad_scale must be 'infer' or finite and above 0; got 'mean'"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
    ],
)
def test_refusals_of_settings(options, text):
    with pytest.raises(ConfigError, match=f"^LimitCallback: {text}"):
        LimitCallback(mlp(1), **options)


def test_refusals_of_trainers():
    here, module = LimitCallback(mlp(1)), Plain(mlp())

    def setup(**facts):
        strategy = type(facts.pop("strategy", "SingleDeviceStrategy"), (), {})()
        facts = {"world_size": 1, "precision": "32-true", "strategy": strategy, **facts}
        here.setup(types.SimpleNamespace(**facts), module, "fit")

    setup(world_size=2, strategy="DDPStrategy")
    with pytest.raises(NotSupported, match=r"several processes must train by DDP; got FSDPStrategy. Pass"):
        setup(world_size=2, strategy="FSDPStrategy")
    with pytest.raises(NotSupported, match=r"precision must be one of '32-true', .*; got '16-true'. Choose"):
        setup(precision="16-true")
