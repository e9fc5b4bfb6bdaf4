"""What `score --dry-run` says against what the run then takes: all of MNIST, all of CIFAR-10 with a residual network.

python -m benchmarks.scale.plan [--case NAME] plans and runs each case, either in a process of its own, and appends a
line to benchmarks/results/scale-plan.jsonl. INFOTORCH_DATA names the folder of mnist.npz and cifar10.
"""

import argparse
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn

import infotorch
from benchmarks.record import append, read
from benchmarks.scale.growth import DIM, measure, mebibytes
from benchmarks.scale.mnist import BATCH, Stages, images, network, own_share
from infotorch import ScorePlan, Task, UniqueInformation
from infotorch.cli.dry_run import show_plan
from infotorch.cli.memory import keep_memory
from infotorch.cli.terminal import Terminal
from infotorch.pipeline.meter import measured

FILE = "scale-plan.jsonl"
TESTS = 500
GROUP = 5000  # rows of a row group
HEAD = f"""## Plans and their runs

What `--dry-run` says, and what the same run then takes: all of MNIST as above, and all of CIFAR-10 for a residual
network of nine convolutions and a linear layer (`loss="cross_entropy_ggn"`, `l2` 0.01, {TESTS} test images,
`dim={DIM}`). Memory is the resident memory of the process at its peak. `python -m benchmarks.scale.plan`, two threads
on two cores.

"""

PASSES = """What the runs' passes come to. "Own" is what the network's forward and C backward passes to all parameters
take alone, over the time of the first pass, in which features are also sketched, hashed and written; "scores" is the
second pass over the whole run.

"""


