"""Training that gives the classifier predicted gradients in place of those made from labels."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from infotorch.errors import ConfigError
from infotorch.measures.label_info import LabelInfoMeter
from infotorch.train import checkpoint, rng
from infotorch.train.batch import Loader, batch_of
from infotorch.train.divergence import diagnosis
from infotorch.train.epoch_scores import EpochScores
from infotorch.train.evaluation import Accuracy, device_of
from infotorch.train.fitting import fit
from infotorch.train.forward import SUMS, Forward
from infotorch.train.options import LimitOptions, by_epoch, check_networks, check_optimizer, default_optimizer
from infotorch.train.ranks import total, unsynced
from infotorch.train.result import LimitResult
from infotorch.train.state import networks_state, save_state, set_state, state_of

__all__ = ["LimitTrainer"]


class LimitTrainer:
    r"""LIMIT: the classifier is trained with gradients that an auxiliary network predicts from the inputs alone.

    With s and u the probabilities of classifier and auxiliary network, the classifier gets :math:`\mu = s - u` in place
    of the gradient :math:`g = s - t` of cross-entropy in its logits, or a draw around it, and the auxiliary network
    learns to predict g under the penalty :math:`\beta \|\mu\|_2^2` (Harutyunyan, Reing, Ver Steeg, Galstyan, arXiv
    2002.07933, section 3). So a label reaches the classifier only as far as the auxiliary network has learnt it. That
    limits memorisation, and is no guarantee: an auxiliary network that memorises passes the noise on.

    ``step`` and ``end_epoch`` are all that ``fit`` trains with; a loop of one's own may call them. In the first
    ``warm_up`` epochs the classifier's weights and its optimizer stay as they are; running statistics of its BatchNorm
    layers move.

    With several processes wrap both networks in DistributedDataParallel. A mean is then over the labels of all ranks.

    Args:
        classifier: Takes a batch's inputs, returns logits [..., C], or [N] or [N, 1] for two classes.
        aux: Another network for the same inputs and outputs.
        q: Law of the label gradient around the predicted one, and with it the auxiliary network's loss: the squared
            (``"gaussian"``, LIMIT_G) or absolute (``"laplace"``, LIMIT_L) mismatch, or cross-entropy (``"ce"``).
        beta: Weight of the predicted gradient's squared norm: a brake on the auxiliary network.
        lam: Rate of noise that is added to the predicted gradient, of variance 1/(2 lam) (Gaussian) or scale 1/lam
            (Laplace), keyed by ``seed``, step and the samples' ids; ``None``: no noise.
        optimizer: The classifier's; default Adam, in torch's fused form.
        aux_optimizer: The auxiliary network's; default Adam.
        lr: Learning rate of the default optimizers.
        schedulers: Stepped at the end of each epoch, the classifier's from the end of its first one.
        warm_up: Epochs in which only the auxiliary network moves.
        epochs: Epochs in all, warm-up included.
        reduction: How rows add up in the gradients: ``"mean"`` over the labels, ``"sum"``, or ``"reference"``, the
            authors' way: a sum for the classifier and a mean for the auxiliary network, which differs from ``"mean"``
            under SGD and not under Adam.
        amp: Forward passes under autocast in ``"bf16"``, or in ``"fp16"`` with one gradient scaler for both networks.
        grad_accum: Parts into which each batch is split; the step is the same but for BatchNorm.
        clip_norm: Largest norm of each network's gradient.
        seed: Of the noise, below 2^63.
        meter: Count nats: ``True``, ``False``, or a ``LabelInfoMeter``, which with a ``lam`` of its own counts what
            noise of that rate would pass on.
        scores: Label-noise scores of the training samples: ``"ema"`` with an exponential mean over epochs, ``"last"``
            without, or ``None``. They need ids.
        select: The best epoch: ``"val_noisy"``, highest accuracy on noisy validation labels, or ``"last"``.
        patience: Epochs without a better one after which training ends.
        check_finite: When loss and gradients are looked at: ``"step"``, once, before the networks move, or ``"sync"``,
            besides before each back-propagation. Either waits for the device.

    Raises:
        ConfigError: An option is out of range or contradicts another; the networks share a parameter, lie on different
            devices, or have nothing to train; an optimizer holds a parameter of the other network.
        NotSupported: A network is sharded.

    Example:
        >>> x, y, ids = torch.randn(64, 5), torch.randint(3, (64,)), torch.arange(64)
        >>> trainer = LimitTrainer(nn.Linear(5, 3), nn.Linear(5, 3), q="laplace", beta=10.0, epochs=2)
        >>> result = trainer.fit([(x[:48], y[:48], ids[:48])], [(x[48:], y[48:])])
        >>> [entry["epoch"] for entry in result.history], len(result.scores)
        ([0, 1], 48)
    """

    def __init__(
        self,
        classifier: nn.Module,
        aux: nn.Module,
        *,
        q: Literal["gaussian", "laplace", "ce"] = "gaussian",
        beta: float = 1.0,
        lam: float | None = None,
        optimizer: Optimizer | None = None,
        aux_optimizer: Optimizer | None = None,
        lr: float = 1e-3,
        schedulers: Sequence[LRScheduler] = (),
        warm_up: int = 0,
        epochs: int = 100,
        reduction: Literal["mean", "sum", "reference"] = "mean",
        amp: Literal["bf16", "fp16"] | None = None,
        grad_accum: int = 1,
        clip_norm: float | None = None,
        seed: int = 0,
        meter: bool | LabelInfoMeter = True,
        scores: Literal["ema", "last"] | None = "ema",
        select: Literal["val_noisy", "last"] = "val_noisy",
        patience: int | None = None,
        check_finite: Literal["step", "sync"] = "step",
    ) -> None:
        self.options = LimitOptions(
            q=q, beta=beta, lam=lam, lr=lr, warm_up=warm_up, epochs=epochs, reduction=reduction, amp=amp,
            seed=seed, grad_accum=grad_accum, clip_norm=clip_norm, scores=scores, select=select, patience=patience,
            check_finite=check_finite,
        )  # fmt: skip
        check_networks(classifier, aux)
        if isinstance(meter, LabelInfoMeter) and meter.predictor != "trained":
            raise ConfigError(
                f"LimitTrainer: meter must count under predictor='trained', as aux is; got {meter.predictor!r}, whose "
                "sum is called a bound. Build the meter without it."
            )
        self.classifier, self.aux = classifier, aux
        self.device = device_of(classifier)
        self.optimizer = optimizer or default_optimizer(classifier, lr)
        self.aux_optimizer = aux_optimizer or default_optimizer(aux, lr)
        check_optimizer("optimizer", self.optimizer, classifier, aux)
        check_optimizer("aux_optimizer", self.aux_optimizer, aux, classifier)
        self.schedulers = by_epoch(schedulers)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == "fp16")
        self.meter = meter if isinstance(meter, LabelInfoMeter) else None
        self._meter_wanted = meter is True
        self.n_train: int | None = None
        """Training samples, where ``fit`` could tell."""
        self.num_classes: int | None = None
        """C, where ``fit`` was given it to check."""
        self.epoch = 0
        """Epochs ended."""
        self.steps = 0
        """Steps done."""
        self.position = 0
        """Batches of the loader that this epoch has used in ``fit``."""
        self.history: list[dict[str, Any]] = []
        """One entry for each epoch ended, as of ``LimitResult``."""
        self.best: dict[str, Any] | None = None
        """``epoch``, ``value`` and ``state`` of the best epoch so far by noisy validation accuracy."""
        self.epoch_scores = EpochScores()
        self.rows_left: int | None = None
        """Samples to come on this rank before repeats that even out the ranks; ``None``: no repeats."""
        self.loader: Loader | None = None
        """What ``fit`` draws from; the states of its generators belong to a checkpoint."""
        self.epoch_rng: dict[str, Any] | None = None
        """States of all generators at the start of this epoch in ``fit``."""
        self.loaded_rng: dict[str, Any] | None = None
        """States of all generators in the checkpoint that was loaded, until the next step."""
        self.sums = dict.fromkeys(SUMS, 0.0)
        """What this epoch's steps add up to, over all ranks."""
        self._saved_step: int | None = None

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both networks, by name."""
        return {"classifier": self.classifier, "aux": self.aux}

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of forward passes."""
        return self.options.autocast(self.device)

    def step(self, batch: Any) -> dict[str, Any]:
        """One step of both networks, in the modes that they are in.

        Args:
            batch: (inputs, labels), (inputs, labels, ids) or a dict with these keys: the whole step's samples, which
                are split into ``grad_accum`` parts here. ids, int64 [N], key noise and scores; samples without get no
                score, and noise by their place in the batch.

        Returns:
            ``loss``, the mean of match + beta pen over the labels of all ranks, as before the step; ``step``, from 0;
            ``labels``, how many there were; ``warm_up`` and ``skipped``: whether the classifier, or both networks,
            stayed (``"fp16"`` skips a step whose scaled gradients overflow); and the meter's numbers, as of
            ``LabelInfoMeter.update``.

        Raises:
            DataError: The batch has another form, or an input isn't finite.
            DivergenceError: Loss or gradients aren't finite; both networks are as before the step.
            ValueError: A label is out of range, or logits disagree in shape.
        """
        self.loaded_rng = None
        warm = self.epoch < self.options.warm_up
        before = rng.device_states(self.device)
        buffers = [(b, b.clone()) for network in self.networks.values() for b in network.buffers()]
        parameters = {network: list(network.parameters()) for network in self.networks.values()}
        for parameter in itertools.chain(*parameters.values()):
            parameter.grad = None
        forward = Forward(self, batch_of("LimitTrainer.step", batch).to(self.device), warm)
        sums: list[float] = []
        try:
            for part in forward.parts:
                with unsynced(self.networks.values(), part is not forward.parts[-1]):
                    loss = forward.loss(part)
                    if self.options.check_finite == "sync":
                        self._check(forward, forward.sums.tolist(), [], before)
                    self.scaler.scale(loss).backward()
            own, norms = forward.numbers([parameters[network] for network, _ in self._moving(warm)])
            sums = self._check(forward, own, norms, before)
        finally:
            if not sums:  # whatever was raised, the networks are as before
                with torch.no_grad():
                    for buffer, old in buffers:
                        buffer.copy_(old)
                for network in parameters:
                    network.zero_grad(set_to_none=True)
        moves = all(map(math.isfinite, norms))
        self._move(norms, warm, moves)
        return self._told(forward, sums, warm, not moves)

    def end_epoch(self, *, val: Accuracy | None = None, test: Accuracy | None = None) -> dict[str, Any]:
        """Ends the epoch: schedulers step, scores are averaged, the best epoch is kept, the history grows.

        Args:
            val: Accuracy on noisy validation labels, by which ``select="val_noisy"`` chooses.
            test: Accuracy on test labels, for the history alone.

        Returns:
            The epoch's entry of the history.
        """
        for scheduler in self.schedulers:
            if self.epoch >= self.options.warm_up or scheduler.optimizer is not self.optimizer:
                scheduler.step()
        self.epoch_scores.end_epoch()
        nats, nats_of = (None, None) if self.meter is None else self.meter.result().nats()
        labels = max(self.sums["labels"], 1.0)
        match, pen, ce, right = (self.sums[name] / labels for name in SUMS[1:])
        entry = {
            "epoch": self.epoch,
            "step": self.steps,
            "warm_up": self.epoch < self.options.warm_up,
            "loss": match + self.options.beta * pen,
            "match": match,
            "pen": pen,
            "ce_noisy": ce,
            "acc_train": right,
            "nats": nats,
            "nats_of": nats_of,
            "val_acc": None if val is None else val.value,
            "val_stderr": None if val is None else val.stderr,
            "test_acc": None if test is None else test.value,
        }
        self.history.append(entry)
        if val is not None and not entry["warm_up"] and (self.best is None or val.value > self.best["value"]):
            self.best = {"epoch": self.epoch, "value": val.value, "state": networks_state(self)}
        self.epoch, self.position, self.sums = self.epoch + 1, 0, dict.fromkeys(SUMS, 0.0)
        return entry

    def fit(
        self,
        train_loader: Loader,
        val_loader: Loader | None = None,
        *,
        num_classes: int | None = None,
        true_labels: Any = None,
        eval_loader: Loader | None = None,
        test_loader: Loader | None = None,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        progress: bool | None = None,
    ) -> LimitResult:
        """Trains from where the trainer stands to the last epoch, and measures what the networks then hold.

        Args:
            train_loader: Batches as of ``step``, anew in each iteration, with a length. A distributed sampler is told
                the epoch.
            val_loader: The same of validation samples, whose labels are as noisy as the training labels.
            num_classes: C, if it is to be checked against the classifier's outputs.
            true_labels: Right labels of the training samples, integers indexed by id, for the memorised counts.
            eval_loader: The training samples without augmentation, for scores and counts; default ``train_loader``.
            test_loader: Samples with right labels, for the history's ``test_acc``; nothing is chosen by it.
            checkpoint: File that is written after each epoch, as by ``save``.
            checkpoint_every: Steps after which ``checkpoint`` is written besides.
            progress: Show epochs on stderr: by default a live line, if that is a terminal; ``False``: nothing;
                ``True``: elsewhere too, a line each ten seconds.

        Raises:
            ConfigError: Options that contradict each other.
            DataError: A loader without length or labels, or one without ids where scores, true labels or noise in
                several processes need them.
            DivergenceError: As of ``step``.
            StoreError: The checkpoint can't be written.
        """
        return fit(
            self, train_loader, val_loader, num_classes=num_classes, true_labels=true_labels, eval_loader=eval_loader,
            test_loader=test_loader, checkpoint=None if checkpoint is None else Path(checkpoint),
            checkpoint_every=checkpoint_every, progress=progress,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training follows from; with several processes all of them call this."""
        return state_of(self)

    def load_state_dict(self, state: Mapping[str, Any], *, override: Iterable[str] = ()) -> None:
        """Goes on from ``state_dict``: on one kind of machine, with the bits of a training that wasn't interrupted.

        Learning rates are the checkpoint's. Torch's, NumPy's and Python's generators are set to where they were; those
        of a DataLoader's persistent workers can't be.

        Args:
            state: What ``state_dict`` returned.
            override: Settings that may differ from those of the checkpoint: q, beta, lam, seed, reduction, warm_up,
                grad_accum, clip_norm, amp, world_size.

        Raises:
            ConfigError: A setting differs and isn't in ``override``.
            StoreError: Networks, optimizers or schedulers have another form; nothing was loaded.
        """
        set_state(self, state, override)
        self._saved_step = self.steps

    def save(self, path: str | PathLike[str]) -> None:
        """Writes ``state_dict`` to ``path``, whole or not at all; with several processes all of them call this.

        Raises:
            StoreError: The system refuses, the disk is full: what was at ``path`` before is still there.
        """
        save_state(self, Path(path))
        self._saved_step = self.steps

    def load(self, path: str | PathLike[str], *, override: Iterable[str] = ()) -> None:
        """Goes on from the checkpoint at ``path``, as ``load_state_dict`` does; ``StoreError`` where there is none."""
        self.load_state_dict(checkpoint.read(Path(path)), override=override)

    def make_meter(self, num_classes: int, n_train: int | None) -> None:
        """Builds the default meter, once the number of classes is known."""
        if self._meter_wanted and self.meter is None:
            self.meter = LabelInfoMeter(num_classes, n_train, q=self.options.q, lam=self.options.lam)

    def _moving(self, warm: bool) -> list[tuple[nn.Module, Optimizer]]:
        both = [(self.classifier, self.optimizer), (self.aux, self.aux_optimizer)]
        return both[1:] if warm else both

    def _check(self, forward: Forward, own: list[float], norms: list[float], before: list[Tensor]) -> list[float]:
        """Sums of all ranks.

        Raises:
            DataError: A label or an input is at fault.
            DivergenceError: The loss isn't finite, or a gradient that no scale made overflow.
        """
        sums = total(own, self.device)
        sound = all(map(math.isfinite, sums[: len(SUMS)]))
        if sound and (all(map(math.isfinite, norms)) or self.scaler.get_scale() > 1):  # overflow may be the scale's
            return sums
        labels, match, pen, ce = sums[:4]
        loss = (match + self.options.beta * pen) / max(labels, 1.0)

        def run(network: nn.Module) -> Tensor:
            rng.restore_device(self.device, before)
            with torch.no_grad(), self.autocast():
                return torch.cat([network(part.inputs) for part in forward.parts])

        raise diagnosis(
            forward.whole, self.networks, run, value=loss if math.isfinite(ce) else ce, step=self.steps,
            epoch=self.epoch, saved=self._saved_step, elsewhere=all(map(math.isfinite, own[: len(SUMS)])) and not sound,
        )  # fmt: skip

    def _move(self, norms: list[float], warm: bool, moves: bool) -> None:
        limit = self.options.clip_norm
        for (network, optimizer), norm in zip(self._moving(warm), norms, strict=True):
            self.scaler.unscale_(optimizer)
            if moves and limit is not None:
                nn.utils.clip_grads_with_norm_(network.parameters(), limit, torch.tensor(norm, dtype=torch.float64))
        if moves:
            for _, optimizer in self._moving(warm):
                self.scaler.step(optimizer)
        self.scaler.update()
        if warm:  # those of wrapped networks, all zero
            self.classifier.zero_grad(set_to_none=True)

    def _told(self, forward: Forward, sums: list[float], warm: bool, skipped: bool) -> dict[str, Any]:
        """Counts the step, and says what it did."""
        labels, match, pen = sums[:3]
        told: dict[str, Any] = {
            "loss": (match + self.options.beta * pen) / max(labels, 1.0),
            "step": self.steps,
            "labels": int(labels),
            "warm_up": warm,
            "skipped": skipped,
        }
        if self.meter is not None:
            told.update(self.meter.add(torch.tensor(sums[len(SUMS) :], dtype=torch.float64)))
        for name, value in zip(SUMS, sums, strict=False):
            self.sums[name] += value
        for ids, distances in forward.distances:
            self.epoch_scores.add(ids, distances, self.steps)
        if self.rows_left is not None:
            self.rows_left = max(0, self.rows_left - len(forward.whole))
        self.steps += 1
        return told
