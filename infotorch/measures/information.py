"""From squared changes to scores: which rows leave, sigma, what is reliable, and where each score belongs."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from infotorch.errors import ConfigError, DataError, NumericsError, check_choice
from infotorch.measures.kernel_input import Array, sample_mask
from infotorch.measures.leave_out import LeftOut, Problem, Removal, leave_out
from infotorch.measures.schedule import WHERE, Schedule

# A score is called reliable up to this estimated relative error.
RTOL = 1e-6


@dataclass(frozen=True, kw_only=True)
class UniqueInformationResult:
    """Scores in nats with a leading time axis; float64, on the kernel's device."""

    weights: Tensor
    """Information in the weights, [times, N or G]."""
    functions: Tensor | None
    """Information in the outputs on the test samples, [times, N or G]; None without a test kernel."""
    own_prediction: Tensor | None
    """J_i d_without: what training without a sample adds to its initial outputs, [times, N, C]; None with groups."""
    reliable: Tensor
    """Whether ``relative_error`` is at most 1e-6, bool [N or G]: of the solve alone, for K taken as exact."""
    relative_error: Tensor
    """Estimated error of ``weights`` over the score or the median score, whichever is larger; worst time, [N or G].

    Only float64 rounding of the solve is counted, not the rounding that K came with: a kernel of relative accuracy e
    multiplies this by about e / 2.2e-16, 5e8 where K was built in float32.
    """
    change_test: Tensor | None = None
    """Test outputs without minus with, [times, N or G, M, C]; None unless asked for."""


@dataclass(frozen=True, kw_only=True)
class Members:
    """Who is there, and who leaves."""

    kept: Tensor
    """Samples not removed beforehand, bool [N]."""
    groups: Tensor | None
    """Who leaves together, bool [G, N]; None: each kept sample alone."""

    @property
    def num_groups(self) -> int | None:
        return None if self.groups is None else len(self.groups)


def members(num_samples: int, groups: Array | None, removed: Array | None) -> Members:
    """Check the masks.

    Raises:
        ShapeError: A mask is not bool, or not of the number of samples.
        DataError: A group is empty or leaves nobody, or fewer than two samples remain.
    """
    kept = torch.ones(num_samples, dtype=torch.bool)
    if removed is not None:
        kept = ~sample_mask(WHERE, "removed", removed, (None, num_samples))
        if kept.sum() < 2:
            raise DataError(
                f"{WHERE}: removed must leave at least 2 samples; got {int(kept.sum())} left. Remove fewer."
            )
    if groups is None:
        return Members(kept=kept, groups=None)
    masks = sample_mask(WHERE, "groups", groups, (1, num_samples))
    for g, mask in enumerate(masks):
        if not mask.any():
            raise DataError(f"{WHERE}: each group must have a member; got none in group {g}. Leave the group out.")
        if not (kept & ~mask).any():
            raise DataError(
                f"{WHERE}: each group must leave at least one sample; got none without group {g}. Leave the group out."
            )
    return Members(kept=kept, groups=masks)


class Given(Protocol):
    """What a user hands over, checked: a kernel, or features."""

    @property
    def residual(self) -> Tensor:
        """[N, C]."""

    @property
    def rows_per_sample(self) -> int:
        """C, or 1 where all outputs share the kernel."""

    @property
    def num_test(self) -> int:
        """M, 0 without test samples."""

    def problem(self, kept: Tensor | None = None, *, overwrite: bool = False) -> Problem:
        """The problem on the samples of ``kept`` [N], all of them by default."""

    def rows_of_removed(self, kept: Tensor) -> Tensor:
        """What a network trained on the samples of ``kept`` [N] is multiplied with for outputs of the others."""


def information(
    data: Given,
    who: Members,
    plan: Schedule,
    *,
    sigma: float = 1.0,
    nodes: int = 40,
    return_changes: bool = False,
    on_unreliable: Literal["raise", "flag"] = "raise",
    overwrite: bool = False,
) -> UniqueInformationResult:
    """Scores of each kept sample or group; those gone beforehand score 0, as removing them again changes nothing.

    Raises:
        ConfigError: sigma, nodes or on_unreliable is out of range.
        NumericsError: The kernel is indefinite or singular, descent diverges, or a score is unreliable.
    """
    check_options(sigma, nodes, on_unreliable)
    if return_changes and data.num_test == 0:
        raise ConfigError(f"{WHERE}: return_changes needs test samples; got none. Give K_test, or features_test.")
    kept = who.kept.to(data.residual.device)
    problem = data.problem(kept, overwrite=overwrite)
    others = None if kept.all() else data.rows_of_removed(kept)
    places, removals = _removals(who, plan, data.rows_per_sample, kept)
    left = leave_out(
        problem,
        removals,
        nodes=nodes,
        return_changes=return_changes,
        return_trained=others is not None and who.groups is None,
    )
    return _result(data, who, left, places, others, sigma, on_unreliable)


