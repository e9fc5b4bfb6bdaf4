"""What the figures must be, and whether they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.limit import cifar, cost, mnist
from benchmarks.limit.mnist import LIMIT_G, LIMIT_L, SEEDS
from benchmarks.ops.limit import CASES
from benchmarks.record import RESULTS, read


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One figure beside its limit."""

    text: str
    figure: float | None
    """``None``: not measured yet."""
    least: float | None = None
    most: float | None = None
    digits: int = 1

    @property
    def holds(self) -> bool:
        if self.figure is None:
            return False
        return (self.least is None or self.figure >= self.least) and (self.most is None or self.figure <= self.most)

    @property
    def limit(self) -> str:
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    @property
    def found(self) -> str:
        return "not run" if self.figure is None else f"{self.figure:.{self.digits}f}"


def _limit_lines(file: str) -> dict[tuple[int, int], float]:
    """By N and C, how many times as fast as its plain form ``limit_gradient`` was in float32."""
    return {
        (line["N"], line["C"]): line["ms"]["plain"] / line["ms"]["ours"]
        for line in read(file)
        if line["op"] == "limit" and line["dtype"] == "float32"
    }


class Records:
    """Figures by noise, method and seed, ``None`` where a training has no line."""

    def __init__(self) -> None:
        self._lines = mnist.records()

    def of(self, noise: float, method: Any, seed: int, name: str) -> float | None:
        line = self._lines.get((noise, str(method), seed))
        return None if line is None else line[name]

    def memorised(self, noise: float, method: Any, seed: int) -> float | None:
        """Per cent of the wrong labels."""
        count, all_ = (self.of(noise, method, seed, name) for name in ("memorised", "mislabelled"))
        return None if count is None or all_ is None else 100 * count / all_


def _above(figure: float | None, other: float | None) -> float | None:
    return None if figure is None or other is None else figure - other


def demands() -> Iterator[Demand]:
    """All demands, seed by seed."""
    found = Records()
    for seed in SEEDS:
        last = found.of(0.8, LIMIT_L, seed, "test_last")
        of = f"seed {seed}, noise .8:"
        yield Demand(text=f"{of} {LIMIT_L}, test accuracy at the last epoch", figure=last, least=80)
        best = found.of(0.8, LIMIT_L, seed, "test_at_best_val")
        yield Demand(text=f"{of} {LIMIT_L}, test accuracy at the best noisy validation", figure=best, least=80)
        above = _above(last, found.of(0.8, "ce", seed, "test_last"))
        yield Demand(text=f"{of} {LIMIT_L}, points above ce at the last epoch", figure=above, least=30)
        count = found.memorised(0.8, LIMIT_L, seed)
        yield Demand(text=f"{of} {LIMIT_L}, per cent of wrong labels memorised", figure=count, most=10)
        count = found.memorised(0.8, "ce", seed)
        yield Demand(text=f"{of} ce, per cent of wrong labels memorised (control)", figure=count, least=70)
        of = f"seed {seed}, noise .5:"
        for method in (LIMIT_G, LIMIT_L):
            last = found.of(0.5, method, seed, "test_last")
            yield Demand(text=f"{of} {method}, test accuracy at the last epoch", figure=last, least=90)
        last = found.of(0.5, "ce", seed, "test_last")
        yield Demand(text=f"{of} ce, test accuracy at the last epoch (control)", figure=last, most=65)
        for noise in (0.8, 0.5):
            of = f"seed {seed}, noise {noise:g}:".replace("0.", ".")
            auroc = found.of(noise, LIMIT_L, seed, "auroc_distance")
            yield Demand(text=f"{of} {LIMIT_L}, AUROC of the distance", figure=auroc, least=0.95, digits=3)
            auroc = found.of(noise, "ce", seed, "auroc_ce")
            yield Demand(text=f"{of} ce, AUROC of its cross-entropy (control)", figure=auroc, most=0.65, digits=3)
    costs = [line for line in read(mnist.RESULTS) if line["benchmark"] == cost.COST]
    ratio = costs[-1]["ratio"][cost.ONE] if costs else None
    text = f"an epoch of {LIMIT_L}, in epochs of ce with one network and torch's default Adam"
    yield Demand(text=text, figure=ratio, most=2.1, digits=2)
    # Of a processor on which others alone were raced nothing is demanded, but of one at least.
    lines = {file.stem: _limit_lines(file.name) for file in sorted(RESULTS.glob("cpu-*.jsonl"))}
    for where, speedups in {where: found for where, found in lines.items() if found}.items() or [("no processor", {})]:
        for rows in CASES:
            text = f"{where}: limit_gradient on {rows.N} x {rows.C}, times as fast as its plain form, uncompiled"
            yield Demand(text=text, figure=speedups.get((rows.N, rows.C)), least=4)
    pictures = cifar.records()
    for seed in SEEDS:
        limit, ce = (pictures.get((str(method), seed)) for method in (LIMIT_G, "ce"))
        above = None if limit is None or ce is None else limit["test_last"] - ce["test_last"]
        text = f"seed {seed}, CIFAR-10, noise .4: {LIMIT_G}, points above ce at the last epoch"
        yield Demand(text=text, figure=above, least=10)
