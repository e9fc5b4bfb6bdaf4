"""Leave-out of samples and groups on one linearized network, at all times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from infotorch.errors import NumericsError
from infotorch.measures.schedule import WHERE
from infotorch.measures.solver import Solver
from infotorch.measures.training import Training

TILE_BYTES, FEWEST_SETS = 1 << 24, 128
"""Of a tile of sets, which then stays in a last-level cache; but up to four times as many bytes for as many sets as all
threads want."""


class Problem(Protocol):
    """A linearized network on its training samples: their kernel, or their features."""

    @property
    def residual(self) -> Tensor:
        """Y - f0, [m, V]: V right-hand sides."""

    @property
    def num_samples(self) -> int:
        """N, on which the network is trained."""

    @property
    def num_coefficients(self) -> int:
        """Numbers that describe a trained network, for one right-hand side."""

    @property
    def test_rows(self) -> Tensor | None:
        """[t, num_coefficients]: what the trained network adds to test outputs is their product with it."""

    @property
    def num_test(self) -> int:
        """M, over which functional information is averaged."""

    def largest(self) -> float:
        """The kernel's largest eigenvalue."""

    def stepper(self, num_steps: float) -> Solver:
        """Takes every step of gradient descent, so many at most."""

    def solver(self, pairs: set[tuple[Training, Training]], nodes: int) -> Solver:
        """Solves for these trainings with and without a set, from as few factorizations as they allow."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Sets of rows, each left out alone, all under the same trainings."""

    rows: Tensor
    """[n, b] row numbers."""
    full: Sequence[Training]
    """The training with the set, one for each time."""
    without: Sequence[Training]
    """The training without the set, one for each time."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What leaving each set out changes, before any scaling by sigma; times first."""

    weights: Tensor
    """Squared change of the weights, [times, n]."""
    functions: Tensor | None
    """Squared change of test outputs, summed over outputs and averaged over M, [times, n]."""
    own: Tensor | None
    """J_g d_without of the rows left out, [times, n, b, V]; None where the sets differ in b."""
    error: Tensor
    """Estimated relative error of weights, [times, n]."""
    change_test: Tensor | None
    """Outputs without minus with, [times, n, t, V]."""
    trained: Tensor | None
    """Coefficients [times, num_coefficients, V] of the training with all, of the first removal."""
    summed_weights: Tensor | None
    """Squared norm of the changes' sum over the sets, [times]."""
    summed_functions: Tensor | None
    """That of the sum's change of test outputs, over outputs and averaged over M, [times]."""


def leave_out(
    problem: Problem,
    removals: Sequence[Removal],
    *,
    nodes: int,
    return_changes: bool = False,
    return_trained: bool = False,
    return_sums: bool = False,
) -> LeftOut:
    """Left-out sets of every removal, in order.

    Stepping comes first, because an eigendecomposition may overwrite the kernel.
    """
    out = _empty(problem, removals, return_changes, return_trained, return_sums)
    largest = _checked_largest(problem, removals)
    stepped = [
        [a.must_step(largest) or b.must_step(largest) for a, b in zip(r.full, r.without, strict=True)] for r in removals
    ]
    if any(map(any, stepped)):
        most = max(
            t.duration for r, s in zip(removals, stepped, strict=True) for t, by in zip(r.full, s, strict=True) if by
        )
        _fill(out, problem, removals, stepped, problem.stepper(most))
    rest = [
        [not step and not (a.duration == b.duration == 0) for step, a, b in zip(s, r.full, r.without, strict=True)]
        for s, r in zip(stepped, removals, strict=True)
    ]
    if any(map(any, rest)):
        pairs = {
            pair
            for r, w in zip(removals, rest, strict=True)
            for pair, wants in zip(zip(r.full, r.without, strict=True), w, strict=True)
            if wants
        }
        _fill(out, problem, removals, rest, problem.solver(pairs, nodes))
    return out


