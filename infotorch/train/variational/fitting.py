"""The training of a variational network, and the trade-off that it reached."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from infotorch.errors import (
    ConfigError,
    DataError,
    DivergenceError,
    InfotorchError,
    check_number,
    check_seed,
    check_whole,
    plain_number,
)
from infotorch.measures.digest import digest, digest_of_code
from infotorch.task import Task
from infotorch.task.classes import all_missed, missed_by
from infotorch.train import checkpoint as checkpoints
from infotorch.train.divergence import first_bad_gradient, first_bad_output
from infotorch.train.evaluation import evaluating, modes_kept
from infotorch.train.rng import device_states, restore_device, seeded
from infotorch.train.variational.model import VariationalModel

__all__ = ["VariationalFit", "fit_variational"]

WHERE = "fit_variational"
FORMAT = "infotorch fit_variational 1"
KEYS = ("format", "config", "model", "optimizer", "step", "rng", "history")
ROWS = 1024
"""Samples of one pass where losses are measured."""
MEASURE = 1 << 32
"""Added to the seed for the draws that measure, which are none of the training's."""


@dataclass(frozen=True, kw_only=True)
class VariationalFit:
    r"""The trade-off :math:`C_\beta = E_Q[L] + \beta\,\mathrm{KL}(Q \| P)` of a trained posterior.

    It is reached, not the least there is; losses are of weights drawn from Q, so a number that is a description length
    at beta = 1, in expectation over the draws. With a learned prior variance, that of each layer is yet to be told.
    """

    beta: float
    """Of the KL, next to the summed loss."""
    num_samples: int
    """N."""
    noisy_loss: float
    """The loss summed over samples, mean over draws of the weights, in nats where the loss is."""
    stderr: float
    """Of ``noisy_loss``, over draws."""
    kl: float
    """In nats."""
    train_accuracy: float | None
    """Of drawn weights, on the labels trained on; ``None`` without classes."""
    test_loss: float | None
    """The summed loss on test data."""
    test_accuracy: float | None
    """Of drawn weights."""
    history: list[dict[str, float]] = field(repr=False)
    """``step``, ``beta``, ``loss`` and ``kl`` about fifty times along the training, the loss of a batch scaled to N."""
    kind: str = "estimate"
    """The loss is a mean over draws."""

    @property
    def lagrangian(self) -> float:
        """C_beta: noisy loss and beta times KL, summed over samples."""
        return self.noisy_loss + self.beta * self.kl

    def as_dict(self) -> dict[str, Any]:
        """All fields, and ``lagrangian``."""
        return asdict(self) | {"lagrangian": self.lagrangian}