class Block(nn.Module):
    """Two convolutions beside a shortcut, normalized over groups of channels."""

    def __init__(self, channels: int, wider: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.GroupNorm(4, wider), nn.ReLU(),
            nn.Conv2d(wider, wider, 3, 1, 1, bias=False), nn.GroupNorm(4, wider),
        )  # fmt: skip
        same = channels == wider
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, wider, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Of features [N, channels, H, W]."""
        return torch.relu(self.body(x) + self.shortcut(x))


def residual_network(seed: int = 0) -> nn.Module:
    """Of pictures [3, 32, 32]: a stem, three blocks of two convolutions, a mean over positions, a linear layer."""
    torch.manual_seed(seed)
    stem = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.GroupNorm(4, 16), nn.ReLU()]
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def pictures(split: str, num: int) -> tuple[Tensor, Tensor]:
    """The first images of CIFAR-10, [num, 3, 32, 32] in [0, 1], and their classes."""
    file = pq.ParquetFile(pathlib.Path(os.environ["INFOTORCH_DATA"]) / "cifar10" / f"{split}.parquet")
    rows = file.read_row_groups(range(min(file.num_row_groups, -(-num // GROUP)))).slice(0, num)
    found = [np.array(Image.open(io.BytesIO(one.as_buffer()))) for one in rows["img"].combine_chunks().field("bytes")]
    x = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255
    return x, torch.tensor(rows["label"].to_pylist())


@dataclass(frozen=True, kw_only=True)
class Case:
    """A data set, a network and a training."""

    data: str
    num: int

    def job(self) -> tuple[Task, tuple[Tensor, Tensor], UniqueInformation]:
        """What is scored."""
        if self.data == "MNIST":
            return Task(network().eval()), images("train", self.num), measure()
        tests = pictures("test", TESTS)[0]
        chosen = UniqueInformation(
            space="both", test_data=tests, form="primal", dim=DIM, loss="cross_entropy_ggn", l2=1e-2
        )
        return Task(residual_network().eval()), pictures("train", self.num), chosen


CASES = {
    "mnist": Case(data="MNIST", num=60_000),
    "cifar": Case(data="CIFAR-10", num=50_000),
}


def planned(case: Case) -> dict:
    """The plan, printed."""
    task, data, chosen = case.job()
    with tempfile.TemporaryDirectory() as folder:
        cost = measured(lambda: infotorch.score_plan(task, data, chosen, out=f"{folder}/run", batch_size=BATCH))
    plan: ScorePlan = cost.result
    show_plan(Terminal(), plan, None)
    (each,) = plan.measures
    assert plan.seconds is not None and plan.keeping_seconds is not None
    return {
        "seconds": round(plan.seconds, 1),
        "stages": {"keeping samples": round(plan.keeping_seconds, 1)}
        | {stage: round(s, 1) for stage, s in each.seconds.items() if s is not None},
        "memory_mib": mebibytes(plan.memory),
        "disk_mib": mebibytes(plan.disk("samples", "scores", "features", "outputs")),
        "took": round(cost.seconds, 1),
    }


def taken(case: Case) -> dict:
    """The run."""
    task, data, chosen = case.job()
    stages = Stages()
    with tempfile.TemporaryDirectory() as folder:
        kept = pathlib.Path(folder)
        out = {"out": kept / "run", "features": kept / "features"}
        cost = measured(lambda: infotorch.score(task, data, chosen, **out, batch_size=BATCH, progress=stages))
        kinds = [*kept.rglob("*.npy"), *kept.rglob("*.parquet")]
        size = sum(file.stat().st_size for file in kinds)
    rate = case.num / stages.seconds["features"]
    return {
        "seconds": round(cost.seconds, 1),
        "stages": stages.rounded(),
        "samples_a_second": round(rate),
        "own_share": round(own_share(task.model, data[0], 1 / rate), 3),
        "memory_mib": mebibytes(cost.peak),
        "disk_mib": mebibytes(size),
    }


STEPS = {"plan": planned, "run": taken}


def lines() -> dict[str, dict]:
    """The last line of each case."""
    return {line["case"]["name"]: line for line in read(FILE)}


def table() -> tuple[list[str], list[list[str]]]:
    """Head and rows of the page's table."""
    head = ["", "N", "seconds: planned", "taken", "ratio", "MiB at the peak: planned", "taken", "ratio",
            "MiB on disk: planned", "taken", "the plan took"]  # fmt: skip
    rows = []
    for name, case in CASES.items():
        line = lines()[name]
        cells = [case.data, f"{case.num:,}"]
        for what in ("seconds", "memory_mib", "disk_mib"):
            plan, run = line["plan"][what], line["run"][what]
            cells += [f"{plan:,}", f"{run:,}"] + ([] if what == "disk_mib" else [f"{plan / run:.2f}"])
        rows.append([*cells, f"{line['plan']['took']} s"])
    return head, rows


def passes() -> tuple[list[str], list[list[str]]]:
    """Throughput, and what of the time is the network's own and the second pass's."""
    rows = []
    for name, case in CASES.items():
        run = lines()[name]["run"]
        scores = run["stages"]["scores"] / run["seconds"]
        rows.append([case.data, f"{run['samples_a_second']:,}", f"{run['own_share']:.2f}", f"{scores:.2f}"])
    return ["", "samples a second of the first pass", "own", "scores"], rows


def misses() -> list[str]:
    """Ratios of planned to taken that are too far from 1."""
    found = []
    for name, line in lines().items():
        for what in ("seconds", "memory_mib"):
            ratio = line["plan"][what] / line["run"][what]
            if not 1 / 1.3 <= ratio <= 1.3:
                found.append(f"{name}: {what} planned over taken is {ratio:.2f}")
    return found


def main() -> None:
    """Run all cases, or one, or one step of it."""
    keep_memory()  # as the command does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--step", choices=STEPS, help="this one alone, its result as the last line")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(STEPS[options.step](CASES[options.case])))
        return
    for name in [options.case] if options.case else CASES:
        found = {}
        for step in STEPS:
            words = [sys.executable, "-m", "benchmarks.scale.plan", "--case", name, "--step", step]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
            print(done.stdout)
            found[step] = json.loads(done.stdout.splitlines()[-1])
        case = {"name": name, "data": CASES[name].data, "N": CASES[name].num, "k": DIM}
        append(FILE, "plan", case, found)


if __name__ == "__main__":
    main()