def sets_of_tile(nbytes: int) -> int:
    """How many sets are left out side by side, for so many bytes a set; eight have a wide register."""
    fit = max(TILE_BYTES // nbytes, min(FEWEST_SETS, 4 * TILE_BYTES // nbytes))
    return max(1, fit // 8 * 8 or fit)


def _empty(problem: Problem, removals: Sequence[Removal], changes: bool, trained: bool, sums: bool) -> LeftOut:
    n, T = sum(len(r.rows) for r in removals), len(removals[0].full)
    V = problem.residual.shape[1]
    zeros = problem.residual.new_zeros
    widths = {r.rows.shape[1] for r in removals}
    t = None if problem.test_rows is None else len(problem.test_rows)
    return LeftOut(
        weights=zeros(T, n),
        functions=None if t is None else zeros(T, n),
        own=zeros(T, n, widths.pop(), V) if len(widths) == 1 else None,
        error=zeros(T, n),
        change_test=zeros(T, n, t, V) if changes and t is not None else None,
        trained=zeros(T, problem.num_coefficients, V) if trained else None,
        summed_weights=zeros(T) if sums else None,
        summed_functions=zeros(T) if sums and t is not None else None,
    )


def _fill(
    out: LeftOut, problem: Problem, removals: Sequence[Removal], wanted: Sequence[Sequence[bool]], solver: Solver
) -> None:
    """Run ``solver`` over the wanted times of every removal, in tiles of sets, and write into ``out``."""
    V = problem.residual.shape[1]
    outputs, sums = None, dict[int, Tensor]()
    if problem.test_rows is not None:
        num_columns = V * sum(len(r.rows) * sum(w) for r, w in zip(removals, wanted, strict=True))
        outputs = solver.outputs(problem.test_rows, num_columns)
    start = 0
    for removal, chosen in zip(removals, wanted, strict=True):
        times = [time for time, wants in enumerate(chosen) if wants]
        full, without = [removal.full[time] for time in times], [removal.without[time] for time in times]
        b = removal.rows.shape[1]
        for rows in removal.rows.split(sets_of_tile(8 * problem.num_coefficients * (b + 2 * V))):
            if not len(rows):
                continue
            tile = slice(start, start + len(rows))
            start = tile.stop
            for place, change in solver.changes(rows, full, without):
                time = times[place]
                out.weights[time, tile] = change.squared
                out.error[time, tile] = change.error
                if out.summed_weights is not None:
                    part = change.delta.sum(1, keepdim=True)  # [m, 1, V]
                    sums[time] = sums[time] + part if time in sums else part
                if out.own is not None:
                    out.own[time, tile] = change.own
                if outputs is not None and out.functions is not None:
                    moved = outputs(change.delta)  # [t, n, V]
                    out.functions[time, tile] = moved.square().sum((0, 2)) / problem.num_test
                    if out.change_test is not None:
                        out.change_test[time, tile] = moved.permute(1, 0, 2)
    for time, total in sums.items():
        assert out.summed_weights is not None
        out.summed_weights[time] = solver.squared(total)[0]
        if outputs is not None and out.summed_functions is not None:
            out.summed_functions[time] = outputs(total).square().sum() / problem.num_test
    if out.trained is not None:
        for time, wants in enumerate(wanted[0]):
            if wants:
                out.trained[time] = solver.trained(removals[0].full[time])


def _checked_largest(problem: Problem, removals: Sequence[Removal]) -> float:
    """The kernel's largest eigenvalue, where gradient descent needs it; refuses descent that diverges."""
    trainings = {t for r in removals for t in (*r.full, *r.without) if t.lr is not None and t.duration > 0}
    if not trainings:
        return 0.0
    largest = problem.largest()
    fastest = max(t.lr * (largest + t.ridge) for t in trainings if t.lr is not None)
    if fastest >= 2:
        lr = next(t.lr for t in removals[0].full if t.lr is not None)
        limit = 2 * lr / fastest
        raise NumericsError(
            f"{WHERE}: lr must be < {limit:.6g} on the summed loss ({limit * problem.num_samples:.6g} on the mean), "
            f"2 over the kernel's largest eigenvalue {largest:.6g} plus the ridge, for descent to converge; "
            f"got {lr:.6g} ({lr * problem.num_samples:.6g}). Lower lr."
        )
    return largest
