"""What runs are of, in one value: what the command line asks a user's function for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infotorch import errors
from infotorch.bounds.grids.cells import Ensemble, TrainFn

__all__ = ["Experiment"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """A pool of labelled items and a learner.

    Raises:
        ConfigError: There is no learner, or there are two.
    """

    labels: Any
    """int [pool_size], the true labels."""
    train_fn: TrainFn | None = None
    """Trains one cell; see ``run``."""
    ensemble: Ensemble | None = None
    """Trains many at once, in its place."""
    num_classes: int | None = None
    """C; default the largest label and one."""
    checkpoints: Sequence[int] | None = None
    """Numbers of epochs after which predictions are kept."""
    items: Any = None
    """The pool's inputs [pool_size, ...]: to find equal ones, and to show them. Texts may be a list of them."""
    images: Any = None
    """Pictures of the items, uint8 [pool_size, H, W] or [pool_size, H, W, 3], where the inputs are none."""
    ids: Sequence[str] | None = None
    """Names of the items; default their places."""
    label_names: Sequence[str] | None = None
    """Names of the classes."""

    def __post_init__(self) -> None:
        if (self.train_fn is None) == (self.ensemble is None):
            got = "neither" if self.train_fn is None else "both"
            raise errors.ConfigError(f"Experiment: there must be train_fn or ensemble; got {got}. Give one of them.")
        dtype = getattr(self.images, "dtype", None)
        if self.images is not None and str(dtype).removeprefix("torch.") != "uint8":
            raise errors.ConfigError(
                f"Experiment: images must be uint8 [pool_size, H, W] or [pool_size, H, W, 3]; got {dtype}. Scale them "
                "to 0..255, or leave them out."
            )
