"""LIMIT in a Lightning training whose ``training_step`` stays as it is."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from infotorch.errors import ConfigError, DataError, NotSupported
from infotorch.task.classes import is_single
from infotorch.train.adapters import lightning_callback
from infotorch.train.auxiliary import Auxiliary
from infotorch.train.injection import check_cross_entropy, inject, label_gradient
from infotorch.train.limit_gradient import check_class_dim
from infotorch.train.options import LimitOptions, check_apart

__all__ = ["HookedCallback", "LimitCallback"]

WHERE = "LimitCallback"
Callback: Any = lightning_callback(WHERE)
PRECISIONS = ("32-true", "64-true", "bf16-true", "bf16-mixed", "16-mixed")


class HookedCallback(Callback):
    """A callback that replaces the gradient of a classifier's logits, once a batch, and sees to it that it did.

    ``module``, ``batch_labels`` and ``batch_ids`` are as of ``LimitCallback``.
    """

    where: str
    """Who refuses."""
    instead: str
    """The function for a ``training_step`` that can't be hooked."""

    def __init__(
        self, module: str, batch_labels: Callable[[Any], Tensor] | None, batch_ids: Callable[[Any], Tensor] | None
    ) -> None:
        super().__init__()
        self.module, self.batch_labels, self.batch_ids = module, batch_labels, batch_ids
        self._hook: Any = None
        self._trainer: Any = None
        self._batch: Any = None
        self._called = self._arrived = False

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Keeps the batch for the hook."""
        self._batch, self._called, self._arrived = batch, False, False

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """Refuses a step in which no gradient was replaced."""
        if not self._arrived:
            got = "one without a gradient" if self._called else "no such call"
            raise ConfigError(
                f"{self.where}: training_step must make its loss from a call of {self.module!r}; got {got}. Name the "
                "module whose logits the loss is of."
            )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """What runs between batches runs without the hook."""
        self._batch = None

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Takes the hook away."""
        self._unhook()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Takes the hook away."""
        self._unhook()

    def _check_automatic(self, pl_module: Any) -> None:
        if not pl_module.automatic_optimization:
            raise ConfigError(
                f"{self.where}: the module must leave its optimization to Lightning; got "
                f"automatic_optimization=False. Use {self.instead} in its training_step."
            )

    def _start(self, trainer: Any, classifier: nn.Module) -> None:
        self._unhook()
        self._trainer = trainer
        self._hook = classifier.register_forward_hook(self._on_forward, with_kwargs=True)

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
        self._hook = self._trainer = self._batch = None

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        return getattr(self._trainer.precision_plugin, "scaler", None)

    @property
    def _outer(self) -> float:
        """What Lightning multiplies a batch's mean loss by."""
        return (1.0 if self._scaler is None else self._scaler.get_scale()) / self._trainer.accumulate_grad_batches

    def _on_forward(self, module: nn.Module, args: Any, kwargs: Any, logits: Any) -> Tensor | None:
        if self._batch is None or not torch.is_grad_enabled():
            return None
        if self._called:
            raise ConfigError(
                f"{self.where}: {self.module!r} must be called once a batch; got a second call. Concatenate its "
                f"inputs, or use {self.instead} in training_step. Optimizers with closures, as LBFGS, can't be used."
            )
        self._called = True
        if not isinstance(logits, Tensor):
            raise ConfigError(
                f"{self.where}: {self.module!r} must return its logits, a tensor; got {type(logits).__name__}. Name "
                "the module that does."
            )
        # What another network's loss would send back to the inputs tells of labels.
        args, kwargs = tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, (args, kwargs))
        return self._replaced(args, kwargs, logits)

    @abstractmethod
    def _replaced(self, args: Any, kwargs: Any, logits: Tensor) -> Tensor:
        """The logits, with another gradient, which sets ``_arrived``."""

    def _ids(self) -> Tensor | None:
        return None if self.batch_ids is None else self.batch_ids(self._batch)


class CallbackOptions(LimitOptions):
    """Settings of ``LimitCallback``, checked."""

    where = WHERE