def fit_variational(
    model: VariationalModel,
    data: tuple[Any, Tensor],
    *,
    beta: float,
    loss: Any = "cross_entropy",
    test_data: tuple[Any, Tensor] | None = None,
    steps: int = 1200,
    batch_size: int | None = None,
    lr: float = 1e-2,
    warmup: float = 0.25,
    num_draws: int = 32,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 100,
    progress: Callable[[str, int, int], None] | None = None,
) -> VariationalFit:
    r"""Trains by Adam on :math:`E_Q[L] + \beta_t\,\mathrm{KL}` and measures what came of it.

    L is summed over samples; a batch of B of them counts N / B times, and the whole is divided by N for the step.
    beta_t rises linearly to beta over the first quarter. Whatever noise it trained with, losses and accuracies are
    measured by whole draws of the weights, in eval mode: of Q itself. The same seed gives the same bits on one machine
    with one number of threads; torch's global generator is as before afterwards.

    Args:
        model: What ``variational`` returned; trained in place, and in the mode it was in afterwards.
        data: (x, y) as a Task takes them, with N samples.
        beta: > 0; 1 is the negative evidence bound.
        loss: As of ``Task``.
        test_data: (x, y) to measure on too.
        steps: Of Adam.
        batch_size: Default N, at most; batches are drawn without replacement, epoch by epoch.
        lr: Of Adam.
        warmup: The share of the steps over which beta rises, from 0 up to 1.
        num_draws: Of the weights, for measuring; at least 2.
        seed: Of noise and batches.
        checkpoint: File to go on from, made anew every ``checkpoint_every`` steps and at the end: a training that was
            stopped ends with the same bits.
        checkpoint_every: Steps between two checkpoints.
        progress: Called with ``("training", step, steps)``.

    Returns:
        Losses, accuracies, KL and their sum, of the trained posterior.

    Raises:
        ConfigError: An option is out of range, or the checkpoint is of another prior, noise, loss, setting or data.
        DataError: There are no samples, or x and y don't fit.
        DivergenceError: The loss or a gradient is not finite; the weights are as before the step.
        StoreError: The checkpoint is none, or can't be written.
    """
    beta, lr, seed = plain_number(beta), plain_number(lr), check_seed(WHERE, seed)
    if not (checkpoint is None or isinstance(checkpoint, (str, Path))):
        raise ConfigError(f"{WHERE}: checkpoint must be a path; got {type(checkpoint).__name__}. Pass a file's name.")
    if progress is not None and not callable(progress):
        raise ConfigError(f"{WHERE}: progress must be a function; got {type(progress).__name__}. Leave it out.")
    _check(model, beta=beta, steps=steps, lr=lr, warmup=warmup, num_draws=num_draws, batch_size=batch_size,
           checkpoint_every=checkpoint_every)  # fmt: skip
    task = Task(model.network, loss=loss)
    x, y = _pair(task, "data", data)
    test = None if test_data is None else _pair(task, "test_data", test_data)
    for name, (inputs, labels) in (("data", (x, y)), *([] if test is None else [("test_data", test)])):
        _check_fits(task, name, inputs[:2], labels[:2])
    N = len(y)
    training = _Training(
        model=model, task=task, x=x, y=y, beta=float(beta), steps=steps, batch=min(batch_size or N, N), lr=lr,
        warmup=warmup, seed=seed,
    )  # fmt: skip
    path = None if checkpoint is None else Path(checkpoint)
    with seeded(seed), modes_kept(model):
        if path is not None and path.exists():
            training.load(path)
        while training.step < steps:
            training.advance()
            if path is not None and (training.step % checkpoint_every == 0 or training.step == steps):
                training.save(path)
            if progress is not None:
                progress("training", training.step, steps)
    with seeded(seed + MEASURE), evaluating(model):
        losses, train_accuracy = _measured(model, task, x, y, num_draws)
        test_losses, test_accuracy = (None, None) if test is None else _measured(model, task, *test, num_draws)
        kl = float(model.kl())
    return VariationalFit(
        beta=float(beta), num_samples=N, noisy_loss=float(losses.mean()),
        stderr=float(losses.std(ddof=1) / math.sqrt(num_draws)), kl=kl, train_accuracy=train_accuracy,
        test_loss=None if test_losses is None else float(test_losses.mean()), test_accuracy=test_accuracy,
        history=training.history,
    )  # fmt: skip


