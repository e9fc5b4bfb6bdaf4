"""Whole models as their libraries build them, float64, against one backward a sample and output."""

import pytest
import torch
from torch import nn

from infotorch.capture import capture
from infotorch.task import Task
from tests.capture.agreement import assert_loops, gradients

N, T, VOCABULARY = 3, 4, 11


class Logits(nn.Module):
    """A model of transformers, for its logits alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        outputs, kind = self.model(x), self.model.config.model_type
        if kind == "t5":
            return outputs.last_hidden_state.sum(1)
        return outputs.logits.sum(1) if kind in ("gpt2", "llama") else outputs.logits


def build(name, attention):
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    words = {"vocab_size": VOCABULARY, "max_position_embeddings": 8}
    torch.manual_seed(0)
    if name == "bert":
        config = transformers.BertConfig(**small, **words, num_labels=3, attn_implementation=attention)
        model = transformers.BertForSequenceClassification(config)
    elif name == "gpt2":
        config = transformers.GPT2Config(
            n_embd=8, n_layer=2, n_head=2, n_positions=8, vocab_size=VOCABULARY, attn_implementation=attention
        )
        model = transformers.GPT2LMHeadModel(config)
    elif name == "vit":
        config = transformers.ViTConfig(
            **small, image_size=4, patch_size=2, num_channels=1, num_labels=3, attn_implementation=attention
        )
        model = transformers.ViTForImageClassification(config)
    elif name == "t5":
        config = transformers.T5Config(
            d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, vocab_size=VOCABULARY, attn_implementation=attention
        )
        model = transformers.T5EncoderModel(config)
    else:
        config = transformers.LlamaConfig(**small, **words, num_key_value_heads=1, attn_implementation=attention)
        model = transformers.LlamaForCausalLM(config)
    x = torch.rand(N, 1, 4, 4, dtype=torch.float64) if name == "vit" else torch.randint(0, VOCABULARY, (N, T))
    return model.double(), x


TARGETS = {
    "bert": ["query", "value"],
    "gpt2": ["c_attn", "c_fc"],
    "vit": ["q_proj", "v_proj"],
    "llama": ["q_proj"],
    "t5": ["q", "v"],
}
BARE = {
    "vit": ("model.vit.embeddings.cls_token", "model.vit.embeddings.position_embeddings"),
    "t5": ("model.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",),
}
ROUNDED = ("llama", "t5")
"""Their norms run in float32 whatever their weights are."""

EXPANDED = {"bert": ("model.bert.embeddings.position_embeddings",), "gpt2": ("model.transformer.wpe",)}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_model_of_transformers_is_exact(name, attention):
    model, x = build(name, attention)
    model = Logits(model).eval()
    bare = BARE.get(name, ())
    params = [n for n, _ in model.named_parameters() if n not in bare]
    cap = assert_loops(model, x, params, alone=name not in ROUNDED)
    assert cap.plan.fallback == () and cap.plan.verified
    assert cap.plan.expanded == EXPANDED.get(name, ())
    if bare:
        fallen = capture(Task(model, loss="mse", params=bare), x, seeds="logits", fallback="func", verify=True)
        assert fallen.plan.fallback == bare


@pytest.mark.parametrize("name", TARGETS)
def test_lora_on_a_model_of_transformers_is_exact(name):
    peft = pytest.importorskip("peft")
    model, x = build(name, "sdpa")
    config = peft.LoraConfig(r=2, target_modules=TARGETS[name], init_lora_weights=False, fan_in_fan_out=name == "gpt2")
    model = Logits(peft.get_peft_model(model, config).double().base_model.model).eval()
    cap = assert_loops(model, x, alone=name not in ROUNDED)
    assert cap.pairs and all("lora" in name for name in cap.pairs)


class LittleGPT(nn.Module):
    """Tied head, learned positions as a bare matrix or an embedding, causal attention by hand."""

    def __init__(self, bare):
        super().__init__()
        self.bare, self.wte = bare, nn.Embedding(VOCABULARY, 6)
        self.wpe = nn.Parameter(0.1 * torch.randn(T, 6)) if bare else nn.Embedding(T, 6)
        self.norm, self.qkv, self.proj = nn.LayerNorm(6), nn.Linear(6, 18), nn.Linear(6, 6)
        self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 6)
        self.head = nn.Linear(6, VOCABULARY, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, ids):
        places = self.wpe if self.bare else self.wpe(torch.arange(ids.shape[1]))
        h = self.wte(ids) + places
        q, k, v = self.qkv(self.norm(h)).chunk(3, -1)
        h = h + self.proj(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        h = h + self.down(nn.functional.gelu(self.up(self.norm(h))))
        return self.head(h).mean(1)


@pytest.mark.parametrize("bare", [True, False])
def test_little_gpt_with_a_tied_head_is_exact(bare, rng):
    torch.manual_seed(0)
    model = LittleGPT(bare).double()
    ids = torch.randint(0, VOCABULARY, (N, T), generator=rng)
    cap = assert_loops(model, ids, ["*.weight", "*.bias"])
    assert cap.plan.expanded == (() if bare else ("wpe",))
    if bare:
        one = gradients(capture(Task(model, loss="mse", params=["wpe"]), ids, seeds="logits", fallback="func"))
        outputs = model(ids)
        for n in range(N):
            (want,) = torch.autograd.grad(outputs[n, 2], model.wpe, retain_graph=True)
            torch.testing.assert_close(one["wpe"][n, 2], want, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_transformer_encoder_is_exact(batch_first, padded, rng):
    class Encodes(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=batch_first)
            self.emb, self.encoder = nn.Embedding(VOCABULARY, 4), nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(4, 3)

        def forward(self, ids):
            hidden = (ids == 0) if padded else None
            h = self.emb(ids if batch_first else ids.mT)
            h = self.encoder(h, src_key_padding_mask=hidden)
            return self.head(h).mean(1 if batch_first else 0)

    torch.manual_seed(0)
    ids = torch.randint(1, VOCABULARY, (N, T), generator=rng)
    ids[:, -1] = 0
    assert_loops(Encodes().double(), ids)


def test_tagger_is_exact_with_labels_that_are_ignored(rng):
    class Tags(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(VOCABULARY, 3, padding_idx=0)
            self.rnn, self.head = nn.LSTM(3, 2, bidirectional=True, batch_first=True), nn.Linear(4, 5)

        def forward(self, ids):
            return self.head(self.rnn(self.emb(ids))[0])

    model = Tags().double().eval()
    ids = torch.randint(1, VOCABULARY, (N, T), generator=rng)
    ids[1, 2:] = 0
    y = torch.randint(0, 5, (N, T), generator=rng).masked_fill(ids == 0, -100)
    got = gradients(capture(Task(model), (ids, y), verify=True))
    for n in range(N):
        model.zero_grad()
        nn.functional.cross_entropy(model(ids[n : n + 1])[0], y[n], reduction="sum").backward()
        for name, p in model.named_parameters():
            torch.testing.assert_close(got[name][n], p.grad, rtol=1e-10, atol=1e-14)
