"""The plan of a grid of training runs: supersamples, masks and seeds, all from one number."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from infotorch import errors

__all__ = ["Plan", "plan"]

MaskDesign = Literal["balanced", "iid"]
SEEDS = 2**64
# Each kind of draw has a range of tags of its own in the second word of Philox's key.
SUPERSAMPLE, MASK, SEED = 2**61, 2**62, 2**63
IID = 2**31
"""Within the masks' tags: above every number of a block."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """K1 supersamples of n pairs, and for each of them K2 masks: which of each pair is trained on.

    Everything follows from the fields through Philox4x64-10 words alone, so that it is the same wherever the plan is
    read. ``plan`` makes one from arguments it has checked.
    """

    pool_size: int
    """Items to draw from."""
    n: int
    """Training samples of a run; pairs of a supersample."""
    K1: int
    """Supersamples."""
    K2: int
    """Masks, and runs, of each supersample."""
    seed: int = 0
    """Of every draw."""
    mask_design: MaskDesign = "balanced"
    """``"balanced"``: in each block of runs every pair's first item is trained on exactly half of the times."""
    block: int = 10
    """Runs that are balanced together."""

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def supersamples(self) -> np.ndarray:
        """int64 [K1, n, 2], places in the pool; within a supersample no place comes twice."""
        return np.stack([self._supersample(k1) for k1 in range(self.K1)])

    @cached_property
    def masks(self) -> np.ndarray:
        """uint8 [K1, K2, n]: the column of each pair that is trained on."""
        of = self._balanced if self.mask_design == "balanced" else self._iid
        return np.stack([of(k1) for k1 in range(self.K1)])

    @cached_property
    def run_seeds(self) -> np.ndarray:
        """int64 [K1, K2], below 2^63: the seed of each run."""
        words = [[self._words(SEED + 2**32 * k1 + k2, 1)[0] for k2 in range(self.K2)] for k1 in range(self.K1)]
        return (np.array(words, np.uint64) & np.uint64(2**63 - 1)).astype(np.int64)

    def train_indices(self, k1: int, k2: int) -> np.ndarray:
        """int64 [n]: the items of the pool that run (k1, k2) is trained on, in the pairs' order."""
        return self.supersamples[k1][np.arange(self.n), self.masks[k1, k2]]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the fields."""
        return hashlib.sha256(json.dumps(self.fields(), sort_keys=True).encode()).hexdigest()

    def fields(self) -> dict[str, Any]:
        """The fields, as JSON has them; ``Plan(**fields)`` is the plan again."""
        return asdict(self)

    def drawn_from(self) -> dict[str, Any]:
        """The fields that draws follow from: K1 and K2 only say how many there are."""
        return {name: value for name, value in self.fields().items() if name not in ("K1", "K2")}

    def _words(self, tag: int, count: int) -> np.ndarray:
        key = np.array([self.seed, tag], np.uint64)
        return np.asarray(np.random.Philox(key=key).random_raw(count), np.uint64)

    def _supersample(self, k1: int) -> np.ndarray:
        order = np.argsort(self._words(SUPERSAMPLE + k1, self.pool_size), kind="stable")
        return order[: 2 * self.n].reshape(self.n, 2).astype(np.int64)

    def _balanced(self, k1: int) -> np.ndarray:
        n, B = self.n, self.block
        blocks = []
        for g in range(self.K2 // B):
            order = np.argsort(self._words(MASK + 2**32 * k1 + g, n * B).reshape(n, B), axis=1, kind="stable")
            bits = np.zeros((n, B), np.uint8)
            np.put_along_axis(bits, order[:, : B // 2], 1, axis=1)
            blocks.append(bits.T)  # [B, n]
        return np.concatenate(blocks)

    def _iid(self, k1: int) -> np.ndarray:
        tags = [MASK + 2**32 * k1 + IID + k2 for k2 in range(self.K2)]
        return np.stack([(self._words(tag, self.n) & np.uint64(1)).astype(np.uint8) for tag in tags])


def plan(
    pool_size: int,
    n: int,
    K1: int,
    K2: int,
    *,
    seed: int = 0,
    masks: MaskDesign = "balanced",
    block: int = 10,
) -> Plan:
    """The plan of K1 × K2 training runs on n samples each, drawn from a pool.

    The plan of a folder can be extended: with all else equal, a larger K1 or K2 has the runs of a smaller one among its
    own.

    A supersample is n pairs of items, drawn without replacement; a mask says which item of each pair is trained on, and
    the others are the test samples (Steinke and Zakynthinou, arXiv 2001.09122). With balanced masks every column of a
    block has exactly half ones, so that the plug-in information is not below the true one in expectation; with
    independent masks, those of arXiv 2110.01584's experiments, that does not hold.

    Args:
        pool_size: Items to draw from, at least 2n.
        n: Training samples of a run.
        K1: Supersamples: the bound is averaged over them, and its spread is theirs.
        K2: Runs of each supersample: they estimate the information. A multiple of ``block`` where masks are balanced.
        seed: Of every draw, 0 to 2^64 - 1.
        masks: ``"balanced"`` or ``"iid"``.
        block: Runs that are balanced together, an even number. Estimates are made of whole blocks.

    Returns:
        The plan; it is written by ``run``.

    Raises:
        ConfigError: A number is out of its range, or the pool is too small.
    """
    return Plan(pool_size=pool_size, n=n, K1=K1, K2=K2, seed=seed, mask_design=masks, block=block)


def _check(plan: Plan) -> None:
    for name in ("pool_size", "n", "K1", "K2", "block", "seed"):
        value = getattr(plan, name)
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise errors.ConfigError(f"plan: {name} must be a whole number; got {value!r}. Correct {name}.")
        object.__setattr__(plan, name, int(value))  # NumPy's integers are not JSON
    for name, most in (("n", None), ("K1", 2**29), ("K2", IID), ("block", None)):
        value = getattr(plan, name)
        if value < 1 or (most is not None and value >= most):
            within = "at least 1" if most is None else f"from 1 to {most - 1}"
            raise errors.ConfigError(f"plan: {name} must be {within}; got {value}. Correct {name}.")
    if not 0 <= plan.seed < SEEDS:
        raise errors.ConfigError(f"plan: seed must be from 0 to 2^64 - 1; got {plan.seed}. Choose another seed.")
    if plan.pool_size < 2 * plan.n:
        raise errors.ConfigError(
            f"plan: the pool must hold 2n = {2 * plan.n} items, one to train on and one to test on in each pair; got "
            f"{plan.pool_size}. Lower n to {plan.pool_size // 2} or gather more data."
        )
    errors.check_choice("plan", "masks", plan.mask_design, get_args(MaskDesign))
    if plan.K2 < 2:
        raise errors.ConfigError(
            f"plan: K2 must be at least 2, for one run tells nothing of its mask; got {plan.K2}. 20 to 40 are usual."
        )
    if plan.mask_design == "balanced":
        if plan.block % 2:
            raise errors.ConfigError(
                f"plan: block must be even, so that each item is trained on in half of its runs; got {plan.block}. "
                f"Set block={plan.block + 1}, or masks='iid'."
            )
        if plan.K2 % plan.block:
            near = plan.K2 + plan.block - plan.K2 % plan.block
            raise errors.ConfigError(
                f"plan: K2 must be a multiple of block={plan.block}; got {plan.K2}. Set K2={near}, another even block "
                "that divides K2, or masks='iid'."
            )
