"""10,000 pictures of CIFAR-10, two fifths of their labels wrong: cross-entropy against LIMIT.

python -m benchmarks.limit.cifar [--seed 0] [ce limit_g limit_l]
"""

import argparse

import torch
from torch import nn

from benchmarks.limit import noisy_data
from benchmarks.limit.mnist import LIMIT_G, LIMIT_L
from benchmarks.limit.training import Method, trained
from benchmarks.record import append, read

RESULTS = "limit-cifar10.jsonl"
TRAINING = "a training"
NOISE, EPOCHS = 0.4, 12
METHODS: dict[str, Method] = {"ce": "ce", "limit_g": LIMIT_G, "limit_l": LIMIT_L}


def cnn() -> nn.Sequential:
    """Four convolutions, of 32, 32, 64 and 256 channels, with batch normalization and ReLU; 128 hidden units."""
    sizes = [(3, 32, 4, 2, 1), (32, 32, 4, 2, 1), (32, 64, 3, 2, 0), (64, 256, 3, 1, 0)]
    convolutions = [
        layer
        for i, o, kernel, stride, padding in sizes
        for layer in (nn.Conv2d(i, o, kernel, stride, padding), nn.BatchNorm2d(o), nn.ReLU())
    ]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


def records() -> dict[tuple[str, int], dict]:
    """What was measured, by method and seed; the last line of each."""
    return {(line["case"]["method"], line["case"]["seed"]): line for line in read(RESULTS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", choices=METHODS, default=["ce", "limit_g"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = noisy_data.cifar10(noisy_data.folder(), NOISE, options.seed)
    for name in options.methods:
        method = METHODS[name]
        found = trained(method, data, cnn, seed=options.seed, epochs=EPOCHS, noise=NOISE)
        append(RESULTS, TRAINING, {"noise": NOISE, "method": str(method), "seed": options.seed}, found)
        print(
            f"{method!s:16} seed {options.seed}: test {found['test_last']:.1f}, memorised {found['memorised']} of "
            f"{found['mislabelled']}, {found['seconds'] * EPOCHS:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
