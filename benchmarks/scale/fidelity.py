"""How near sketched scores come to the exact ones, on all samples at once.

python -m benchmarks.scale.fidelity: 1,000 handwritten digits of 10 classes, exact by the kernel of 10,000 rows, which
takes about 4 GB and, with two threads, some minutes; then sketched, for every k, sketch and seed. The table is in
docs/scale-results.md, written by python -m benchmarks.scale.usefulness --page.
"""

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.record import append, read
from infotorch import Task, UniqueInformation
from infotorch.blocks.features import features
from infotorch.demo.digits import split
from infotorch.measures.agreement import agreement
from infotorch.measures.training import Training

FILE = "scale-fidelity.jsonl"
N, M, L2, TIME = 1000, 100, 1e-2, 15.0
"""Time of the demo's training: 300 steps at learning rate 0.05."""
KINDS: tuple[Literal["sjlt"], Literal["kron"]] = ("sjlt", "kron")
SEEDS, LEAST, A_DIRECTION, GOAL = range(3), 1000, 3, 0.97
"""k must be at least LEAST, and A_DIRECTION numbers for every direction that training uses."""
OTHERS = (256, 512, 2000, 4000)
COLUMNS = ("weights_time_15", "functions_time_15", "weights_time_inf", "functions_time_inf")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 10)).eval()


def effective_dimensions(task: Task, x: torch.Tensor) -> list[float]:
    """Of both times, from the eigenvalues of J^T J, without a sketch."""
    rows = features(task, x).rows.flatten(0, 1).double()
    values = torch.linalg.eigvalsh(rows.mT @ rows).clamp(min=0)
    trainings = [Training(ridge=len(x) * L2, duration=duration / len(x)) for duration in (TIME, math.inf)]
    return [float((values * training.gain(values)).sum()) for training in trainings]


def run() -> None:
    """Measure, and append a line for each sketch and k."""
    train, test = split(N, M, torch.Generator().manual_seed(0))
    task = Task(network())
    start = time.perf_counter()
    directions = effective_dimensions(task, train.x)
    at = max(LEAST, math.ceil(A_DIRECTION * max(directions)))
    print("directions", directions, "k", at, round(time.perf_counter() - start), "s", flush=True)
    measure = UniqueInformation(space="both", l2=L2, time=[TIME, math.inf], test_data=test.x, form="dual")
    start = time.perf_counter()
    exact = measure.scores(task, train.x, train.y)
    print("exact", round(time.perf_counter() - start), "s", flush=True)
    for kind in KINDS:
        for k in sorted({at, *OTHERS}):
            start, each = time.perf_counter(), {name: [] for name in COLUMNS}  # type: dict[str, list[dict[str, Any]]]
            for seed in SEEDS:
                sketched = dataclasses.replace(measure, form="primal", sketch=kind, dim=k, seed=seed)
                found = sketched.scores(task, train.x, train.y)
                for name, values in each.items():
                    column = f"unique_information_{name}"
                    values.append(dataclasses.asdict(agreement(found[column].values, exact[column].values)))
            seconds = round(time.perf_counter() - start)
            case = {"data": "digits", "N": N, "C": 10, "M": M, "l2": L2, "sketch": kind, "k": k, "seeds": len(SEEDS),
                    "P": sum(p.numel() for p in task.parameters().values())}  # fmt: skip
            measured = {"directions": [round(d, 1) for d in directions], "wanted": k == at, "each": each}
            append(FILE, "fidelity", case, {"seconds": seconds, **measured})
            print(kind, k, seconds, "s", {name: _mean(values) for name, values in each.items()}, flush=True)


def lines() -> list[dict[str, Any]]:
    """The last line of each sketch and k."""
    return list({(line["case"]["sketch"], line["case"]["k"]): line for line in read(FILE)}.values())


def goals() -> Iterator[tuple[str, bool]]:
    """Whether k of the rule of thumb was enough, with the figures."""
    for line in lines():
        if line["wanted"]:
            lowest = min(found["spearman"] for values in line["each"].values() for found in values)
            what = f"{line['case']['sketch']} at k = {line['case']['k']:,}"
            yield f"{what}: lowest Spearman {lowest:.3f}, at least {GOAL} wanted", lowest >= GOAL


def section() -> str:
    """Of docs/scale-results.md."""
    found = lines()
    case = found[0]["case"]
    flow, end = found[0]["directions"]
    at = next(line["case"]["k"] for line in found if line["wanted"])
    head = ["sketch", "k", *(f"{name.split('_')[0]}, t = {name.split('_')[-1]}" for name in COLUMNS)]
    rows = [head, ["---"] * len(head)]
    for line in sorted(found, key=lambda line: (line["case"]["sketch"] != "sjlt", line["case"]["k"])):
        rows.append(
            [line["case"]["sketch"], f"{line['case']['k']:,}", *(_mean(line["each"][name]) for name in COLUMNS)]
        )
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    met = "".join(f"| {what} | {'yes' if holds else 'no'} |\n" for what, holds in goals())
    return f"""## How near sketched scores come to the exact ones

`python -m benchmarks.scale.fidelity`: {case["N"]:,} handwritten digits of {case["C"]} classes, all at once, a network
64-128-10 with tanh (P = {case["P"]:,}) at its initial weights, `l2` {case["l2"]:g}, functions on {case["M"]} other
digits. Spearman with the exact scores of the dual form, whose kernel has {case["N"] * case["C"]:,} rows; means over
{case["seeds"]} seeds of the sketch ± standard errors. Training uses {flow:.0f} directions at time {TIME:g} (300 steps
at 0.05) and {end:.0f} at convergence, so that the rule of thumb, k = max({LEAST:,}, {A_DIRECTION} times the
directions), gives k = {at:,}.

{table}
| goal at the rule's k, every column and seed | met |
| --- | --- |
{met}
"""


def _mean(found: list[dict[str, Any]]) -> str:
    values = [each["spearman"] for each in found]
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"


def main() -> None:
    """Run it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    run()


if __name__ == "__main__":
    main()
