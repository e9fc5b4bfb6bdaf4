"""The empirical neural tangent kernel."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from infotorch.blocks.gram import Gram
from infotorch.blocks.loading import refuse_loader
from infotorch.blocks.parts import check_alike, check_open, check_task
from infotorch.blocks.plan import MEMORY_LIMIT, plan_panels
from infotorch.blocks.products import Formed, Route, route_of
from infotorch.blocks.progress import Progress, Shown, shown
from infotorch.capture import Capture, LayerPair, capture
from infotorch.capture.run import Fallback
from infotorch.errors import CaptureError, ConfigError, NotSupported, NumericsError, check_choice, check_limit
from infotorch.linalg.symmetric import mirror
from infotorch.task import Task, select

__all__ = ["layer_kernels", "ntk"]

Outputs = Literal["full", "trace", "sum"]
Pairs = dict[str, LayerPair]

BATCH_SIZE = 128
"""Samples of a forward, and of a side of a tile."""


def ntk(
    task: Task | Capture,
    x: Any = None,
    x2: Any = None,
    *,
    outputs: Outputs = "full",
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Shown = None,
) -> Gram:
    r"""Inner products of the Jacobians of the outputs, :math:`K_{nc,md} = \langle J_{nc}, J'_{md} \rangle`.

    J is [N, C, P] over the parameters that the task selects, at the weights as they are; it is never formed as a
    whole. One forward a batch and one backward an output that stops at the layers; then each layer adds its part by the
    route that takes fewer operations: from products of its inputs and of its output gradients, at one position; from
    pairs of positions; or from the gradients themselves, some rows at a time. What is captured has the model's dtype;
    products and sums are in float64.

    The same call gives the same bits at one number of threads. ``memory_limit`` decides how much is held at once
    and what is computed again, and changes no bit until not even one batch of each side fits; then batches are halved,
    and results agree to the rounding of the model's own forward.

    Args:
        task: Model and parameters; or a :class:`Capture` with ``seeds="logits"`` in place of task and x.
        x: Samples [N, ...]; of (x, y) the first.
        x2: Samples [M, ...] of the columns (a second Capture, where the first argument is one); default: ``x``.
        outputs: ``"full"`` for every pair of outputs; ``"trace"`` for the mean of :math:`K_{nc,mc}` over the C outputs;
            ``"sum"`` for the kernel of the outputs' sum. The last two are [N, M].
        memory_limit: Bytes of pairs and work space, 2 GiB if not given. The result is not counted, nor is what the
            model's own forward of ``batch_size`` samples takes.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.
        batch_size: Samples of a forward.
        progress: Called with ("kernel", done, total) after each capture and each layer; True draws a bar on stderr.

    Returns:
        :class:`Gram` with values float64 [N, C, M, C] or [N, M], symmetric to the bit where ``x2`` is not given, in
        squared units of the outputs over squared units of the parameters. Tensors are on the model's device.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer.
        ConfigError: ``outputs`` is unknown, the model is in train mode, or one sample exceeds ``memory_limit``.
        DataError: Samples are not finite, of the wrong dtype or device, or none.
        NotSupported: A layer at several positions is on another device than the CPU, where its op has no kernels.
        NumericsError: The model's outputs are not finite.

    Example:
        >>> task = Task(torch.nn.Linear(3, 2).eval(), loss="mse")
        >>> ntk(task, torch.ones(4, 3)).values[0, :, 1]
        tensor([[4., 0.],
                [0., 4.]], dtype=torch.float64)
    """
    check_task("ntk", task)
    check_limit("ntk", memory_limit)
    check_choice("ntk", "outputs", outputs, get_args(Outputs))
    if isinstance(task, Capture):
        if fallback is not None:
            raise ConfigError(
                "ntk: a Capture must come alone; got fallback beside it. Leave fallback out, or pass the task."
            )
        return _of_captures(task, x, outputs)
    for given in (x, x2):
        refuse_loader("ntk", given)
    options = _Options(outputs=outputs, memory_limit=memory_limit, fallback=fallback, batch_size=batch_size)
    with shown(progress) as tell:
        found = _tiled(task, task.inputs(x), task.inputs(x2), options, lambda pair: "", tell)
    return _gram(found.values[""], found.f0, found.f0_cols, outputs, x2 is None)


def layer_kernels(
    task: Task,
    x: Any,
    key: Callable[[LayerPair], str],
    *,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """The kernel of one set, :func:`ntk`, as a sum over layers: ({key of a layer: [N, C, N, C]}, outputs [N, C]).

    All are float64 and held at once; layers of one key are added. One capture and one product a layer, as for the sum.
    """
    options = _Options(outputs="full", memory_limit=memory_limit, fallback=fallback, batch_size=BATCH_SIZE)
    found = _tiled(task, task.inputs(x), None, options, key, None)
    for values in found.values.values():
        mirror(values.view(values.shape[0] * values.shape[1], -1))
    return found.values, found.f0


@dataclass(frozen=True, kw_only=True)
class _Options:
    """As :func:`ntk` takes them."""

    outputs: Outputs
    memory_limit: int | None
    fallback: Fallback | None
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class _Tiled:
    """Sums over layers by key, and the outputs of both sides."""

    values: dict[str, Tensor]
    f0: Tensor
    f0_cols: Tensor


def _tiled(
    task: Task,
    x: Any,
    x2: Any,
    options: _Options,
    key: Callable[[LayerPair], str],
    progress: Progress | None,
) -> _Tiled:
    """Float64 [N, C, M, C] a key, of one set in its lower triangle of tiles alone."""
    outputs, fallback, batch_size = options.outputs, options.fallback, options.batch_size
    if not batch_size >= 1:
        raise ConfigError(f"ntk: batch_size must be at least 1; got {batch_size}. Pass a number of samples.")
    N, M = task.check_inputs(x), None if x2 is None else task.check_inputs(x2)
    symmetric, cols_x = M is None, x if x2 is None else x2

    probe = _probed(task, x, outputs, fallback)
    if x2 is not None:  # its samples may have other sizes
        _probed(task, x2, outputs, fallback)
    C, names = next(iter(probe.pairs.values())).b.shape[1], tuple(probe.pairs)
    routes = _routes(probe.pairs, N * C, (N if M is None else M) * C)
    plan = plan_panels(
        "ntk",
        N,
        M,
        batch=batch_size,
        bytes_per_sample=sum(pair.nbytes() for pair in probe.pairs.values()),
        work=lambda rows, cols, batch: max(routes[k].work(probe.pairs[k], rows, cols, batch) for k in names),
        memory_limit=MEMORY_LIMIT if options.memory_limit is None else options.memory_limit,
    )
    row_panels = _panels(N, plan.panel, plan.batch)
    col_panels = row_panels if M is None else _panels(M, plan.panel, plan.batch)
    pairs_of_panels = [(i, j) for i in range(len(row_panels)) for j in range(i + 1 if symmetric else len(col_panels))]
    columns_held = sum(len(col_panels[j]) for i, j in pairs_of_panels if not (symmetric and i == j))
    count = _Count(progress, sum(map(len, row_panels)) + columns_held + len(names) * len(pairs_of_panels))

    def hold(x: Any, panel: list[slice], f0: Tensor) -> list[Pairs]:
        """The pairs of a panel's batches; their outputs are written into f0 [N, C]."""
        held = []
        for batch in panel:
            part = _captured(task, x, batch, outputs, fallback)
            if tuple(part.pairs) != names:
                astray = sorted(set(part.pairs) ^ set(names))
                raise CaptureError(
                    f"ntk: every batch must use the same layers; got {astray[0]!r} in some batches alone. "
                    "Leave it out with params=[...]."
                )
            f0[batch] = _finite(part.outputs, batch.start)
            held.append(part.pairs)
            count.step()
        return held

    keys = {name: key(pair) for name, pair in probe.pairs.items()}
    size = (N, C, N if M is None else M, C)
    values = {one: probe.outputs.new_zeros(size, dtype=torch.float64) for one in dict.fromkeys(keys.values())}
    f0 = probe.outputs.new_empty((N, probe.outputs.shape[1]), dtype=torch.float64)
    f0_cols = f0 if M is None else f0.new_empty(M, f0.shape[1])
    rows: list[Pairs] = []
    for i, j in pairs_of_panels:
        if j == 0:
            rows = hold(x, row_panels[i], f0)
        same = symmetric and i == j
        cols = rows if same else hold(cols_x, col_panels[j], f0_cols)
        parts = {one: whole[_span(row_panels[i]), :, _span(col_panels[j])] for one, whole in values.items()}
        _accumulate({name: parts[keys[name]] for name in names}, rows, cols, routes, same, count)
    return _Tiled(values=values, f0=f0, f0_cols=f0_cols)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    pairs: Pairs
    outputs: Tensor
    """float64 [N, C]."""


