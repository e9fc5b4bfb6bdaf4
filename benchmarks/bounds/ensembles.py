"""Ensembles against a loop over ordinary models. Run: python -m benchmarks.bounds.ensembles [threads] [case].

Thirty perceptrons 64-32-2 (n = 75, batches of 25, 20 epochs, SGD with momentum) and the four-layer CNN of the f-CMI
paper (n = 75, one batch a step, Adam). The loop indexes whole batches, has no DataLoader, and is also run with torch's
fused optimiser. All train on the same samples, in turns. With one thread the seconds are the processor's, which other
work on the machine disturbs less; with more they are the clock's. Of the CNN a stack of members and a few epochs are
timed, because its steps are all alike; the time is given for a member and epoch, with the rate of multiply-adds as a
share of this machine's rate for a large matrix product.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import append
from infotorch.bounds.ensembles.conv_ensemble import conv_ensemble
from infotorch.bounds.ensembles.ensemble import order_generator
from infotorch.bounds.ensembles.initial import initial_network
from infotorch.bounds.ensembles.mlp_ensemble import mlp_ensemble
from infotorch.bounds.ensembles.vmap_ensemble import vmap_ensemble

RESULTS = "bounds-ensembles.jsonl"
N, TRAINED = 361, 75
MLP = {"lr": 0.05, "momentum": 0.9, "batch_size": 25, "epochs": 20}
CNN = {"lr": 1e-3, "batch_size": 128, "epochs": 10, "optimizer": "adam"}
MEMBERS = {"mlp": 30, "cnn": 8}
TURNS = {"mlp": 4, "cnn": 5}
# Multiply-adds of a sample's pass: forward, and twice that backward but for the first layer's input.
CNN_MACS = 3 * (32 * 16 * 196 + 32 * 512 * 49 + 64 * 288 * 9 + 256 * 576 + 256 * 128 + 128 * 2) - 32 * 16 * 196


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 4, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 256, 3), nn.BatchNorm2d(256), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 2),
    )  # fmt: skip


def loop(
    network: Callable[[], nn.Module], x: Tensor, y: Tensor, cells: list[tuple], fused: bool | None, options: dict
) -> Tensor:
    """Logits [E, 75, C] of models trained one after the other."""
    out = []
    for rows, seed in cells:
        model = initial_network("loop", network, seed)
        if options.get("optimizer") == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), options["lr"], fused=fused)
        else:
            optimizer = torch.optim.SGD(model.parameters(), options["lr"], options["momentum"], fused=fused)
        generator = order_generator(seed)
        x_train, y_train = x[rows], y[rows]
        for _ in range(options["epochs"]):
            for part in torch.randperm(len(rows), generator=generator).split(options["batch_size"]):
                optimizer.zero_grad()
                F.cross_entropy(model(x_train[part]), y_train[part]).backward()
                optimizer.step()
        with torch.no_grad():
            out.append(model.eval()(x[:TRAINED]))
    return torch.stack(out)


def gemm_rate() -> float:
    """Multiply-adds a second of a float32 product of 1024 x 1024 matrices, at best."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 1024**3 / min(times)


def measure(case: str, threads: int) -> None:
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    shape, network, options = ((64,), mlp, MLP) if case == "mlp" else ((1, 28, 28), cnn, CNN)
    x = torch.rand(N, *shape, generator=generator)
    y = (x.flatten(1)[:, :32].mean(1) > 0.5).long()
    cells = [(torch.randperm(N, generator=generator)[:TRAINED].numpy(), seed) for seed in range(MEMBERS[case])]
    rivals = {
        "loop": lambda: loop(network, x, y, cells, None, options),
        "loop, fused": lambda: loop(network, x, y, cells, True, options),
    }
    if case == "mlp":
        ensemble = mlp_ensemble(x, y, hidden=32, num_classes=2, **options)
        by_vmap = vmap_ensemble(mlp, x, y, **options)
        rivals |= {"vmap_ensemble": lambda: by_vmap.logits(cells, range(TRAINED))}
    else:
        ensemble = conv_ensemble(cnn, x, y, **options)
    ours = f"{case}_ensemble" if case == "mlp" else "conv_ensemble"
    calls = rivals | {ours: lambda: ensemble.logits(cells, range(TRAINED))}
    times: dict[str, list[float]] = {name: [] for name in calls}
    clock = time.process_time if threads == 1 else time.perf_counter
    rates = []
    for turn in range(1 + TURNS[case]):
        rates.append(gemm_rate())
        for name, call in calls.items():
            start = clock()
            call()
            if turn:  # the first one is warm-up
                times[name].append(clock() - start)
    median = {name: statistics.median(values) for name, values in times.items()}
    best = min(median[name] for name in ("loop", "loop, fused"))
    ratios = {name: best / seconds for name, seconds in median.items()}
    measured = {"seconds": times, "median": median, "speedup": ratios, "gemm_gmac_per_s": max(rates) / 1e9}
    for name, seconds in median.items():
        print(f"{case} {threads} thread(s) {name:14} {seconds:8.3f} s  x{ratios[name]:.2f} of the faster loop", end="")
        if case == "cnn":
            step = seconds / len(cells) / options["epochs"]
            share = CNN_MACS * TRAINED / step / max(rates)
            measured.setdefault("ms_a_step", {})[name] = 1e3 * step
            measured.setdefault("share_of_gemm", {})[name] = share
            print(f"  {1e3 * step:6.2f} ms a step, {100 * share:.0f} % of the product's rate", end="")
        print(flush=True)
    append(RESULTS, "ensembles", {"case": case, "members": len(cells), "n": TRAINED, **options}, measured)


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for case in sys.argv[2:] or MEMBERS:
        measure(case, threads)


if __name__ == "__main__":
    main()