def check_options(sigma: float, nodes: int, on_unreliable: str) -> None:
    """Raise ConfigError for the first option out of range."""
    if not 0 < sigma < float("inf"):
        raise ConfigError(f"{WHERE}: sigma must be finite and above 0; got {sigma}. Give the default 1.0.")
    if nodes % 2 or not 16 <= nodes <= 64:
        raise ConfigError(f"{WHERE}: nodes must be even and from 16 to 64; got {nodes}. Give the default 40.")
    check_choice(WHERE, "on_unreliable", on_unreliable, ("raise", "flag"))


def _removals(who: Members, plan: Schedule, b: int, kept: Tensor) -> tuple[Tensor, list[Removal]]:
    """Where each set's scores belong, and the sets' rows among the kept."""
    place = torch.cumsum(kept, 0) - 1  # of a sample among the kept
    offsets = torch.arange(b, device=kept.device)

    def rows_of(samples: Tensor) -> Tensor:
        return (place[samples][:, None] * b + offsets).flatten()

    if who.groups is None:
        samples = kept.nonzero()[:, 0]
        rows = rows_of(samples).view(-1, b)
        return samples, [Removal(rows=rows, full=plan.full, without=plan.for_set(0))]
    groups = who.groups.to(kept.device) & kept
    there = groups.any(1).nonzero()[:, 0]
    return there, [
        Removal(rows=rows_of(groups[g].nonzero()[:, 0])[None], full=plan.full, without=plan.for_set(g))
        for g in there.tolist()
    ]


def _result(
    data: Given,
    who: Members,
    left: LeftOut,
    places: Tensor,
    others: Tensor | None,
    sigma: float,
    on_unreliable: str,
) -> UniqueInformationResult:
    N, C = data.residual.shape
    T, count = len(left.weights), N if who.groups is None else len(who.groups)

    def placed(values: Tensor) -> Tensor:
        if len(places) == count:
            return values
        whole = values.new_zeros(len(values), count, *values.shape[2:])
        whole[:, places] = values
        return whole

    error = placed(relative_error(left)[None])[0]
    reliable = error <= RTOL
    if on_unreliable == "raise":
        refuse_unreliable(error, "sample" if who.groups is None else "group")
    own = None
    if who.groups is None:
        assert left.own is not None
        own = placed(left.own.reshape(T, len(places), C))
        if others is not None:
            assert left.trained is not None
            own[:, ~who.kept.to(own.device)] = (others @ left.trained).reshape(T, N - len(places), C)
    change = left.change_test
    return UniqueInformationResult(
        weights=placed(left.weights) / (2 * sigma**2),
        functions=None if left.functions is None else placed(left.functions) / (2 * sigma**2),
        own_prediction=own,
        reliable=reliable,
        relative_error=error,
        change_test=None if change is None else placed(change).reshape(T, count, data.num_test, C),
    )


def relative_error(left: LeftOut) -> Tensor:
    """Estimated error of each squared change over itself or the median, whichever is larger; worst time, [n]."""
    if left.weights.shape[1] == 0:
        return left.error.new_zeros(0)
    median = left.weights.median(dim=1, keepdim=True).values
    share = left.weights / median.clamp(min=1e-300)
    return (left.error * share.clamp(max=1)).amax(0)


def refuse_unreliable(error: Tensor, what: str, otherwise: str = ', or on_unreliable="flag"') -> None:
    """Raise NumericsError naming the first set whose estimated relative error exceeds RTOL."""
    wrong = ~(error <= RTOL)  # NaN is wrong
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise NumericsError(
            f"{WHERE}: the estimated relative error of every score must be at most {RTOL:.0e}; "
            f"got {float(error[first]):.1e} for {what} {first}. "
            f"Give ridge > 0, a shorter time{otherwise}."
        )
