"""One cell of a sweep: a variational training at one beta, one share of random labels, one seed."""

import copy
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.bounds.grids.cells import Failure, failure_of, seeded, turn
from infotorch.errors import ConfigError
from infotorch.train import fit_variational, flip_labels, transition_matrix, variational

__all__ = ["Measured", "SweepCell", "SweepRow", "SweepWork", "drawn_anew"]

WHERE = "sweep_beta"


@dataclass(frozen=True, kw_only=True, order=True)
class SweepCell:
    """What is trained."""

    corruption: float
    beta: float
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"corruption={self.corruption!r},beta={self.beta!r},seed={self.seed}"

    @classmethod
    def named(cls, name: str) -> "SweepCell":
        """The inverse of ``name``."""
        parts = dict(part.split("=", 1) for part in name.split(","))
        return cls(corruption=float(parts["corruption"]), beta=float(parts["beta"]), seed=int(parts["seed"]))

    def __str__(self) -> str:
        return f"(beta={self.beta:g}, corruption={self.corruption:g}, seed={self.seed})"


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """What came of one cell, in nats a sample."""

    beta: float
    """Of the KL, next to the summed loss."""
    corruption: float
    """The share of labels drawn anew from all classes alike."""
    seed: int
    noisy_ce: float
    """The loss of drawn weights on the labels trained on, over N."""
    stderr: float
    """Of ``noisy_ce``, over draws."""
    train_acc: float | None
    """Accuracy of drawn weights on the labels trained on; ``None`` without classes."""
    test_acc: float | None
    """Accuracy of drawn weights on the test data, whose labels are as given; ``None`` without them."""
    kl: float
    """KL of posterior and prior, over N."""
    c: float
    """C_beta over N: noisy_ce + beta * kl."""

    def as_dict(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row, and what it took."""

    row: SweepRow
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepWork:
    """How a worker trains a cell."""

    model: nn.Module
    loss: Any
    x: Tensor
    y: Tensor
    test: tuple[Tensor, Tensor] | None
    num_classes: int
    fresh: bool
    wrapping: dict[str, Any]
    """Options of ``variational``."""
    fitting: dict[str, Any]
    """Options of ``fit_variational``."""
    threads: int

    def __call__(self, cell: SweepCell) -> Measured | Failure:
        with turn(self.threads), seeded(cell.seed):
            begun = time.perf_counter()
            try:
                row = self._row(cell)
            except (Exception, SystemExit) as error:  # the network is the user's, and may raise anything
                return failure_of(error)
            return Measured(row=row, seconds=time.perf_counter() - begun)

    def _row(self, cell: SweepCell) -> SweepRow:
        network = drawn_anew(self.model) if self.fresh else self.model
        y = self.y
        if cell.corruption:
            T = transition_matrix("symmetric_inclusive", self.num_classes, cell.corruption)
            y = flip_labels(y.cpu(), T, seed=cell.seed)[0].to(y)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="variational: local noise")  # told of before the first cell
            q = variational(network, **self.wrapping)
            fit = fit_variational(
                q, (self.x, y), beta=cell.beta, loss=self.loss, test_data=self.test, seed=cell.seed, **self.fitting
            )
        N = fit.num_samples
        return SweepRow(
            beta=cell.beta, corruption=cell.corruption, seed=cell.seed, noisy_ce=fit.noisy_loss / N,
            stderr=fit.stderr / N, train_acc=fit.train_accuracy, test_acc=fit.test_accuracy, kl=fit.kl / N,
            c=fit.lagrangian / N,
        )  # fmt: skip


def drawn_anew(model: nn.Module) -> nn.Module:
    """A copy with new initial weights, by each module's own rule, from torch's global generator; frozen ones stay.

    Raises:
        ConfigError: A module with trained parameters of its own has no rule, or has frozen ones beside them.
    """
    found = copy.deepcopy(model)
    for path, module in found.named_modules():
        trained = {p.requires_grad for p in module._parameters.values() if p is not None}
        if len(trained) == 2:
            raise ConfigError(
                f"{WHERE}: a layer's parameters must be all trained or all frozen for new initial weights; got both in "
                f"{path!r} ({type(module).__name__}). Train or freeze all of it, or start from the given weights: "
                "fresh=False (--no-fresh)."
            )
        if trained == {True}:
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if reset is None:
                raise ConfigError(
                    f"{WHERE}: every layer must have reset_parameters() for new initial weights; got none in {path!r} "
                    f"({type(module).__name__}). Add it, or start from the given weights: fresh=False (--no-fresh)."
                )
            with torch.no_grad():
                reset()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.requires_grad:  # attention resets its output layer too
                found.get_parameter(name).copy_(p)
    return found
