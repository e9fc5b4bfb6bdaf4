"""RNN, LSTM and GRU, unrolled in time: a cell's two products at all its steps are two pairs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from infotorch.capture.layers.linear import SequenceLinear
from infotorch.capture.layers.rule import Record, Rule, Use
from infotorch.errors import CaptureError

__all__ = ["Cell", "Recurrent"]

_PRODUCT = SequenceLinear()


class Recurrent(Rule):
    """nn.RNN, nn.LSTM and nn.GRU of any layers, directions and projections."""

    def forward(self, module: nn.Module, record: Record) -> Callable[..., Any]:
        return partial(_unrolled, module, record)


class Cell(Rule):
    """nn.RNNCell, nn.LSTMCell and nn.GRUCell."""

    def forward(self, module: nn.Module, record: Record) -> Callable[..., Any]:
        return partial(_stepped, module, record)


def _stepped(module: Any, record: Record, input: Tensor, hx: Any = None) -> Any:
    lstm = isinstance(module, nn.LSTMCell)
    zero = input.new_zeros(*input.shape[:-1], module.hidden_size)
    state = (zero, zero)[: 1 + lstm] if hx is None else hx if lstm else (hx,)
    sums = []
    for x, side in ((input, "ih"), (state[0], "hh")):
        names = ("weight_" + side, "bias_" + side if module.bias else "")
        sums.append(F.linear(x, getattr(module, names[0]), getattr(module, names[1]) if module.bias else None))
        record(Use(a=x, params=names, output=sums[-1]))
    kind = "LSTM" if lstm else "GRU" if isinstance(module, nn.GRUCell) else f"RNN_{module.nonlinearity.upper()}"
    end = _STEPS[kind](*sums, *state)
    return end if lstm else end[0]


def _unrolled(module: Any, record: Record, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
    if isinstance(input, PackedSequence) or input.dim() != 3:
        got = "a PackedSequence" if isinstance(input, PackedSequence) else f"an input {list(input.shape)}"
        raise CaptureError(
            f"capture: {type(module).__name__} must see sequences of one length with an axis of samples; got {got}. "
            "Pad them, and select the outputs at their ends."
        )
    x = input if module.batch_first else input.transpose(0, 1)  # [N, T, I]
    D = 2 if module.bidirectional else 1
    lstm = isinstance(module, nn.LSTM)
    states = hx if lstm else (hx,)
    sizes = (module.proj_size or module.hidden_size, module.hidden_size)
    if hx is None:
        states = tuple(x.new_zeros(D * module.num_layers, len(x), size) for size in sizes[: 1 + lstm])
    last = []
    for layer in range(module.num_layers):
        sides = []
        for side in range(D):
            start = tuple(state[layer * D + side] for state in states)
            suffix = f"_l{layer}{'_reverse' if side else ''}"
            outputs, end = _pass(module, record, x, start, suffix, reverse=bool(side))
            sides.append(outputs)
            last.append(end)
        x = torch.cat(sides, 2) if D == 2 else sides[0]
    ends = tuple(torch.stack(state) for state in zip(*last, strict=True))  # [D * layers, N, H] each
    return x if module.batch_first else x.transpose(0, 1), ends if lstm else ends[0]


def _pass(
    module: Any, record: Record, x: Tensor, state: tuple[Tensor, ...], suffix: str, *, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer in one direction: its outputs [N, T, H] and its last state.

    The gradient at what is added to a product in each step is the gradient at the product: one tensor holds all steps.
    """
    names = ("weight_ih" + suffix, "bias_ih" + suffix if module.bias else "")
    gates = F.linear(x, getattr(module, names[0]), getattr(module, names[1]) if module.bias else None)  # [N, T, gates]
    record(Use(a=x.detach(), params=names, output=gates, kind=_PRODUCT))
    N, T, _ = gates.shape
    added = torch.zeros_like(gates, requires_grad=True)
    if module.bias:
        added = added + getattr(module, "bias_hh" + suffix)
    weight = getattr(module, "weight_hh" + suffix).t()  # a single use of it, whatever T is
    projection = getattr(module, "weight_hr" + suffix).t() if module.proj_size else None
    moved = torch.zeros(N, T, module.proj_size, dtype=gates.dtype, device=gates.device, requires_grad=True)
    inputs, extra, shifts = gates.unbind(1), added.unbind(1), moved.unbind(1)
    before, inner, outputs = [state[0]] * T, [state[0]] * T, [state[0]] * T
    step = _STEPS[module.mode]
    for t in reversed(range(T)) if reverse else range(T):
        before[t] = state[0].detach()
        state = step(inputs[t], state[0] @ weight + extra[t], *state)
        if projection is not None:
            inner[t] = state[0].detach()
            state = (state[0] @ projection + shifts[t], *state[1:])
        outputs[t] = state[0]
    hidden = ("weight_hh" + suffix, "bias_hh" + suffix if module.bias else "")
    record(Use(a=torch.stack(before, 1), params=hidden, output=added, kind=_PRODUCT))
    if projection is not None:
        record(Use(a=torch.stack(inner, 1), params=("weight_hr" + suffix,), output=moved, kind=_PRODUCT))
    return torch.stack(outputs, 1), state


def _lstm(x: Tensor, h: Tensor, _: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    i, f, g, o = (x + h).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(x: Tensor, h: Tensor, state: Tensor) -> tuple[Tensor, ...]:
    (xr, xz, xn), (hr, hz, hn) = x.chunk(3, -1), h.chunk(3, -1)
    z, n = (xz + hz).sigmoid(), (xn + (xr + hr).sigmoid() * hn).tanh()
    return (n + z * (state - n),)


_STEPS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN_TANH": lambda x, h, _: ((x + h).tanh(),),
    "RNN_RELU": lambda x, h, _: ((x + h).relu(),),
}
"""(product of the input, product of the state, state) -> next state, by the module's mode."""