def _probed(task: Task, x: Any, outputs: Outputs, fallback: Fallback | None) -> _Batch:
    """What a sample leaves, in size. Two seeds stand for all: one alone may leave pairs of another kind."""
    one = select(x, slice(0, 1))
    with torch.no_grad():
        ones = torch.ones_like(task.outputs(one))
    C = 1 if outputs == "sum" else ones.numel()
    with capture(task, (one, None), seeds=ones.expand(min(C, 2), *ones.shape), fallback=fallback) as cap:
        probe = _reduced(cap, "full")
    pairs = {name: replace(pair, b=pair.b[:, :1].repeat(1, C, 1, 1)) for name, pair in probe.pairs.items()}
    return replace(probe, pairs=_merged(pairs) if outputs == "trace" else pairs)


def _captured(task: Task, x: Any, batch: slice, outputs: Outputs, fallback: Fallback | None) -> _Batch:
    """The pairs of some samples, with the seeds that ``outputs`` asks for; slices of one set need one ``check``."""
    few = select(x, batch)
    seeds: Any = "logits"
    if outputs == "sum":  # one backward in place of C
        with torch.no_grad():
            seeds = torch.ones_like(task.outputs(few))[None]
    with capture(task, (few, None), seeds=seeds, fallback=fallback, check=False) as cap:
        return _reduced(cap, outputs)


