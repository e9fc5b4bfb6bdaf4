"""One layer's part of a kernel of Jacobians, added to a float64 matrix tile by tile.

A block is the pair of one layer over one batch; rows of the matrix are (sample, seed), sample-major. There are four
routes, chosen by shape alone. All multiply in float64 what was captured, since the scores that stand on a kernel
magnify its rounding by its condition number. A tile is one batch against another, whatever is held in memory beside
them, so that its bits depend on neither.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from infotorch import ops
from infotorch.blocks.factors import group
from infotorch.capture import LayerPair

__all__ = ["Formed", "LookedUp", "Route", "route_of", "tiles"]

FORMED_ELEMENTS = 2**24
"""Elements of the formed gradients of all rows that are held at once (128 MiB)."""
FORMED_WIDTH = (1024, 2048)
"""Fewest and most columns of them: enough for a full-rate product, and a small problem's stay in a cache."""
STRIP = 64
"""Rows of a symmetric tile that are added at once, up to the diagonal."""
LOOKUP = 8
"""Multiply-adds of a full-rate product in the time of one between two looked up columns, or of finding them."""
POSITION_ROWS = 1024
"""Positions of a sub-tile of the position route, whose square stays in cache."""


class Route(Protocol):
    """A way to add one layer to the matrix."""

    def add(self, K: Tensor, rows: Sequence[LayerPair], cols: Sequence[LayerPair], symmetric: bool) -> None:
        """Add to K [n, C, m, C'], in its lower triangle of tiles where ``symmetric``."""

    def work(self, pair: LayerPair, num_rows: int, num_cols: int, batch: int) -> int:
        """Bytes beside the pairs and the matrix, for so many samples of either side; ``pair`` is of one sample."""


