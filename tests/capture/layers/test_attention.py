import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from infotorch.capture import capture
from infotorch.capture.hooks import rewritten
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.capture.agreement import assert_close, assert_loops

N, L, E, H = 3, 4, 4, 2


class Attends(nn.Module):
    """Queries, keys and values of one input x [N, L, E]; all that the attention returns."""

    def __init__(self, attn, keys, **options):
        super().__init__()
        self.attn, self.keys, self.options = attn, keys, options

    def forward(self, x):
        options = {key: mask(x) if callable(mask) else mask for key, mask in self.options.items()}
        query, key = x, x
        if self.keys == "other":
            key = x[:, 1:].tanh()
        value = key
        if self.keys == "apart":
            key, value = x.tanh(), x.flip(1)
        if self.attn._qkv_same_embed_dim is False:
            key, value = torch.cat([key, key[..., :1]], -1), value[..., :3]
        if not self.attn.batch_first:
            value = value.transpose(0, 1) if value is not key else None
            query, key = (query.transpose(0, 1),) * 2 if key is query else (query.transpose(0, 1), key.transpose(0, 1))
            value = key if value is None else value
        out, weights = self.attn(query, key, value, **options)
        out = out if self.attn.batch_first else out.transpose(0, 1)
        parts = [out.tanh().flatten(1)] if weights is None else [out.flatten(1), weights.flatten(1)]
        return torch.cat(parts, 1)


def two(shape_of, kind):
    """A mask with some entries hidden, never a whole row."""
    hidden = torch.zeros(shape_of, dtype=torch.bool)
    hidden[..., -1] = True
    hidden[..., 0, 1:2] = True
    return hidden if kind == "bool" else hidden.double() * -1.5


@st.composite
def attentions(draw):
    keys = draw(st.sampled_from(["self", "other", "apart"]))
    options = {
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "add_bias_kv": draw(st.booleans()),
        "add_zero_attn": draw(st.booleans()),
    }
    if draw(st.booleans()):
        options |= {"kdim": E + 1, "vdim": 3}
    attn = nn.MultiheadAttention(E, H, **options).double()
    S = L - 1 if keys == "other" else L
    call = {"need_weights": draw(st.booleans()), "average_attn_weights": draw(st.booleans())}
    mask = draw(st.sampled_from([None, "2D", "3D", "causal"]))
    kind = draw(st.sampled_from(["bool", "float"]))
    if mask == "causal":
        call |= {"attn_mask": torch.ones(L, S, dtype=torch.bool).triu(1), "is_causal": True}
    elif mask == "2D":
        call["attn_mask"] = two((L, S), kind)
    elif mask == "3D":
        call["attn_mask"] = lambda x: two((len(x) * H, L, S), kind)
    if draw(st.booleans()):
        padding = two((5, S), kind)  # sample by sample alike, so that one alone sees its own
        call["key_padding_mask"] = lambda x: padding[1:2].expand(len(x), -1)
    return Attends(attn, keys, **call)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(model=attentions(), frozen=st.sampled_from(["", "in_proj", "out_proj", "bias"]))
def test_attention_is_exact_for_all_options(model, frozen):
    for name, p in model.named_parameters():
        p.data.normal_(generator=torch.Generator().manual_seed(len(name)))
        p.requires_grad_(not frozen or frozen not in name)
    x = torch.randn(N, L, E, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.no_grad(), rewritten(model):
        got = model(x)
    assert_close(got, model(x), "outputs")
    assert_loops(model, x)


def test_self_attention_is_one_pair_with_its_three_projections():
    model = Attends(nn.MultiheadAttention(E, H, batch_first=True).double(), "self", need_weights=False).eval()
    pairs = capture(Task(model, loss="mse"), torch.randn(N, L, E, dtype=torch.float64), seeds="logits").pairs
    assert list(pairs) == ["attn.in_proj_weight", "attn.out_proj"]
    assert pairs["attn.in_proj_weight"].b.shape == (N, L * E, L, 3 * E) and pairs["attn.in_proj_weight"].bias


@pytest.mark.parametrize("layer", ["encoder", "decoder"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_inside_a_transformers_layers(layer, batch_first, norm_first, rng):
    class Wraps(nn.Module):
        def __init__(self):
            super().__init__()
            kind = nn.TransformerEncoderLayer if layer == "encoder" else nn.TransformerDecoderLayer
            self.layer = kind(E, H, 5, batch_first=batch_first, norm_first=norm_first)

        def forward(self, x):
            x = x if batch_first else x.transpose(0, 1)
            y = self.layer(x) if layer == "encoder" else self.layer(x, x[1:].tanh() if not batch_first else x.tanh())
            return (y if batch_first else y.transpose(0, 1)).sum(1)

    cap = assert_loops(Wraps().double(), torch.randn(N, L, E, dtype=torch.float64, generator=rng))
    assert len(cap.pairs) == {"encoder": 8, "decoder": 12}[layer]


def test_hint_without_its_mask_is_refused_as_by_torch():
    model = Attends(nn.MultiheadAttention(E, H, batch_first=True), "self", is_causal=True).eval()
    for run in (model, lambda x: capture(Task(model, loss="mse"), x, seeds="logits")):
        with pytest.raises(RuntimeError, match="Need attn_mask if specifying the is_causal hint"):
            run(torch.ones(N, L, E))
    assert "forward" not in vars(model.attn)


def test_unbatched_attention_is_refused():
    class Mixes(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.MultiheadAttention(E, H)

        def forward(self, x):
            return self.attn(x, x, x)[0]

    with pytest.raises(CaptureError, match=r"must see queries with an axis of samples; got \[3, 4\]. Give"):
        capture(Task(Mixes().eval(), loss="mse"), torch.ones(N, E), seeds="logits")


@pytest.mark.parametrize("layer", ["attention", "encoder", "lstm", "gru"])
def test_samples_on_the_axis_that_the_layer_mixes_are_refused(layer, rng):
    """[N, T, E] where the layer was made for [T, N, E], the commonest way to couple samples."""

    class Forgotten(nn.Module):
        def __init__(self):
            super().__init__()
            kinds = {
                "attention": lambda: nn.MultiheadAttention(4, 2),
                "encoder": lambda: nn.TransformerEncoderLayer(4, 2, 6),
                "lstm": lambda: nn.LSTM(4, 4),
                "gru": lambda: nn.GRU(4, 4),
            }
            self.embed, self.inner, self.head = nn.Linear(3, 4), kinds[layer](), nn.Linear(4, 2)

        def forward(self, x):
            h = self.embed(x)
            out = self.inner(h, h, h) if layer == "attention" else self.inner(h)
            return self.head((out[0] if isinstance(out, tuple) else out).mean(1))

    batch = torch.randn(6, 5, 3, generator=rng), torch.zeros(6, 2)
    with pytest.raises(CaptureError, match=r"must see one input a sample, \[N, \.\.\.\]"):
        capture(Task(Forgotten().eval(), loss="mse"), batch)