def _reduced(cap: Capture, outputs: Outputs) -> _Batch:
    """Pairs whose seeds are the kernel's outputs."""
    pairs = dict(cap.pairs)
    if outputs == "trace":
        pairs = _merged(pairs)
    elif outputs == "sum" and cap.K > 1:
        pairs = {k: replace(p, b=p.b.sum(1, keepdim=True), unit=False) for k, p in pairs.items()}
    return _Batch(pairs=pairs, outputs=cap.outputs.double().flatten(1))


def _merged(pairs: Pairs) -> Pairs:
    """One seed whose features are those of all, as a mean over outputs has."""
    return {k: replace(p, b=p.b.transpose(1, 2).flatten(2)[:, None], unit=False) for k, p in pairs.items()}


def _of_captures(cap: Capture, cap2: Capture | None, outputs: Outputs) -> Gram:
    """The kernel of captured batches, in one tile."""
    for side in (cap, cap2):
        if side is None:
            continue
        check_open("ntk", side)
        if side.seeds != side.C or side.asked not in ("logits", "tensor"):
            raise ConfigError(
                f"ntk: a Capture must have one seed an output; got {side.seeds} for {side.C}, seeds={side.asked!r}. "
                'Call capture(task, x, seeds="logits").'
            )
    if cap2 is not None:
        check_alike("ntk", cap, cap2, unused=False)
    first = _reduced(cap, outputs)
    second = first if cap2 is None else _reduced(cap2, outputs)
    N, M, C = cap.N, len(second.outputs), cap.C if outputs == "full" else 1
    values = first.outputs.new_zeros(N, C, M, C)
    symmetric = cap2 is None
    rows = [first.pairs]
    cols = rows if symmetric else [second.pairs]
    routes = _routes(first.pairs, N * C, M * C)
    _accumulate(dict.fromkeys(routes, values), rows, cols, routes, symmetric, _Count(None, 0))
    return _gram(values, first.outputs, second.outputs, outputs, symmetric)


def _routes(pairs: Pairs, num_rows: int, num_cols: int) -> dict[str, Route]:
    routes = {name: route_of(pair, num_rows, num_cols) for name, pair in pairs.items()}
    for name, route in routes.items():
        device = pairs[name].b.device
        if isinstance(route, Formed) and device.type != "cpu":
            raise NotSupported(
                f"ntk: layers at several positions must be on the CPU, where their op has kernels; got {name!r} on "
                f"{device}. Move model and samples with .cpu(), or pass params=[...] without it."
            )
    return routes


def _accumulate(
    values: Mapping[str, Tensor],
    rows: Sequence[Pairs],
    cols: Sequence[Pairs],
    routes: dict[str, Route],
    same: bool,
    count: "_Count",
) -> None:
    """Add every layer to its values [n, C, m, C]; the lower triangle of tiles alone where both sides are the same."""
    for name, route in routes.items():
        left = [pairs[name] for pairs in rows]
        route.add(values[name], left, left if same else [pairs[name] for pairs in cols], same)
        count.step()


def _gram(values: Tensor, f0: Tensor, f0_cols: Tensor, outputs: Outputs, symmetric: bool) -> Gram:
    N, C, M, _ = values.shape
    if symmetric:
        mirror(values.view(N * C, M * C))
    if outputs == "trace":
        values.div_(f0.shape[1])
    if outputs != "full":
        values = values.view(N, M)
    return Gram(values=values, outputs=f0, outputs2=f0_cols, symmetric=symmetric)


def _panels(num_samples: int, panel: int | None, batch: int) -> list[list[slice]]:
    """Consecutive batches, grouped into panels."""
    batches = [slice(start, min(start + batch, num_samples)) for start in range(0, num_samples, batch)]
    per_panel = len(batches) if panel is None else panel // batch
    return [batches[i : i + per_panel] for i in range(0, len(batches), per_panel)]


def _span(panel: list[slice]) -> slice:
    return slice(panel[0].start, panel[-1].stop)


def _finite(outputs: Tensor, start: int) -> Tensor:
    bad = (~outputs.isfinite()).any(1)
    if bad.any():
        n = int(bad.nonzero()[0])
        raise NumericsError(
            f"ntk: the model's outputs must be finite; got {outputs[n].tolist()} at sample {start + n}. "
            "Look at its weights and at that sample."
        )
    return outputs


class _Count:
    """Steps done, told to a caller."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress("kernel", self.done, self.total)
