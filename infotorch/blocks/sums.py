"""Curvature matrices as sums over batches, one class a structure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from infotorch.blocks.arena import Arena
from infotorch.blocks.block import Block
from infotorch.blocks.diagonal import Diagonal
from infotorch.blocks.factors import (
    input_moments,
    output_moments,
    sample_slice,
    seed_squares,
    squared_products,
    summed_squares,
    write_gradients,
)
from infotorch.blocks.full import Full
from infotorch.blocks.kfac import Kfac, Kronecker
from infotorch.blocks.low_rank import LowRank
from infotorch.blocks.parts import Part, wide
from infotorch.capture import Capture, LayerPair
from infotorch.capture.heap import give_back_memory
from infotorch.errors import CaptureError, ConfigError, mebibytes
from infotorch.linalg.symmetric import LowerTriangle, mirror

__all__ = ["SUMS", "DiagonalSum", "Sum"]

STRIP = 512
"""Rows of the full matrix that are multiplied at once, up to the diagonal."""
ROWS_BYTES = 64 * 2**20
"""Of formed gradients, float64, that are multiplied at once."""
ADDED = 2**17
"""Numbers that are converted at once."""
RELEASED = 2**18
"""Numbers of a part whose memory is handed back."""


class Sum(Protocol):
    """A matrix that captures are added to."""

    def __init__(self, shapes: dict[str, torch.Size], limit: int) -> None: ...

    def add(self, part: Part) -> None: ...

    def block(self) -> Block: ...


class FullSum:
    def __init__(self, shapes: dict[str, torch.Size], limit: int) -> None:
        self.shapes, self.P = shapes, sum(shape.numel() for shape in shapes.values())
        if 8 * self.P**2 > limit:
            raise ConfigError(
                f"fisher: memory_limit must hold the full matrix, P = {self.P} (needs {mebibytes(8 * self.P**2)}); got "
                f'{mebibytes(limit)}. Raise memory_limit, restrict params, or pass structure="low_rank".'
            )
        self.values: Tensor | None = None
        self.rows, self.parts = Arena(), Arena()  # a parameter may have any name

    def add(self, part: Part) -> None:
        cap = part.cap
        if self.values is None:
            self.values = cap.outputs.new_zeros((self.P, self.P), dtype=torch.float64)
        step = max(1, ROWS_BYTES // (8 * self.P * cap.K))
        for start in range(0, cap.N, step):
            G = self._rows(cap, slice(start, min(start + step, cap.N)))
            for i in range(0, self.P, STRIP):
                stop = min(i + STRIP, self.P)
                self.values[i:stop, :stop].addmm_(G[:, i:stop].mT, G[:, :stop])

    def _rows(self, cap: Capture, samples: slice) -> Tensor:
        """Gradients of some samples, float64 [n * K, P]."""
        n, device = samples.stop - samples.start, cap.outputs.device
        G = self.rows.take("rows", (n * cap.K, self.P), torch.float64, device)
        for name, place in cap.slices.items():
            if name in cap.unused:
                G[:, place] = 0
        for pair in cap.pairs.values():
            few = sample_slice(pair, samples)
            leading = (n,) if cap.seeds is None else (n, cap.K)
            out = {
                name: self.parts.take(name, (*leading, *shape), pair.b.dtype, device)
                for name, shape in pair.shapes.items()
            }
            write_gradients(few, out)
            for name, g in out.items():
                G[:, cap.slices[name]] = g.view(n * cap.K, -1)
        return G

    def block(self) -> Block:
        assert self.values is not None
        mirror(self.values)
        return Full(shapes=self.shapes, values=self.values)


class DiagonalSum:
    def __init__(self, shapes: dict[str, torch.Size], limit: int) -> None:
        self.shapes = shapes
        self.parts: dict[str, Tensor] = {}
        self.batch: dict[str, Tensor] = {}
        self.squares: dict[str, LayerPair] = {}

    def each(self, pair: LayerPair) -> None:
        """Add a pair of this batch, or of one seed of it."""
        weight = next(iter(pair.shapes))
        if pair.T == 1 and pair.b.dim() == 4:  # multiplied by the squares of a when all seeds are there
            seeds = seed_squares(pair)
            if weight in self.squares:
                self.squares[weight].b.add_(seeds.b)
            else:
                self.squares[weight] = seeds
            return
        self._merge(summed_squares(pair))

    def add(self, part: Part) -> None:
        cap = part.cap
        for pair in cap.pairs.values():
            self.each(pair)
        for weight in list(self.squares):
            self._merge(squared_products(self.squares.pop(weight)))
        self.parts |= self.batch
        self.batch.clear()
        for name in cap.unused:
            if name not in self.parts:
                self.parts[name] = wide(cap.outputs.new_zeros(self.shapes[name]))

    def _merge(self, found: dict[str, Tensor]) -> None:
        """The first batch stays in its dtype; sums over batches are in float64, which no second one is held beside."""
        for name in list(found):
            squares = found.pop(name)
            if name in self.parts:
                total = self.parts[name]
                if total.dtype != torch.float64:
                    self.parts[name] = total = total.double()
                    _released(total.shape)
                _add_wide(total, squares)
            elif name in self.batch:
                self.batch[name] += squares
            else:
                self.batch[name] = squares

    def block(self) -> Block:
        return Diagonal(shapes=self.shapes, values={name: self.parts[name] for name in self.shapes})


class LowRankSum:
    def __init__(self, shapes: dict[str, torch.Size], limit: int) -> None:
        self.shapes, self.limit = shapes, limit
        self.pieces: dict[str, list[Tensor]] = {name: [] for name in shapes}
        self.nbytes = 0

    def add(self, part: Part) -> None:
        cap = part.cap
        R, P = cap.N * cap.K, cap.P
        dtypes = cap.dtypes
        self.nbytes += R * sum(shape.numel() * dtypes[name].itemsize for name, shape in self.shapes.items())
        if self.nbytes > self.limit:
            raise ConfigError(
                f"fisher: memory_limit must hold the rows, P = {P} numbers each (needs at least "
                f"{mebibytes(self.nbytes)}); got {mebibytes(self.limit)}. Raise memory_limit, pass fewer samples or "
                'labels=("mc", 1, seed), or structure="kfac".'
            )
        leading = (cap.N,) if cap.seeds is None else (cap.N, cap.K)
        for pair in cap.pairs.values():
            out = {name: pair.b.new_empty(*leading, *shape) for name, shape in pair.shapes.items()}
            write_gradients(pair, out)
            for name, g in out.items():
                self.pieces[name].append(g.view(R, -1))
        for name in cap.unused:
            self.pieces[name].append(wide(cap.outputs.new_zeros(R, self.shapes[name].numel())))

    def block(self) -> Block:
        rows = {}
        for name in self.shapes:
            rows[name] = self.pieces[name][0] if len(self.pieces[name]) == 1 else torch.cat(self.pieces[name])
            self.pieces[name].clear()
        return LowRank(shapes=self.shapes, rows=rows)


@dataclass(kw_only=True)
class _Factors:
    """The sums of one layer."""

    held: list[Tensor | LowerTriangle]
    """A and B: the first batch's as they came, sums over batches in float64."""
    positions: int
    transposed: bool
    summed_in: torch.dtype

    def add(self, pair: LayerPair, again: bool) -> None:
        """``again`` with more seeds of samples whose inputs were counted."""
        for i, moments in enumerate((input_moments, output_moments)):  # one at a time: each may be large
            if again and i == 0:
                continue
            more, held = _grouped(pair, moments), self.held[i]
            total = held if isinstance(held, LowerTriangle) else LowerTriangle(held)
            total.add_(more)
            self.held[i] = total
            del held, more
            _released(total.shape)
        self.positions += 0 if again else pair.N * pair.T


