"""One run shared by 1, 2 and 4 processes of one thread each: seconds, and whether the bytes are those of one.

python -m benchmarks.scale.ranks [--samples 6000]; INFOTORCH_DATA names the folder of mnist.npz. The network, sketch and
tests are those of benchmarks.scale.mnist. One line a number of processes goes to benchmarks/results/scale-ranks.jsonl;
seconds are from the start of the first process to the end of the last, imports included.
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import torch

import infotorch
from benchmarks.record import append
from benchmarks.scale.mnist import BATCH, TESTS, images, network
from infotorch import Task, UniqueInformation
from infotorch.cli.torchrun import process_group


def digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file, by name."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def work(num: int, out: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    measure = UniqueInformation(
        space="both", test_data=images("test", TESTS)[0], form="primal", dim=1024, lr=0.1, steps=1000, l2=1e-4
    )
    group = process_group()
    infotorch.score(Task(network().eval()), images("train", num), measure, out=out, batch_size=BATCH, group=group)


def main() -> None:
    """Start the processes, print and append a line a number of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--out")
    options = parser.parse_args()
    if options.out:
        work(options.samples, options.out)
        return
    truth = None
    with tempfile.TemporaryDirectory() as folder:
        for processes in (1, 2, 4):
            out = pathlib.Path(folder) / str(processes)
            words = ["-m", "benchmarks.scale.ranks", "--samples", str(options.samples), "--out", str(out)]
            several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
            start = time.perf_counter()
            line = [sys.executable, *(several if processes > 1 else []), *words]
            subprocess.run(line, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            seconds = time.perf_counter() - start
            found = digests(out)
            truth = truth or found
            case = {"data": "MNIST", "N": options.samples, "C": 10, "k": 1024, "M": TESTS, "processes": processes}
            measured = {"seconds": round(seconds, 1), "same_bytes": found == truth, "cores": os.cpu_count()}
            append("scale-ranks.jsonl", "ranks", case, measured)
            print(case, measured)


if __name__ == "__main__":
    main()
