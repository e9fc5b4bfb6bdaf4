"""f-CMI against the gap on MNIST, 4 v 9, by n: the first experiment of arXiv 2110.01584.

``python -m benchmarks.bounds.mnist [n ...]`` makes the runs that are missing under .cache/bounds and appends a line for
each checkpoint. Killed, it goes on with the same command.
"""

import pathlib
import sys
import time

from benchmarks.bounds.digits import cnn, pool
from benchmarks.record import append, read
from infotorch import bounds

RESULTS = "bounds-mnist.jsonl"
RUNS = pathlib.Path(__file__).parents[2] / ".cache" / "bounds"
K1, K2 = 5, 30
LR, BATCH = 1e-3, 128
EPOCHS = {75: 200, 250: 100, 1000: 30}
"""The paper's are 200 throughout."""
CHECKPOINTS = 10
IDS = ("fcmi", "ecmi", "ld", "ld_flat", "kl")


def experiment(n: int, workers: int = 2) -> None:
    """Makes the runs of one n, and appends what they give."""
    x, y = pool()
    epochs = EPOCHS[n]
    marks = list(range(epochs // CHECKPOINTS, epochs + 1, epochs // CHECKPOINTS))
    ensemble = bounds.conv_ensemble(cnn, x, y, lr=LR, batch_size=BATCH, epochs=epochs, optimizer="adam")
    begun, done = time.perf_counter(), 0

    def progress(stage: str, now: int, total: int, note: str) -> None:
        nonlocal done
        done = now
        print(f"n = {n}: {now} of {total} runs, {time.perf_counter() - begun:.0f} s  {note}", flush=True)

    plan = bounds.plan(len(y), n, K1, K2)
    grid = bounds.run(
        plan, None, RUNS / f"mnist-{n}", labels=y, ensemble=ensemble, ensemble_size=15, checkpoints=marks, items=x,
        workers=workers, progress=progress,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    cell_seconds = bounds.status(grid).seconds
    for epoch in marks:
        found = bounds.estimate(grid, bounds=IDS, checkpoint=epoch)
        case = {"n": n, "K1": K1, "K2": K2, "epoch": epoch, "epochs": epochs}
        append(RESULTS, "mnist 4 v 9", case, {"report": found.as_dict(), "run_seconds": cell_seconds,
                                              "wall_seconds": round(seconds, 1), "workers": workers})  # fmt: skip
    print(found, flush=True)


def main(sizes: list[int]) -> None:
    told = {line["case"]["n"] for line in read(RESULTS)}
    for n in sizes or [n for n in EPOCHS if n not in told]:
        experiment(n)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
