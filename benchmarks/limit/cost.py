"""What an epoch of LIMIT costs, against cross-entropy. Run: python -m benchmarks.limit.cost.

Processor seconds of the training steps alone, on the MNIST set-up, epoch by epoch in turns. Cross-entropy of the
classifier alone, in the loop that everybody writes; of both networks, one after the other, which is what two networks
cost without LIMIT; both again with Adam in the fused form that is LIMIT's default; and LIMIT as the acceptance runs it,
meter and scores included.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.limit import noisy_data
from benchmarks.limit.mnist import LIMIT_L, RESULTS, mlp
from benchmarks.limit.training import LR, Shuffled, networks
from benchmarks.record import append
from infotorch.train import LimitTrainer

COST = "an epoch's cost"
ONE, BOTH = "ce, one network", "ce, both networks"
TURNS = 11


def cross_entropy(*nets: nn.Module, fused: bool | None = None) -> Callable[[Shuffled], None]:
    """An epoch in which each network is trained by itself."""
    optimizers = [torch.optim.Adam(network.parameters(), LR, fused=fused) for network in nets]

    def epoch(batches: Shuffled) -> None:
        for x, y, _ids in batches:
            for network, optimizer in zip(nets, optimizers, strict=True):
                optimizer.zero_grad()
                F.cross_entropy(network(x), y).backward()
                optimizer.step()

    return epoch


def limit(classifier: nn.Module, aux: nn.Module) -> Callable[[Shuffled], None]:
    trainer = LimitTrainer(classifier, aux, q=LIMIT_L.q, beta=LIMIT_L.beta, lr=LR, reduction="reference")

    def epoch(batches: Shuffled) -> None:
        for batch in batches:
            trainer.step(batch)
        trainer.end_epoch()

    return epoch


def main() -> None:
    torch.set_num_threads(1)
    data = noisy_data.mnist(noisy_data.folder(), 0.8, 0)
    epochs = {
        ONE: cross_entropy(networks(mlp, 0)[0]),
        BOTH: cross_entropy(*networks(mlp, 0)),
        f"{ONE}, fused": cross_entropy(networks(mlp, 0)[0], fused=True),
        f"{BOTH}, fused": cross_entropy(*networks(mlp, 0), fused=True),
        str(LIMIT_L): limit(*networks(mlp, 0)),
    }
    batches = Shuffled(data.x, data.given, torch.Generator().manual_seed(7))
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(1 + TURNS):
        for name, epoch in epochs.items():
            start = time.process_time()
            epoch(batches)
            if turn:  # the first one is warm-up
                times[name].append(time.process_time() - start)
    median = {name: statistics.median(values) for name, values in times.items()}
    ours = median[str(LIMIT_L)]
    ratios = {name: ours / seconds for name, seconds in median.items() if name != str(LIMIT_L)}
    for name, ratio in ratios.items():
        print(f"an epoch of {LIMIT_L} takes {ours:.3f} s: {ratio:.2f} times {name} ({median[name]:.3f} s)", flush=True)
    append(RESULTS, COST, {"method": str(LIMIT_L)}, {"cpu_seconds": times, "median": median, "ratio": ratios})


if __name__ == "__main__":
    main()
