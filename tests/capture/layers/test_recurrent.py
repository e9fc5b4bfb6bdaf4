import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from infotorch.capture import capture
from infotorch.capture.hooks import rewritten
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.capture.agreement import RTOL, assert_close, assert_loops

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


class Tagger(nn.Module):
    """Everything that a recurrent module returns, for every way to call it."""

    def __init__(self, rnn, start=None):
        super().__init__()
        self.rnn, self.start = rnn, start

    def forward(self, x):  # [N, T, I]
        x = x if self.rnn.batch_first else x.mT.permute(2, 0, 1)
        start = self.start
        if start is not None:
            start = tuple(h.expand(-1, x.shape[0 if self.rnn.batch_first else 1], -1) for h in start)
            start = start if isinstance(self.rnn, nn.LSTM) else start[0]
        outputs, ends = self.rnn(x, start)
        outputs = outputs if self.rnn.batch_first else outputs.transpose(0, 1)
        ends = ends if isinstance(ends, tuple) else (ends,)
        return torch.cat([outputs.tanh().flatten(1), *(end.transpose(0, 1).flatten(1) for end in ends)], 1)


@st.composite
def recurrents(draw):
    kind = draw(st.sampled_from([*KINDS]))
    options = {
        "num_layers": draw(st.integers(1, 2)),
        "bidirectional": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    if kind == "LSTM":
        options["proj_size"] = draw(st.sampled_from([0, 0, 2]))
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    rnn = KINDS[kind](2, 3, **options).double()
    start = None
    if draw(st.booleans()):
        first = options["num_layers"] * (1 + options["bidirectional"])
        start = tuple(torch.randn(first, 1, size, dtype=torch.float64) for size in (options.get("proj_size") or 3, 3))
    return Tagger(rnn, start), draw(st.integers(1, 3)), draw(st.integers(1, 4))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(case=recurrents(), frozen=st.sampled_from(["", "weight_ih", "weight_hh", "bias", "bias_hh", "weight_hr"]))
def test_recurrent_layer_is_exact_for_all_options(case, frozen):
    model, N, T = case
    for name, p in model.named_parameters():
        p.requires_grad_(not frozen or frozen not in name)
    x = torch.randn(N, T, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = model(x)
        with rewritten(model):
            assert "forward" in vars(model.rnn)
            assert_close(model(x), want, "outputs")
    assert_loops(model, x)
    assert "forward" not in vars(model.rnn)


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell", "relu"])
@pytest.mark.parametrize("start", [False, True])
def test_cells_are_exact(kind, start, rng):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            options = {"nonlinearity": "relu"} if kind == "relu" else {}
            self.cell = getattr(nn, "RNNCell" if kind == "relu" else kind)(2, 3, **options)

        def forward(self, x):
            state = self.cell(x[:, 0], None) if start else self.cell(x[:, 0])
            for t in range(1, x.shape[1]):
                state = self.cell(x[:, t], state)
            return torch.cat(state, 1) if isinstance(state, tuple) else state

    model, x = Steps().double().eval(), torch.randn(3, 3, 2, dtype=torch.float64, generator=rng)
    want = model(x)
    cap = assert_loops(model, x)
    assert (cap.outputs - want).norm() <= RTOL * want.norm()


def test_pair_of_a_state_matrix_has_one_position_a_step():
    model = Tagger(nn.LSTM(2, 3, batch_first=True).double()).eval()
    pairs = capture(Task(model, loss="mse"), torch.randn(4, 5, 2, dtype=torch.float64), seeds="logits").pairs
    assert list(pairs) == ["rnn.weight_ih_l0", "rnn.weight_hh_l0"]
    assert pairs["rnn.weight_hh_l0"].T == 5 and pairs["rnn.weight_hh_l0"].bias


def test_used_twice_is_one_pair_along_T(rng):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(3, 3, batch_first=True)

        def forward(self, x):
            return self.rnn(self.rnn(x)[0])[1][0]

    cap = assert_loops(Twice().double(), torch.randn(3, 2, 3, dtype=torch.float64, generator=rng))
    assert cap.pairs["rnn.weight_hh_l0"].T == 4


@pytest.mark.parametrize("packed", [True, False])
def test_packed_and_unbatched_sequences_are_refused(packed):
    class Packs(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(2, 3, batch_first=True)

        def forward(self, x):
            h = self.rnn(pack_sequence(list(x)))[1][0][0] if packed else self.rnn(x[0])[0][-1].expand(len(x), 3)
            return h

    got = "a PackedSequence" if packed else r"an input \[5, 2\]"
    model = Packs().eval()
    with pytest.raises(
        CaptureError, match=rf"LSTM must see sequences of one length with an axis of samples; got {got}. Pad them"
    ):
        capture(Task(model, loss="mse"), (torch.ones(4, 5, 2), torch.ones(4, 3)))
    assert "forward" not in vars(model.rnn)


def test_frozen_layer_runs_as_it_is(rng):
    model = nn.Sequential(Tagger(nn.LSTM(2, 3, batch_first=True)), nn.Linear(12, 2)).double().eval()
    model[0].requires_grad_(False)
    before = copy.copy(vars(model[0].rnn))
    x = torch.randn(3, 2, 2, dtype=torch.float64, generator=rng)
    assert list(capture(Task(model, loss="mse"), x, seeds="logits", verify=True).pairs) == ["1"]
    assert vars(model[0].rnn) == before