class LimitCallback(HookedCallback):
    r"""LIMIT as a Lightning callback: a classifier inside of the module gets predicted gradients, not those of labels.

    The module's ``training_step`` stays as it is, cross-entropy and all. The logits of its classifier are hooked: the
    gradient :math:`G = k (s - t)` that comes back to them is replaced by :math:`k \mu` with :math:`\mu = s - u`, or k
    times a draw around it, where u are the probabilities of the auxiliary network ``aux`` on the classifier's own
    inputs (Harutyunyan, Reing, Ver Steeg, Galstyan, arXiv 2002.07933, section 3). ``aux`` is trained here, by an
    optimizer of its own: its mean loss is back-propagated and stepped in ``on_before_optimizer_step``, those of batches
    that are accumulated are back-propagated as the batches end. It is moved to the module's device, and is no part of
    the module; Lightning's checkpoints have its state.

    k is :math:`c / (N A)` with N the batch's labels, A the batches that Lightning accumulates and c the scale of
    fp16's losses; it depends on no label. That the loss is the mean cross-entropy of these logits is checked at every
    step: G must be a multiple of :math:`s - t` to 1 %, and the multiple k to 1 %. Other losses that use labels, as a
    term on hidden features, are not seen here, and would reach the classifier.

    Precisions: those of 32 and 64 bits, ``bf16-mixed``, ``bf16-true``; and ``16-mixed``, where an overflow makes the
    network it is in miss the step. ``gradient_clip_val`` clips each network by itself. Under DDP the mean is over the
    labels of all ranks, for ``aux``.

    Args:
        aux: Another network for the classifier's inputs and outputs.
        q: As for ``LimitTrainer``, like the next two.
        beta: See there.
        lam: See there; noise is keyed by ``seed``, the step and the samples' ids.
        module: Path of the classifier in the module, ``""`` for the module itself; it returns logits, and is called
            once a batch.
        grad_scale: ``"infer"``, or each label's own factor in the loss, without Lightning's (1 for a sum); the loss is
            then not checked.
        batch_labels: Gives a batch's labels: int64 [N] or [N, T], -100 where there is none; probabilities [..., C]; or
            0 and 1 for one logit. Default ``batch["labels"]`` or ``batch[1]``.
        batch_ids: Gives a batch's sample ids, int64 [N], to which noise is keyed; default their places in the step.
        aux_optimizer: Of ``aux``; default Adam.
        lr: Of the default optimizer.
        seed: Of the noise, below 2^63.
        class_dim: The logits' axis of classes; 1 for [N, C, T].

    Raises:
        ConfigError: An option is out of range; ``aux`` has nothing to train; at the start of ``fit``: the module hasn't
            such a classifier or shares a parameter with ``aux``, or it optimizes manually. In training: the loss is no
            plain cross-entropy, or the classifier isn't called once.
        NotSupported: Several processes by another strategy than DDP, or precision ``16-true``.
        MissingExtraError: Lightning is not installed.

    Example:
        >>> limit = LimitCallback(nn.Linear(5, 3), q="laplace", beta=10.0, module="net")
        >>> trainer = lightning.Trainer(max_epochs=20, callbacks=[limit])  # doctest: +SKIP
        >>> trainer.fit(module, train_loader, val_loader)  # doctest: +SKIP
    """

    where, instead = WHERE, "limit_gradient"

    def __init__(
        self,
        aux: nn.Module,
        *,
        q: Literal["gaussian", "laplace", "ce"] = "gaussian",
        beta: float = 1.0,
        lam: float | None = None,
        module: str = "model",
        grad_scale: float | Literal["infer"] = "infer",
        batch_labels: Callable[[Any], Tensor] | None = None,
        batch_ids: Callable[[Any], Tensor] | None = None,
        aux_optimizer: Optimizer | None = None,
        lr: float = 1e-3,
        seed: int = 0,
        class_dim: int = -1,
    ) -> None:
        super().__init__(module, batch_labels, batch_ids)
        if grad_scale != "infer" and not (isinstance(grad_scale, (int, float)) and 0 < grad_scale < math.inf):
            raise ConfigError(
                f"{WHERE}: grad_scale must be 'infer' or finite and above 0; got {grad_scale!r}. Correct grad_scale."
            )
        options = CallbackOptions(q=q, beta=beta, lam=lam, lr=lr, seed=seed)
        self.auxiliary = Auxiliary(aux, aux_optimizer, options)
        self.grad_scale, self.class_dim = grad_scale, class_dim

    @property
    def aux(self) -> nn.Module:
        """The auxiliary network."""
        return self.auxiliary.network

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuses what can't be trained so."""
        if stage != "fit":
            return
        self._check_automatic(pl_module)
        if trainer.world_size > 1 and "DDPStrategy" not in {kind.__name__ for kind in type(trainer.strategy).__mro__}:
            raise NotSupported(
                f"{WHERE}: several processes must train by DDP; got {type(trainer.strategy).__name__}. "
                "Pass strategy='ddp'."
            )
        if str(trainer.precision) not in PRECISIONS:
            raise NotSupported(
                f"{WHERE}: precision must be one of {', '.join(map(repr, PRECISIONS))}; got {trainer.precision!r}. "
                "Choose one of these."
            )

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Brings ``aux`` to the module's device and precision, and hooks the classifier."""
        classifier = submodule(WHERE, pl_module, self.module)
        check_apart(WHERE, pl_module, self.aux)
        trainer.precision_plugin.convert_module(self.aux)
        self.auxiliary.start(pl_module.device)
        self._start(trainer, classifier)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """What runs between batches runs without the hook."""
        self._backward()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Steps ``aux``, before the module's own parameters step."""
        self._backward()

        def clip(params: list[nn.Parameter]) -> None:
            limit = trainer.gradient_clip_val
            if limit and trainer.gradient_clip_algorithm == "value":
                nn.utils.clip_grad_value_(params, limit)
            elif limit:
                nn.utils.clip_grad_norm_(params, limit)

        self.auxiliary.step(self._scaler, clip)

    def state_dict(self) -> dict[str, Any]:
        """The auxiliary network, its optimizer and the step of the noise, for Lightning's checkpoints."""
        return self.auxiliary.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from ``state_dict``.

        Raises:
            ConfigError: It is that of other settings.
            StoreError: It is no such state, or that of another network.
        """
        self.auxiliary.load_state_dict(state_dict)

    def _backward(self) -> None:
        if self._arrived:
            self.auxiliary.backward(self._scaler)
        else:  # training_step made no loss
            self.auxiliary.forget()

    def _replaced(self, args: Any, kwargs: Any, logits: Tensor) -> Tensor:
        aux_logits = self.auxiliary.logits(*args, **kwargs).to(logits.dtype)
        last, labels = self._classes_last(logits.detach()), self._labels(logits)
        parts = self._trainer.accumulate_grad_batches
        predicted, count = self.auxiliary.predict(last, self._classes_last(aux_logits), labels, self._ids(), parts)

        def factor(upstream: Tensor) -> Tensor:
            self._arrived = True
            wide = torch.promote_types(upstream.dtype, torch.float32)
            if self.grad_scale != "infer":
                return torch.tensor(self._outer * self.grad_scale, dtype=wide, device=upstream.device)
            k = self._outer / count.clamp(min=1).to(wide)
            check_cross_entropy(WHERE, self._classes_last(upstream), label_gradient(last, labels), k)
            return k

        return inject(logits, predicted.movedim(-1, self.class_dim), factor)

    def _classes_last(self, logits: Tensor) -> Tensor:
        check_class_dim(WHERE, logits, self.class_dim)
        return logits.movedim(self.class_dim, -1)

    def _labels(self, logits: Tensor) -> Tensor:
        """The batch's labels for these logits, as ``limit_gradient`` takes them."""
        labels = labels_in(WHERE, self._batch, self.batch_labels).to(logits.device)
        if labels.shape != logits.shape or logits.dim() == 1:
            return labels
        return labels[..., 0] if is_single(logits, labels) else self._classes_last(labels)