class _Training:
    """A training between two steps."""

    def __init__(
        self, *, model: VariationalModel, task: Task, x: Tensor, y: Tensor, beta: float, steps: int, batch: int,
        lr: float, warmup: float, seed: int,
    ) -> None:  # fmt: skip
        self.model, self.task, self.x, self.y = model, task, x, y
        self.beta, self.steps, self.batch, self.rise, self.seed = beta, steps, batch, warmup * steps, seed
        self.optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
        self.step = 0
        self._drawn_from = device_states(y.device)
        self.history: list[dict[str, float]] = []
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        fixed = any(name.rpartition(".")[2] == "prior_var" for name, _ in model.named_buffers())
        means = [value for name, value in model.named_buffers() if name.endswith("_prior_mean")]
        self._config = {"beta": beta, "steps": steps, "batch_size": batch, "lr": lr, "warmup": warmup, "seed": seed,
                        "loss": task.loss if isinstance(task.loss, str) else digest_of_code(task.loss),
                        "data": digest([x, y]),
                        "layers": {layer.path: list(layer.names) for layer in model.layers},
                        "granularity": {layer.path: layer.granularity for layer in model.layers},
                        "noise": {layer.path: layer.noise for layer in model.layers},
                        "prior_var": model.prior_var if fixed else "learned",
                        "prior_mean": digest(means)}  # fmt: skip

    def rows(self) -> Tensor:
        """The samples of this step: each epoch is a permutation that follows from seed and epoch."""
        N = len(self.y)
        epoch, place = divmod(self.step, N // self.batch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(N, generator=generator)
        return self._order[place * self.batch : (place + 1) * self.batch]

    def advance(self) -> None:
        """One step."""
        model, N = self.model, len(self.y)
        rows = slice(None) if self.batch == N else self.rows().to(self.y.device)
        x, y = self.x[rows], self.y[rows]
        beta = self.beta * min(1.0, (self.step + 1) / self.rise) if self.rise else self.beta
        model.train()
        self._drawn_from = device_states(y.device)
        loss = self.task.losses(_rows(model(x)), y).double().sum() * (N / self.batch)
        kl = model.kl_as_it_is()
        total = loss + beta * kl.to(loss.device)
        self._check_finite("loss", total, x)
        self.optimizer.zero_grad()
        (total / N).backward()
        norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        self._check_finite("gradient", torch.stack(norms).sum(), x)
        self.optimizer.step()
        if self.step % max(1, self.steps // 50) == 0 or self.step == self.steps - 1:
            self.history.append({"step": self.step, "beta": beta, "loss": loss.item(), "kl": kl.item()})
        self.step += 1

    def _check_finite(self, what: str, value: Tensor, x: Tensor) -> None:
        if value.isfinite():
            return
        found = first_bad_gradient({"network": self.model.network}) if what == "gradient" else None
        restore_device(x.device, self._drawn_from)  # the same noise again
        layer = found[0] if found else first_bad_output("network", self.model.network, lambda _: self.model(x))
        place = "in the KL or a loss, every output being finite" if layer is None else f"first in {layer}"
        raise DivergenceError(
            f"{WHERE}: the {what} must be finite; got {value.item():g} at step {self.step}, {place}. "
            "Lower lr, or raise warmup.",
            step=self.step, where=what, layer=layer, value=value.item(),
        )  # fmt: skip

    def save(self, path: Path) -> None:
        state = {"format": FORMAT, "config": self._config, "model": self.model.state_dict(), "step": self.step,
                 "optimizer": self.optimizer.state_dict(), "rng": device_states(self.y.device),
                 "history": self.history}  # fmt: skip
        checkpoints.write(path, state)

    def load(self, path: Path) -> None:
        state = checkpoints.read(path, where=WHERE, form=FORMAT, keys=KEYS)
        checkpoints.check_config(state["config"], self._config, None, where=WHERE, remedy=f"Pass it, or delete {path}")
        checkpoints.check_tensors("model", state["model"], self.model.state_dict(), where=WHERE)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history = state["step"], state["history"]
        restore_device(self.y.device, state["rng"])


def _measured(
    model: VariationalModel, task: Task, x: Tensor, y: Tensor, num_draws: int
) -> tuple[np.ndarray, float | None]:
    """The summed loss of each draw of the weights, [K], and the mean accuracy."""
    losses, missed = np.zeros(num_draws), []
    for k in range(num_draws):
        weights = model.drawn_weights()
        for rows in range(0, len(y), ROWS):
            own = y[rows : rows + ROWS]
            outputs = _rows(functional_call(model.network, weights, (x[rows : rows + ROWS],)))
            losses[k] += task.losses(outputs, own).double().sum().item()
            missed.append(missed_by(task, outputs, own))
    wrong = all_missed(missed)
    return losses, None if wrong is None else float((1 - wrong).mean())


def _rows(outputs: Tensor) -> Tensor:
    """[N, ...] with an axis behind the first, as a Task's outputs have."""
    return outputs[:, None] if outputs.dim() == 1 else outputs


def _pair(task: Task, name: str, data: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(data, tuple | list) or len(data) != 2 or not isinstance(data[0], Tensor):
        raise DataError(f"{WHERE}: {name} must be (x, y), two tensors; got {type(data).__name__}. Pass them together.")
    if not len(data[0]):
        raise DataError(f"{WHERE}: {name} must have samples; got none. Pass at least one.")
    x, y = task.split(tuple(data))
    return x, y


def _check_fits(task: Task, name: str, x: Tensor, y: Tensor) -> None:
    """Two samples through the network, which may have been made for inputs of another shape or dtype."""
    try:
        with evaluating(task.model):
            task.losses(_rows(task.model(x)), y)
    except (InfotorchError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise DataError(
            f"{WHERE}: {name} must be what the network takes; got inputs {x.dtype} {list(x.shape[1:])} a sample, and "
            f"{str(error).splitlines()[0]}. Give them the dtype and shape that it was made for."
        ) from error


def _check(
    model: Any, *, beta: Any, steps: Any, lr: Any, warmup: Any, num_draws: Any, batch_size: Any, checkpoint_every: Any
) -> None:
    if not isinstance(model, VariationalModel):
        raise ConfigError(
            f"{WHERE}: model must be what variational() returns; got {type(model).__name__}. Wrap the network first."
        )
    for option, value in (("beta", beta), ("lr", lr)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise ConfigError(f"{WHERE}: {option} must be > 0 and finite; got {value!r}. Correct {option}.")
    if not 0 <= check_number(WHERE, "warmup", warmup, "It is a share of the steps.") <= 1:
        raise ConfigError(f"{WHERE}: warmup must lie in [0, 1]; got {warmup!r}. It is a share of the steps.")
    for option, value, least in (
        ("steps", steps, 1), ("num_draws", num_draws, 2), ("batch_size", 1 if batch_size is None else batch_size, 1),
        ("checkpoint_every", checkpoint_every, 1),
    ):  # fmt: skip
        check_whole(WHERE, option, value, least)
