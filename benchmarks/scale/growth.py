"""A run on disk of 3,000, 10,000 and 30,000 images of MNIST: how time and memory grow.

python -m benchmarks.scale.growth runs each size in a process of its own; --num N runs one in this one. Network and
training are those of benchmarks.scale.mnist. One line a run goes to benchmarks/results/scale-growth.jsonl.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import infotorch
from benchmarks.record import append, read
from benchmarks.scale.mnist import BATCH, TESTS, Stages, images, network
from infotorch import Task, UniqueInformation
from infotorch.cli.memory import keep_memory
from infotorch.pipeline.meter import measured, resident

FILE = "scale-growth.jsonl"
SIZES = (3000, 10_000, 30_000)
DIM = 1024
HEAD = f"""## Growth

A run on disk of the first N images of MNIST ({TESTS:,} test images, `dim={DIM}`, 1,000 steps of gradient descent at
0.1, `l2` 1e-4) for the network of `benchmarks/scale/mnist.py`, 10 outputs, by stage, in seconds; test features are
counted with the moments, the eigendecomposition with the fidelity. The peak is of resident memory, less what is there
before the run: libraries, network and all images. `python -m benchmarks.scale.growth`, two threads on two cores.

"""


def measure() -> UniqueInformation:
    """In the primal form."""
    return UniqueInformation(
        space="both", test_data=images("test", TESTS)[0], form="primal", dim=DIM, lr=0.1, steps=1000, l2=1e-4
    )


def one(num: int) -> None:
    """Score ``num`` images, print and append a line."""
    data = images("train", num)
    task, chosen, stages = Task(network().eval()), measure(), Stages()
    before = resident()
    with tempfile.TemporaryDirectory() as folder:
        out, features = f"{folder}/run", pathlib.Path(f"{folder}/features")
        cost = measured(
            lambda: infotorch.score(task, data, chosen, out=out, features=features, batch_size=BATCH, progress=stages)
        )
        kept = sum(file.stat().st_size for file in features.rglob("*.npy"))
    case = {"data": "MNIST", "N": num, "C": 10, "k": DIM, "M": TESTS}
    found = {
        "seconds": round(cost.seconds, 1),
        "stages": {stage: round(s, 1) for stage, s in stages.seconds.items()},
        "before_mib": mebibytes(before),
        "peak_mib": mebibytes(cost.peak),
        "features_mib": mebibytes(kept),
    }
    append(FILE, "growth", case, found)
    print(case, found)


def mebibytes(num: int | None) -> int:
    """Of a number of bytes that is known."""
    assert num is not None, "only Linux tells"
    return round(num / 2**20)


def lines() -> dict[int, dict]:
    """The last line of each size."""
    return {line["case"]["N"]: line for line in read(FILE)}


def table() -> tuple[list[str], list[list[str]]]:
    """Head and rows of the page's table."""
    stages = ("keeping samples", "features", "moments", "scores", "fidelity")
    head = ["N", *stages, "seconds in all", "ms a sample", "without fidelity", "peak less data, MiB", "features, MiB"]
    rows = []
    for num in SIZES:
        line = lines()[num]
        own = line["peak_mib"] - line["before_mib"]
        times = [f"{line['stages'][stage]:.1f}" for stage in stages]
        each = [f"{1000 * took / num:.2f}" for took in (line["seconds"], line["seconds"] - line["stages"]["fidelity"])]
        rows.append([f"{num:,}", *times, f"{line['seconds']:.1f}", *each, f"{own:,}", f"{line['features_mib']:,}"])
    return head, rows


def main() -> None:
    """Run all sizes, or one."""
    keep_memory()  # as the command does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int)
    num = parser.parse_args().num
    if num is not None:
        return one(num)
    for each in SIZES:
        subprocess.run([sys.executable, "-m", "benchmarks.scale.growth", "--num", str(each)], check=True)


if __name__ == "__main__":
    main()
