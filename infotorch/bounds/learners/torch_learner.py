"""Any network of torch, with any optimizer, as the learner of a grid of runs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from infotorch import errors
from infotorch.bounds.ensembles.ensemble import initial_seed, order_generator
from infotorch.bounds.grids.cells import Extra, Predict, seeded

__all__ = ["TorchLearner", "torch_learner"]

WHERE = "torch_learner"
ADAM = partial(torch.optim.Adam, lr=1e-3)
Weights = dict[str, Tensor]


def torch_learner(
    network: Callable[[], nn.Module],
    x: Any,
    y: Any,
    *,
    epochs: int,
    batch_size: int = 128,
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = ADAM,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    device: str | torch.device = "cpu",
    predict_batch: int = 1024,
) -> "TorchLearner":
    """A ``train_fn`` for ``infotorch.bounds.run``: a network from scratch in each run, trained in shuffled batches.

    Initial weights, dropout and the order of batches follow from the run's seed. Where the last batch of an epoch would
    be a single sample it is joined to the one before: BatchNorm has no variance of one. Predictions are made in eval
    mode; they are the class of the largest output or, of a network with one output, 1 where the logit is above 0. Where
    the run has checkpoints, predictions are of the weights after these epochs, and training ends with the last of them.

    On a GPU equal seeds give equal runs only as far as torch's own algorithms there are deterministic; ``run`` tries
    that.

    Args:
        network: Makes a network with new weights: ``lambda: nn.Sequential(...)``, or a class without arguments. Its
            outputs are [N, C], or [N] or [N, 1] for two classes. It is moved to ``device`` after its initialization.
        x: The pool's inputs, [pool_size, ...], a tensor or an array.
        y: The pool's labels, whole numbers [pool_size].
        epochs: Passes over the training samples.
        batch_size: Samples of one step.
        optimizer: Makes an optimizer of the network's parameters; default Adam with learning rate 1e-3.
        loss: ``loss(outputs, labels)``, a number to be minimized; default the mean cross-entropy in nats, of one output
            the binary one.
        device: Where networks are trained.
        predict_batch: Samples predicted at once.

    Returns:
        The learner. It can be sent to other processes if ``network``, ``optimizer`` and ``loss`` can.

    Raises:
        ConfigError: An option is out of range, or ``network`` is a network and not what makes one.
        DataError: ``x`` and ``y`` disagree, or labels are not whole numbers.

    Example:
        >>> learner = torch_learner(lambda: nn.Linear(64, 2), x, y, epochs=20)  # doctest: +SKIP
        >>> run(plan(len(x), 75, 3, 20), learner, "runs/linear", labels=y)  # doctest: +SKIP
    """
    if isinstance(network, nn.Module) or not callable(network):
        raise errors.ConfigError(
            f"{WHERE}: network must be a function that makes a new network; got {type(network).__name__}. "
            "Pass lambda: Network(...), so that each run has weights of its own."
        )
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("predict_batch", predict_batch)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise errors.ConfigError(
                f"{WHERE}: {name} must be a whole number of at least 1; got {value!r}. Correct {name}."
            )
    inputs, labels = torch.as_tensor(x), torch.as_tensor(y)
    if labels.dim() != 1 or len(inputs) != len(labels):
        raise errors.DataError(
            f"{WHERE}: y must be [{len(inputs)}], one label for each of x; got {list(labels.shape)}. "
            "Pass inputs and labels of the same pool."
        )
    if labels.is_floating_point() or labels.is_complex():
        raise errors.DataError(f"{WHERE}: y must be whole numbers; got {labels.dtype}. Number the classes from 0.")
    return TorchLearner(
        network=network,
        x=inputs,
        y=labels.long(),
        epochs=int(epochs),
        batch_size=int(batch_size),
        optimizer=optimizer,
        loss=loss or _cross_entropy,
        device=torch.device(device),
        predict_batch=int(predict_batch),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TorchLearner:
    """What ``torch_learner`` returns."""

    network: Callable[[], nn.Module]
    """Makes a network."""
    x: Tensor
    """[pool_size, ...]."""
    y: Tensor
    """int64 [pool_size]."""
    epochs: int
    """Passes over the training samples."""
    batch_size: int
    """Samples of one step."""
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    """Makes an optimizer."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """Outputs and labels to a number."""
    device: torch.device
    """Where networks are trained."""
    predict_batch: int
    """Samples predicted at once."""

    def __call__(self, train_indices: np.ndarray, seed: int, extra: Extra) -> Predict:
        """A network trained on ``train_indices``, as a function from indices [M] to labels [M], or [T, M].

        Raises:
            ConfigError: A checkpoint is past the last epoch.
        """
        marks = extra.checkpoints
        if marks and marks[-1] > self.epochs:
            raise errors.ConfigError(
                f"{WHERE}: checkpoints must be at most epochs={self.epochs}; got {marks[-1]}. Train for more epochs."
            )
        with seeded(initial_seed(seed)):
            network = self.network().to(self.device)
            kept = self._train(network, train_indices, seed, marks)
        return partial(self._predict, network, kept)

    def _train(self, network: nn.Module, train_indices: np.ndarray, seed: int, marks: tuple[int, ...]) -> list[Weights]:
        """The weights at each checkpoint; the network's own are those at the end."""
        rows = torch.from_numpy(train_indices)
        x, y = self.x[rows].to(self.device), self.y[rows].to(self.device)
        optimizer = self.optimizer(network.parameters())
        order = order_generator(seed)  # another stream than that of the weights
        kept: list[Weights] = []
        network.train()
        for epoch in range(1, (marks[-1] if marks else self.epochs) + 1):
            for batch in _batches(torch.randperm(len(x), generator=order), self.batch_size):
                batch = batch.to(self.device)
                optimizer.zero_grad()
                self.loss(network(x[batch]), y[batch]).backward()
                optimizer.step()
            if epoch in marks:
                kept.append({name: value.clone() for name, value in network.state_dict().items()})
        return kept

    def _predict(self, network: nn.Module, kept: list[Weights], indices: np.ndarray) -> np.ndarray:
        if not kept:
            return self._labels(network, indices)
        found = []
        for weights in kept:
            network.load_state_dict(weights)
            found.append(self._labels(network, indices))
        return np.stack(found)

    def _labels(self, network: nn.Module, indices: np.ndarray) -> np.ndarray:
        """int64 [M]."""
        network.eval()
        found = []
        with torch.no_grad():
            for rows in torch.from_numpy(indices).split(self.predict_batch):
                outputs = network(self.x[rows].to(self.device))
                if outputs.isnan().any():
                    row = int(rows[outputs.isnan().reshape(len(rows), -1).any(1).cpu()][0])
                    raise errors.NumericsError(
                        f"{WHERE}: a trained network's outputs must be numbers; got nan for item {row}. "
                        "Lower the learning rate, or look at this item."
                    )
                found.append((_logit(outputs) > 0).long() if _is_single(outputs) else outputs.argmax(1))
        return torch.cat(found).cpu().numpy()


def _batches(order: Tensor, size: int) -> list[Tensor]:
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _is_single(outputs: Tensor) -> bool:
    if outputs.dim() == 1 or (outputs.dim() == 2 and outputs.shape[1] == 1):
        return True
    if outputs.dim() != 2:
        raise errors.ConfigError(
            f"{WHERE}: a network's outputs must be [N, C], [N, 1] or [N]; got {list(outputs.shape)}. "
            "Return one row of logits for each sample."
        )
    return False


def _logit(outputs: Tensor) -> Tensor:
    return outputs.reshape(len(outputs))


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    if _is_single(outputs):
        return F.binary_cross_entropy_with_logits(_logit(outputs), labels.to(outputs.dtype))
    return F.cross_entropy(outputs, labels)
