"""Layers that people have, as pairs of random numbers."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One pair's sizes, where it lies, and how it is raced."""

    name: str
    N: int
    T: int
    I: int
    O: int
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    compiled: bool = False  # the fastest baseline once more, as torch.compile makes it

    def pair(self) -> tuple[Tensor, Tensor]:
        """(a [N, T, I], b [N, T, O])."""
        return self.random(self.N, self.T, self.I, seed=0), self.random(self.N, self.T, self.O, seed=1)

    def random(self, *size: int, seed: int = 2) -> Tensor:
        rng = torch.Generator(self.device).manual_seed(seed)
        return torch.randn(size, generator=rng, device=self.device).to(self.dtype)

    @property
    def sizes(self) -> dict[str, int]:
        return {"N": self.N, "T": self.T, "I": self.I, "O": self.O}

    @property
    def pair_bytes(self) -> int:
        return self.N * self.T * (self.I + self.O) * self.dtype.itemsize


# The four that the project's goals are stated for: an MLP layer, a 3x3 convolution of 16 to 32 channels at 14 x 14, an
# attention projection, a first convolution at 32 x 32.
GOALS = [
    Layer(name="mlp", N=256, T=1, I=512, O=512),
    Layer(name="conv 16 to 32, 14x14", N=64, T=196, I=144, O=32),
    Layer(name="projection", N=64, T=64, I=256, O=256),
    Layer(name="conv 3 to 32, 32x32", N=16, T=1024, I=27, O=32),
]
# ResNet-18's four stages (3x3 convolutions) on images of 32 and of 224 pixels, a transformer block's projections, a
# classifier's head.
MORE = [
    Layer(name="10-class head", N=512, T=1, I=512, O=10),
    Layer(name="resnet18 stage 1, 32x32", N=8, T=1024, I=576, O=64),
    Layer(name="resnet18 stage 2, 16x16", N=8, T=256, I=1152, O=128),
    Layer(name="resnet18 stage 3, 8x8", N=8, T=64, I=2304, O=256),
    Layer(name="resnet18 stage 4, 4x4", N=8, T=16, I=4608, O=512),
    Layer(name="resnet18 stage 1, 56x56", N=4, T=3136, I=576, O=64),
    Layer(name="resnet18 stage 2, 28x28", N=4, T=784, I=1152, O=128),
    Layer(name="resnet18 stage 3, 14x14", N=8, T=196, I=2304, O=256),
    Layer(name="resnet18 stage 4, 7x7", N=8, T=49, I=4608, O=512),
    Layer(name="transformer 768, T=128", N=8, T=128, I=768, O=768),
    Layer(name="transformer 768, T=1024", N=2, T=1024, I=768, O=768),
]
# 16-bit numbers on the CPU, where torch's own products of them compete with widening first.
HALF = [replace(layer, dtype=torch.bfloat16) for layer in GOALS[1:3]]
# What fills a GPU.
ON_GPU = [
    Layer(name="transformer 768, T=1024", N=32, T=1024, I=768, O=768),
    Layer(name="resnet18 stage 1, 56x56", N=64, T=3136, I=576, O=64),
    Layer(name="conv 16 to 32, 14x14", N=512, T=196, I=144, O=32),
    Layer(name="transformer 768, T=128", N=64, T=128, I=768, O=768),
    Layer(name="mlp", N=4096, T=1, I=512, O=512),
    Layer(name="10-class head", N=4096, T=1, I=512, O=10),
]
# For ops that do no more than read it: to launch a kernel takes longer than to read a pair of a few MiB.
WIDE_BATCH = Layer(name="mlp, wide batch", N=1 << 18, T=1, I=512, O=512)