class KfacSum:
    def __init__(self, shapes: dict[str, torch.Size], limit: int) -> None:
        self.shapes = shapes
        self.layers: dict[tuple[str, ...], _Factors] = {}
        self.rest = DiagonalSum(shapes, limit)

    def add(self, part: Part) -> None:
        cap = part.cap
        factored = {name: pair for name, pair in cap.pairs.items() if _has_factors(pair)}
        for pair in factored.values():
            names = tuple(pair.shapes)
            if names in self.layers:
                self.layers[names].add(pair, again=part.seeds.start > 0)
            else:
                self.layers[names] = _Factors(
                    held=[_grouped(pair, input_moments), _grouped(pair, output_moments)],
                    positions=pair.N * pair.T,
                    transposed=pair.transposed,
                    summed_in=pair.b.dtype,
                )
        rest = {name: pair for name, pair in cap.pairs.items() if name not in factored}
        self.rest.add(replace(part, cap=replace(cap, pairs=rest)))

    def block(self) -> Block:
        layers = {name for names in self.layers for name in names}
        diagonal = {name: part for name, part in self.rest.parts.items() if name not in layers}
        for name in layers & set(self.rest.parts):
            if self.rest.parts[name].any():
                raise CaptureError(
                    f"fisher: every batch must use the same layers; got {name!r} as a matrix in some batches alone. "
                    "Leave it out with params=[...]."
                )
        factors = tuple(
            Kronecker(
                weight=names[0],
                bias=names[1] if len(names) > 1 else None,
                A_held=layer.held[0],
                B_held=layer.held[1],
                positions=layer.positions,
                transposed=layer.transposed,
                summed_in=layer.summed_in,
            )
            for names, layer in self.layers.items()
        )
        return Kfac(shapes=self.shapes, factors=factors, diagonal=diagonal)


def _has_factors(pair: LayerPair) -> bool:
    """The matrix of a dense layer, whose ``a`` holds inputs and whose ``b`` holds gradients.

    A table has a one-hot input. A head that is tied to a table has both in both factors: it is transposed as the table
    is and has its weight alone, where other transposed weights have a bias. What is formed has a single in-feature and
    stands under its own name, as do weights that are not called "weight".
    """
    if pair.in_features is not None or (pair.transposed and not pair.bias):
        return False
    weight = next(iter(pair.shapes))
    return pair.name != weight or pair.bias or (len(pair.shapes[weight]) > 1 and pair.I > 1)


def _grouped(pair: LayerPair, moments: Callable[[LayerPair, int], Tensor]) -> Tensor:
    """Of every group of a batch's pair, [groups, n, n]."""
    first, *others = [moments(pair, g) for g in range(pair.groups)]
    return torch.stack([first, *others]) if others else first[None]


def _released(shape: torch.Size) -> None:
    """After a batch's part has gone into its sum: what is free does not fit what follows."""
    if shape.numel() >= RELEASED:
        give_back_memory()


def _add_wide(total: Tensor, part: Tensor) -> None:
    """Add float32 to float64 in place, some rows at a time: torch would convert all of ``part`` first."""
    rows = total.shape[0] if total.dim() else 0
    step = max(1, ADDED // max(1, total.numel() // max(1, rows)))
    if step >= rows:
        total += part
        return
    for mine, theirs in zip(total.split(step), part.split(step), strict=True):
        mine += theirs


SUMS: dict[str, Callable[[dict[str, torch.Size], int], Sum]] = {
    "full": FullSum,
    "diagonal": DiagonalSum,
    "low_rank": LowRankSum,
    "kfac": KfacSum,
}
