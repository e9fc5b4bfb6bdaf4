"""The networks of the race, each with a batch. Written here, as their authors' readers would write them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY = 1000


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network in eval mode, a batch and a loss."""

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor
    objective: nn.Module = field(default_factory=lambda: nn.CrossEntropyLoss(reduction="sum"))
    """torch's module of the loss, a sum over samples and their positions; outputs are [N, C] or [N, T, C]."""

    @property
    def N(self) -> int:
        return len(self.x)

    def total(self, outputs: Tensor) -> Tensor:
        """The batch's loss."""
        return self.objective(outputs.flatten(0, -2), self.y.flatten(0, outputs.dim() - 2))

    def each(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N], the samples' losses."""
        one = type(self.objective)(reduction="none")
        return one(outputs.flatten(0, -2), y.flatten(0, outputs.dim() - 2)).view(len(outputs), -1).sum(1)

    def apart(self) -> "Problem":
        """The same with a model of its own, for a library that changes it."""
        return replace(self, model=copy.deepcopy(self.model), objective=copy.deepcopy(self.objective))

    def double(self) -> "Problem":
        """The same in float64."""
        x, y = (t.double() if t.is_floating_point() else t for t in (self.x, self.y))
        return replace(self, model=copy.deepcopy(self.model).double(), x=x, y=y)

    def single(self) -> "Problem":
        """The same in float32."""
        x, y = (t.float() if t.is_floating_point() else t for t in (self.x, self.y))
        return replace(self, model=copy.deepcopy(self.model).float(), x=x, y=y)

    def first(self, count: int) -> "Problem":
        """The same with fewer samples."""
        return replace(self, x=self.x[:count], y=self.y[:count])

    def weights_of(self, kinds: tuple[type[nn.Module], ...]) -> "Problem":
        """The same with all parameters frozen but the weights of such layers."""
        other = self.apart()
        kept = {id(module.weight) for module in other.model.modules() if isinstance(module, kinds)}
        for p in other.model.parameters():
            p.requires_grad_(p.requires_grad and id(p) in kept)
        return other

    @property
    def params(self) -> dict[str, Tensor]:
        """Those that require grad, in order."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(groups, width)
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.GroupNorm(groups, width))
            if stride > 1 or inputs != width
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


def resnet(widths: list[int], blocks: int, groups: int) -> nn.Module:
    """A residual network for pictures of 32 pixels: a stem, then stages that halve the side."""
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.GroupNorm(groups, widths[0]), nn.ReLU()]
    inputs = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(Residual(inputs, width, 2 if stage and not block else 1, groups))
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


class Block(nn.Module):
    """Pre-norm self-attention and a feed-forward of four times the width."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # [N, T, width]
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)  # [N, heads, T, width / heads]
        x = x + self.out(h.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Encoder(nn.Module):
    """Token embeddings with fixed sinusoidal positions, blocks, mean over positions, 10 classes."""

    def __init__(self, width: int, heads: int, depth: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)
        angle = torch.arange(length)[:, None] / 1e4 ** (torch.arange(0, width, 2) / width)
        self.register_buffer("positions", torch.cat([angle.sin(), angle.cos()], 1))  # [T, width]

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.positions)).mean(1))


class GPT(nn.Module):
    """Learnt positions, looked up once for all samples; causal blocks; a head that is the token table."""

    def __init__(self, width: int, heads: int, depth: int, length: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight
        for table in (self.tokens, self.positions):  # GPT-2's; at 1, the head's probabilities would be 0 or 1
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:  # [N, T, vocabulary]
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x)))


class LoRA(nn.Module):
    """Hu et al., "LoRA" (arXiv:2106.09685), section 4.1: a frozen Linear and a product of two narrow ones."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def with_lora(model: GPT, rank: int) -> GPT:
    """Adapters on every Linear of the blocks; all else frozen."""
    model.requires_grad_(False)
    for block in model.blocks:
        for name in ("qkv", "out", "up", "down"):
            setattr(block, name, LoRA(getattr(block, name), rank))
    return model


def _pictures(name: str, model: nn.Module, N: int) -> Problem:
    return Problem(name=name, model=model.eval(), x=torch.randn(N, 3, 32, 32), y=torch.randint(10, (N,)))


def _texts(name: str, model: nn.Module, N: int, T: int, *, per_token: bool) -> Problem:
    ids = torch.randint(VOCABULARY, (N, T + 1))
    y = ids[:, 1:] if per_token else torch.randint(10, (N,))
    return Problem(name=name, model=model.eval(), x=ids[:, :-1].contiguous(), y=y.contiguous())


def mlp() -> Problem:
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    return Problem(name="mlp", model=model.eval(), x=torch.randn(32, 784), y=torch.randint(10, (32,)))


def _cnn(normed: bool) -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 3
    for width, stride in ((32, 1), (64, 2), (64, 2), (128, 2)):
        layers += [nn.Conv2d(inputs, width, 3, stride, 1), *([nn.GroupNorm(8, width)] if normed else []), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


NETS: dict[str, Callable[[], Problem]] = {
    "mlp": mlp,
    "cnn": lambda: _pictures("cnn", _cnn(False), 32),
    "cnn-gn": lambda: _pictures("cnn-gn", _cnn(True), 32),
    "resnet8": lambda: _pictures("resnet8", resnet([16, 32, 64], 1, 4), 32),
    "resnet18": lambda: _pictures("resnet18", resnet([64, 128, 256, 512], 2, 8), 8),
    "tfm": lambda: _texts("tfm", Encoder(128, 4, 2, 32), 32, 32, per_token=False),
    "gpt": lambda: _texts("gpt", GPT(128, 4, 4, 64), 16, 64, per_token=True),
    "gpt-lora": lambda: _texts("gpt-lora", with_lora(GPT(128, 4, 4, 64), 8), 16, 64, per_token=True),
}


def build(name: str) -> Problem:
    """The problem of that name, with the same numbers each time."""
    torch.manual_seed(0)
    return NETS[name]()