def route_of(pair: LayerPair, num_rows: int, num_cols: int) -> Route:
    """The cheaper route for a layer in a matrix of so many (sample, seed) rows and columns; gradients.md, section 3.

    Multiply-adds of forming: (R + R') T I O + R R' I O; of positions: R R' T^2 (O + I / K^2 + 1); of looked up columns,
    on the CPU: at most R R' T (O + 1), at a lower rate.
    """
    T, I, O, K = pair.T, pair.I + pair.bias, pair.groups * pair.O, pair.b.shape[1]
    if T == 1 and pair.groups == 1:
        return Outer()
    inner = 1 if pair.in_features is not None else pair.I
    forming = (num_rows + num_cols) * T * I * O + num_rows * num_cols * I * O
    positions = num_rows * num_cols * T * T * (O + pair.groups * inner / K**2 + pair.groups)
    looked_up = LOOKUP * num_rows * num_cols * min(T, pair.I) * (O + pair.groups)
    if pair.in_features is not None and pair.b.is_cpu and looked_up < min(forming, positions):
        return LookedUp()
    if positions < forming:
        return Positions()
    width = min(max(FORMED_ELEMENTS // max(num_rows, num_cols), FORMED_WIDTH[0]), FORMED_WIDTH[1])
    return Formed(max(1, width // (pair.groups * I)))


def tiles(
    rows: Sequence[LayerPair], cols: Sequence[LayerPair], symmetric: bool
) -> Iterator[tuple[int, int, slice, slice]]:
    """(i, j, samples of block i, samples of block j), those with j <= i where ``symmetric``."""
    row_starts, col_starts = _starts(rows), _starts(cols)
    for i in range(len(rows)):
        for j in range(i + 1 if symmetric else len(cols)):
            yield i, j, slice(*row_starts[i : i + 2]), slice(*col_starts[j : j + 2])


def _starts(blocks: Sequence[LayerPair]) -> list[int]:
    starts = [0]
    for block in blocks:
        starts.append(starts[-1] + block.N)
    return starts


class Outer:
    """One position: <G, G'> = (a.a' + 1)(b.b'), and under unit seeds b.b' is the identity. No seed repeats a."""

    def add(self, K: Tensor, rows: Sequence[LayerPair], cols: Sequence[LayerPair], symmetric: bool) -> None:
        wide = [(_inputs(block), _cotangents(block)) for block in rows]
        wide_cols = wide if rows is cols else [(_inputs(block), _cotangents(block)) for block in cols]
        for i, j, n, m in tiles(rows, cols, symmetric):
            (a, b), (a2, b2) = wide[i], wide_cols[j]
            aa = _agreement(a, a2, rows[i].bias)  # [N, M]
            tile = K[n, :, m]  # [N, C, M, C]
            if b is None or b2 is None:
                tile.diagonal(dim1=1, dim2=3).add_(aa[:, :, None])
                continue
            bb = _square(b) if symmetric and i == j else b @ b2.mT
            tile.addcmul_(bb.view(tile.shape), aa[:, None, :, None])

    def work(self, pair: LayerPair, num_rows: int, num_cols: int, batch: int) -> int:
        C = pair.b.shape[1]
        size = (num_rows + num_cols) * (pair.I + (0 if pair.unit else C * pair.O)) + batch**2 * (C**2 + 1)
        return 8 * size


class Formed:
    """Gradients are formed, some of their rows at a time, and multiplied."""

    def __init__(self, step: int) -> None:
        self.step = step
        """Output features of a group that are formed at once."""

    def add(self, K: Tensor, rows: Sequence[LayerPair], cols: Sequence[LayerPair], symmetric: bool) -> None:
        n_total, C, m_total, C2 = K.shape
        matrix = K.view(n_total * C, m_total * C2)
        for start in range(0, rows[0].O, self.step):
            part = slice(start, start + self.step)
            G = [self._rows(block, part) for block in rows]
            G2 = G if rows is cols else [self._rows(block, part) for block in cols]
            for i, j, n, m in tiles(rows, cols, symmetric):
                tile = matrix[n.start * C : n.stop * C, m.start * C2 : m.stop * C2]
                if symmetric and i == j:
                    _add_lower(tile, _square(G[i]))
                else:
                    tile.addmm_(G[i], G2[j].mT)

    def work(self, pair: LayerPair, num_rows: int, num_cols: int, batch: int) -> int:
        width, C = pair.groups * min(self.step, pair.O) * (pair.I + pair.bias), pair.b.shape[1]
        return C * width * (8 * (num_rows + num_cols) + 2 * pair.b.element_size() * batch) + 8 * (batch * C) ** 2

    @staticmethod
    def _rows(pair: LayerPair, part: slice) -> Tensor:
        """Gradients of some output features, float64 [N*K, groups * o * I]; the seeds share one reading of a."""
        b = pair.b[..., part]  # [N * groups, K, T, o]
        K, o = b.shape[1], b.shape[3]
        G = ops.grads(pair.a, b.transpose(1, 2).flatten(2), **pair.geometry)  # [N * groups, K * o, I]
        G = G.view(pair.N, pair.groups, K, o * G.shape[2]).transpose(1, 2)  # [N, K, groups, o * I]
        return G.double().reshape(pair.N * K, G.shape[2] * G.shape[3])


class Positions:
    """Products over pairs of positions, sum_ts (a_t.a'_s + 1)(b_t.b'_s), for wide layers at few positions."""

    def add(self, K: Tensor, rows: Sequence[LayerPair], cols: Sequence[LayerPair], symmetric: bool) -> None:
        for i, j, n, m in tiles(rows, cols, symmetric):
            for g in range(rows[i].groups):
                self._add_tile(K[n, :, m], group(rows[i], g), group(cols[j], g))

    def work(self, pair: LayerPair, num_rows: int, num_cols: int, batch: int) -> int:
        inner = 1 if pair.in_features is not None else pair.I
        return 8 * (2 * batch * pair.T * (inner + pair.b.shape[1] * pair.O) + 3 * max(POSITION_ROWS, pair.T) ** 2)

    @staticmethod
    def _add_tile(tile: Tensor, pair: LayerPair, pair2: LayerPair) -> None:
        """Add to tile [N, C, M, C]; sub-tiles are of a fixed shape."""
        T, step = pair.T, max(1, POSITION_ROWS // max(1, pair.T))
        a, a2 = _inputs(pair), _inputs(pair2)  # [N*T, I] or ids [N*T]
        b, b2 = pair.b.double(), pair2.b.double()  # [N, K, T, O]
        for n in range(0, pair.N, step):
            for m in range(0, pair2.N, step):
                aa = _agreement(a[n * T : (n + step) * T], a2[m * T : (m + step) * T], pair.bias)  # [nT, mT]
                for k in range(b.shape[1]):
                    left = b[n : n + step, k].flatten(0, 1)  # [nT, O]
                    for k2 in range(b2.shape[1]):
                        bb = left @ b2[m : m + step, k2].flatten(0, 1).mT  # [nT, mT]
                        sums = bb.mul_(aa).view(-1, T, len(a2[m * T : (m + step) * T]) // T, T).sum((1, 3))  # [n, m]
                        tile[n : n + step, k, m : m + step, k2].add_(sums)


class LookedUp:
    """A table's gradients are zero but for the columns that a sample looked up: those that two samples share count."""

    def add(self, K: Tensor, rows: Sequence[LayerPair], cols: Sequence[LayerPair], symmetric: bool) -> None:
        for i, j, n, m in tiles(rows, cols, symmetric):
            tile = K[n, :, m]
            for g in range(rows[i].groups):
                left = group(rows[i], g)
                right = () if symmetric and i == j else self._rows(group(cols[j], g))
                tile.add_(ops.gram(*self._rows(left), *right, **left.geometry).view(tile.shape))

    def work(self, pair: LayerPair, num_rows: int, num_cols: int, batch: int) -> int:
        C = pair.b.shape[1]
        return 8 * (2 * batch * C * pair.T * (2 * pair.O + 1) + (batch * C) ** 2)

    @staticmethod
    def _rows(pair: LayerPair) -> tuple[Tensor, Tensor]:
        """Ids [N*K, T], and b as float64 [N*K, T, O]."""
        return pair.a.repeat_interleave(pair.b.shape[1], 0), pair.b.double().flatten(0, 1)


def _square(x: Tensor) -> Tensor:
    """Products of all rows of x [R, width]; on the CPU from one triangle."""
    if not x.is_cpu:
        return x @ x.mT
    terms = x.mT[None]  # [1, width, R]
    return ops.kron(terms, x.new_ones(1, 1, 1).expand(1, len(x.mT), 1))[0]


def _add_lower(tile: Tensor, square: Tensor) -> None:
    """Add to the lower triangle of a tile; of the upper one, to what shares a strip of rows with it."""
    for start in range(0, len(tile), STRIP):
        stop = min(start + STRIP, len(tile))
        tile[start:stop, :stop].add_(square[start:stop, :stop])


def _inputs(pair: LayerPair) -> Tensor:
    """All positions of all samples: float64 [N*T, I], or ids [N*T]."""
    if pair.in_features is not None:
        return pair.a.flatten()
    return pair.a.reshape(pair.N * pair.T, pair.I).double()


def _cotangents(pair: LayerPair) -> Tensor | None:
    """The one position's b as float64 [N*K, O]; None where it is the unit vectors."""
    return None if pair.unit else pair.b.double().reshape(-1, pair.O)


def _agreement(a: Tensor, a2: Tensor, bias: bool) -> Tensor:
    """a.a' (+ 1) of all pairs of rows, float64."""
    aa = a @ a2.mT if a.is_floating_point() else (a[:, None] == a2[None, :]).double()
    return aa.add_(1.0) if bias else aa
