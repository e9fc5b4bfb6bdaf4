"""Unique information of one network's samples in two passes: moments of all, then scores of some at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.features import Features
from infotorch.measures.information import Members, UniqueInformationResult, information
from infotorch.measures.measure import Progress
from infotorch.measures.primal.feature_input import FeatureInput, root
from infotorch.measures.primal.form import BATCH
from infotorch.measures.primal.moments import Moments, moments_of, second_moment
from infotorch.measures.primal.sketched import Rows, Sketching, too_narrow
from infotorch.measures.schedule import Schedule
from infotorch.measures.self_scores import LogOdds, from_features, log_odds, log_odds_moments
from infotorch.task import num_samples, select

__all__ = ["Stream", "Tests"]

NODES = {torch.float64: 32, torch.float32: 24}
"""Of the contour, by the dtype of the features: a relative error of 7e-13 and 3e-9, below that of their rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tests:
    """On what functions are compared, in features."""

    rows: Tensor
    """[t, k]: their features, or fewer rows with the same second moment."""
    num_test: int
    """M."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """What a data set of any size needs of the primal form; features of all samples are never here at once."""

    sketching: Sketching
    plan: Schedule
    """Trainings of the summed loss."""
    sigma: float
    memory_limit: int | None = None
    """Bytes of captured pairs."""
    also: Sequence[str] = ()
    """Self-scores beside unique information."""

    @torch.no_grad()
    def features(self, x: Any) -> Features:
        """Of a batch: the first pass."""
        return self.sketching.features(x, self.memory_limit)

    def batched(self, x: Any, batch_size: int, progress: Progress | None) -> Features:
        """Of more samples than one batch, where all fit the memory."""
        N, found = num_samples(x), []
        for start in range(0, N, batch_size):
            found.append(self.features(select(x, slice(start, min(start + batch_size, N)))))
            if progress:
                progress("features", min(start + batch_size, N), N)
        return Features(rows=torch.cat([f.rows for f in found]), outputs=torch.cat([f.outputs for f in found]))

    @torch.no_grad()
    def tests(self, x: Any, batch_size: int, progress: Progress | None) -> Tests:
        """Of test inputs [M, ...]."""
        M = num_samples(x)
        second: Tensor | None = None
        rows: list[Tensor] = []  # as long as they are fewer than their second moment has
        for start in range(0, M, batch_size):
            some = self.sketching.test_rows(self.features(select(x, slice(start, min(start + batch_size, M)))))
            if second is None and sum(map(len, rows)) + len(some) <= some.shape[1]:
                rows.append(some)
            else:
                for part in (*rows, some):
                    moment = second_moment(part)
                    second = moment if second is None else second + moment
                rows = []
            if progress:
                progress("test features", min(start + batch_size, M), M)
        return Tests(rows=torch.cat(rows) if second is None else root(second), num_test=M)

    def whole(
        self, x: Any, y: Tensor, x_test: Any | None, who: Members, progress: Progress | None
    ) -> tuple[Moments, tuple[Rows, UniqueInformationResult]]:
        """Moments of all samples, and their scores, or those of groups, with their features held in memory."""
        found = self.batched(x, BATCH, progress)
        tests = None if x_test is None else self.tests(x_test, BATCH, progress)
        if progress:
            progress("scores", 0, 1)
        moments = self.moments(found, y, who.kept)
        result = self.result(found, y, who, moments, tests)
        if progress:
            progress("scores", 1, 1)
        return moments, result

    @torch.no_grad()
    def moments(self, found: Features, y: Tensor, kept: Tensor) -> Moments:
        """Of some samples; those of parts add. ``kept`` bool [n]: samples that are there in any training."""
        rows = self.sketching.rows(found, y)
        features, residual, odds = rows.features, rows.residual, self._log_odds(rows, y)
        if not kept.all():
            features, residual = features[kept], residual[kept]
        columns = residual.shape[1] if features.dim() == 2 else 1  # right-hand sides of the same features
        found_moments = moments_of(features.flatten(0, -2), residual.reshape(-1, columns), len(features))
        if odds is None:
            return found_moments
        return replace(found_moments, log_odds=log_odds_moments(rows.features, odds.gradient, kept))

    @torch.no_grad()
    def result(
        self, found: Features, y: Tensor, who: Members, moments: Moments, tests: Tests | None
    ) -> tuple[Rows, UniqueInformationResult]:
        """Scores of some samples among all that ``moments`` sums up: the second pass."""
        rows = self.sketching.rows(found, y)
        data = FeatureInput(
            features=rows.features.flatten(0, -2),
            residual=rows.residual,
            tests=None if tests is None else tests.rows,
            num_test=0 if tests is None else tests.num_test,
            rows_per_sample=1 if rows.features.dim() == 2 else rows.features.shape[1],
            moments=moments,
        )
        nodes = NODES[rows.features.dtype]
        result = information(data, who, self.plan, sigma=self.sigma, nodes=nodes, on_unreliable="flag")
        if not self.also:
            return rows, result
        self_scores = from_features(
            rows.features, rows.residual, self._log_odds(rows, y), who.kept, moments,
            ridge=self.plan.full[0].ridge, influence="self_influence" in self.also,
        )  # fmt: skip
        return replace(rows, self_scores=self_scores), result

    def warnings(self, moments: Moments) -> list[str]:
        """In plain words, what a reader must know of scores from these moments."""
        if self.sketching.is_exact:
            return []
        narrow = too_narrow(self.sketching.width, moments.effective_dimension(self.plan.full[-1]))
        return [] if narrow is None else [narrow]

    def _log_odds(self, rows: Rows, y: Tensor) -> LogOdds | None:
        return log_odds(self.sketching.task, rows, y) if "trak_self" in self.also else None