def labels_in(where: str, batch: Any, given: Callable[[Any], Tensor] | None) -> Tensor:
    """A batch's labels: what ``given`` returns of it, or ``batch["labels"]``, or ``batch[1]``."""
    if given is not None:
        labels = given(batch)
    elif isinstance(batch, Mapping) and "labels" in batch:
        labels = batch["labels"]
    elif isinstance(batch, (tuple, list)) and len(batch) > 1:
        labels = batch[1]
    else:
        got = f"keys {sorted(map(str, batch))}" if isinstance(batch, Mapping) else type(batch).__name__
        raise DataError(
            f"{where}: a batch must hold its labels in batch['labels'] or batch[1]; got {got}. Pass batch_labels=."
        )
    if not isinstance(labels, Tensor):
        raise DataError(f"{where}: labels must be a tensor; got {type(labels).__name__}. Correct batch_labels.")
    return labels


def submodule(where: str, pl_module: Any, path: str) -> nn.Module:
    """The classifier at ``path``.

    Raises:
        ConfigError: There is none.
    """
    try:
        return pl_module.get_submodule(path)
    except AttributeError as error:
        there = ", ".join(repr(name) for name, _ in pl_module.named_children())
        raise ConfigError(
            f"{where}: module must be the path of the classifier in {type(pl_module).__name__}, which has "
            f"{there or 'no module'}; got {path!r}. Correct module."
        ) from error
