"""Sketches of single samples' gradients, over all layers."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal, SupportsIndex, get_args

import torch
from torch import Tensor

from infotorch import ops
from infotorch.blocks.factors import FORMED_BYTES, biases, geometry, sample_slice, seed_cotangents, write_gradients
from infotorch.blocks.loading import batches, is_loader, of_batch, seeds_of_batch
from infotorch.blocks.parts import gathered, parts, wide
from infotorch.blocks.progress import Shown, shown
from infotorch.capture import Capture, LayerPair
from infotorch.capture.run import Fallback
from infotorch.capture.seeds import Seeds
from infotorch.errors import ConfigError, check_choice
from infotorch.ops.pair import result_dtype
from infotorch.ops.project import add_projections
from infotorch.task import Task

__all__ = ["sketch"]

Kind = Literal["sjlt", "kron"]


@torch.no_grad()
def sketch(
    task: Task | Capture,
    batch: Any = None,
    *,
    dim: int,
    seed: SupportsIndex,
    kind: Kind = "sjlt",
    seeds: Seeds | None = None,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
    progress: Shown = None,
) -> Tensor:
    r"""Linear sketch of each sample's gradient: :math:`E\langle p(g), p(g')\rangle = \langle g, g'\rangle`.

    ``"sjlt"`` adds every element of the gradient to one of ``dim`` buckets, with a sign. The sketches of the parameters
    add up: that of one depends on the seed, its name and its gradient alone, so sketches of several models, batches and
    machines are comparable where names agree. The inner product of two sketches has a root mean square error of about
    :math:`1/\sqrt{dim}` of the product of the norms.

    ``"kron"`` gives each of the L parameters an equal share of dim / L numbers, whether or not a batch uses it. A layer
    writes :math:`R_O^\top G R_I` into the shares of its weight and bias, with normal factors of k_O and k_I columns as
    near to each other as the layer allows; what it leaves over is zero. It forms no gradient of a plain layer and is
    the quick kind, but less exact: with one position its error is about :math:`\sqrt{1/k_O + 1/k_I}`.

    Numbers come from Philox4x32-10 with the seed as its key, by name and place of an element in its parameter (of an
    embedding's table, place in the transposed one).

    Args:
        task: Model, loss and parameters; or a :class:`Capture` in place of task and batch.
        batch: (x, y) or a dict; or a DataLoader of them, whose batches are moved to the model's device. With seeds, x
            alone will do.
        dim: Size of the sketch.
        seed: Of the random numbers, 0 to 2^64 - 1.
        kind: Which family of sketches.
        seeds: ``"logits"`` for the gradients of every output in place of the losses', or what else
            :func:`infotorch.capture` takes; what is drawn is drawn anew in each batch of a loader.
        memory_limit: Bytes of pairs: a batch that would leave more is taken some samples, then some seeds, at a time.
            Default: no limit.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.
        progress: Called with ("batches", done, total) after each batch of a loader, total 0 where it has no length;
            True draws a bar on stderr.

    Returns:
        [N, dim], or [N, K, dim] for K seeds (C for ``"logits"``), of the forward's dtype (float32 for 16 bits), in
        units of the loss over those of the parameters.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or samples are coupled.
        ConfigError: ``kind`` is unknown, ``dim`` or ``seed`` is out of range, the model is in train mode, or one
            sample exceeds ``memory_limit``.
        DataError: A batch is empty, not finite, or of the wrong dtype or device; or the loader fails.

    Example:
        >>> task = Task(torch.nn.Linear(3, 2).eval(), loss="mse")
        >>> sketch(task, (torch.ones(4, 3), torch.zeros(4, 2)), dim=16, seed=0).shape
        torch.Size([4, 16])
    """
    check_choice("sketch", "kind", kind, get_args(Kind))
    if not 1 <= dim <= 2**31:
        raise ConfigError(f"sketch: dim must be 1 to 2^31; got {dim}. Choose how many numbers to keep of a gradient.")
    rows = _sjlt if kind == "sjlt" else _kron

    def sketched(one: Any, own: Seeds | None) -> Tensor:
        found = parts("sketch", task, one, seeds=own, memory_limit=memory_limit, fallback=fallback)
        return gathered(found, lambda part: rows(part.cap, dim, seed))

    pieces = []
    with shown(progress) as tell:
        for number, one in enumerate(batches("sketch", task, batch, tell) if is_loader(batch) else (batch,)):
            with of_batch(number, is_loader(batch)):
                pieces.append(sketched(one, seeds_of_batch(seeds, number)))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _sjlt(cap: Capture, dim: int, seed: SupportsIndex) -> Tensor:
    total = _nothing(cap, dim)
    rows = total if cap.seeds is not None else total[:, None]  # [N, K, dim]
    for pair in cap.pairs.values():
        if result_dtype(pair.b) == rows.dtype:
            _add_buckets(rows, pair, seed)
        else:  # a layer that computes in another dtype than the outputs
            rows += _add_buckets(torch.zeros_like(rows, dtype=result_dtype(pair.b)), pair, seed)
    return total


def _nothing(cap: Capture, dim: int) -> Tensor:
    """The sketch of gradients that are all zero."""
    return wide(cap.outputs).new_zeros(cap.N, *(() if cap.seeds is None else (cap.K,)), dim)


def _add_buckets(rows: Tensor, pair: LayerPair, seed: SupportsIndex) -> Tensor:
    """``rows`` [N, K, dim] and the sketches of a pair's parameters, elements counted as they lie in the parameter."""
    weight, *bias = pair.shapes
    b = pair.b if pair.b.dim() == 4 else pair.b[:, None]  # [N * groups, K, T, O]
    table = pair.in_features is not None and pair.groups == 1
    if table or (pair.groups == 1 and not pair.transposed):
        add_projections(rows, pair.a, b, seed=seed, name=weight, **geometry(pair))
    else:
        for samples, g, _ in _formed(pair):
            add_projections(rows[samples], *_flat(g), seed=seed, name=weight)
    for name in bias:
        add_projections(rows, *_flat(biases(pair).view(*rows.shape[:-1], -1)), seed=seed, name=name)
    return rows


def _kron(cap: Capture, dim: int, seed: SupportsIndex) -> Tensor:
    share = dim // len(cap.shapes)
    if share < 1:
        raise ConfigError(
            f"sketch: dim of kind 'kron' must be at least the number of parameters, {len(cap.shapes)}; got {dim}. "
            "Raise dim, or use kind='sjlt'."
        )
    # By parameter: which of them make a layer is not known of those that this batch leaves unused.
    starts = {name: place * share for place, name in enumerate(cap.shapes)}
    result: Tensor | None = None
    for pair in cap.pairs.values():
        k = _columns(share * len(pair.shapes), pair.groups * pair.O, pair.I)
        piece = _factored(pair, k, seed)
        if result is None:
            result = piece.new_zeros(*piece.shape[:-1], dim)
        for name, part in zip(pair.shapes, piece.split(share, -1), strict=False):  # a small layer fills the first alone
            result[..., starts[name] : starts[name] + part.shape[-1]] = part
    return _nothing(cap, dim) if result is None else result


def _columns(share: int, O: int, I: int) -> int:
    """k_O k_I of at most ``share``, near to a square."""
    few, many = sorted((O, I))
    small = min(math.isqrt(share), few)
    return small * min(share // small, many)


def _factored(pair: LayerPair, k: int, seed: SupportsIndex) -> Tensor:
    """[N, (K,) k]. Groups are laid under each other: G [groups * O, I (+ 1)] is a layer with one position a row."""
    options: dict[str, Any] = {"k": k, "seed": seed, "kind": "kron", "name": next(iter(pair.shapes))}
    if pair.groups == 1:
        return _by_seed(pair, lambda b: ops.project(pair.a, b, **pair.geometry, **options))
    rows = pair.groups * pair.O
    eye = torch.eye(rows, dtype=pair.b.dtype, device=pair.b.device)

    pieces = []
    for _, g, few in _formed(pair):
        G = g.reshape(-1, rows, pair.I)  # [n * K, groups * O, I]
        if few.bias:
            G = torch.cat([G, biases(few).reshape(len(G), rows, 1)], 2)
        sketches = ops.project(G, eye.expand(len(G), -1, -1), **options)
        pieces.append(sketches.view(few.N, *pair.b.shape[1:-2], k))
    return torch.cat(pieces)


def _by_seed(pair: LayerPair, project: Callable[[Tensor], Tensor]) -> Tensor:
    pieces = [project(b) for b in seed_cotangents(pair)]
    return pieces[0] if pair.b.dim() == 3 else torch.stack(pieces, 1)


def _formed(pair: LayerPair) -> Iterator[tuple[slice, Tensor, LayerPair]]:
    """Some samples, the weight's gradients [n, K, *shape] there as they lie in the parameter, and their pair."""
    weight, shape = next(iter(pair.shapes.items()))
    leading = pair.b.shape[1:-2]  # (K,)
    size = leading.numel() * shape.numel() * pair.b.element_size()
    step = max(1, FORMED_BYTES // max(1, size))
    for start in range(0, pair.N, step):
        samples = slice(start, min(start + step, pair.N))
        few = sample_slice(pair, samples)
        g = few.b.new_empty(few.N, *leading, *shape)
        write_gradients(replace(few, shapes={weight: shape}), {weight: g})
        yield samples, g.view(few.N, -1, *shape), few


def _flat(g: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of gradients [n, K, ...] that are formed already: one position, one in-feature that is 1."""
    return g.new_ones(len(g), 1, 1), g.flatten(2)[:, :, None]
