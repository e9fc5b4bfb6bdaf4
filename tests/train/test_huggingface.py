"""LimitHFTrainer with real models of transformers: equal to a loop by hand, blind to labels, and refused in words."""

import copy
import os

import numpy as np
import pytest
import torch
from torch import nn

from infotorch.errors import ConfigError, DataError, NotSupported, StoreError
from infotorch.ops import LimitNoise
from infotorch.train import flip_labels, limit_gradient, transition_matrix
from tests.huggingface import VOCAB, banking77, distilbert, transformers
from tests.laws import assert_same_bits
from tests.train.problems import weights

pytestmark = pytest.mark.filterwarnings("ignore")

from infotorch.train import LimitHFTrainer  # noqa: E402  needs transformers

T, C = 7, 4


def bert(seed, *, dropout=0.0, dtype=torch.float64, num_labels=C, **options):
    torch.manual_seed(seed)
    drops = dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), dropout)
    return distilbert(num_labels=num_labels, **drops, **options).to(dtype)


def gpt(seed, dtype=torch.float64):
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=16, n_layer=1, n_head=2, n_positions=16, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).to(dtype)


def rows(N=26, tokens=False):
    """Sentences of which some are padded; every ninth label is missing."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(N):
        length = int(rng.integers(3, T + 1))
        words = [*rng.integers(1, VOCAB, length).tolist(), *[0] * (T - length)]
        mask = [1] * length + [0] * (T - length)
        label = [w if m else -100 for w, m in zip(words, mask, strict=True)] if tokens else int(rng.integers(C))
        found.append({"input_ids": words, "attention_mask": mask, "labels": -100 if n % 9 == 4 else label, "ids": n})
        if tokens:
            found[-1]["labels"] = label
    return found


class Recorder:
    """A collator that keeps what it hands out."""

    def __init__(self):
        self.batches = []

    def __call__(self, rows):
        batch = {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}
        self.batches.append({key: value.clone() for key, value in batch.items()})
        return batch


def arguments(folder, **options):
    return transformers.TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, logging_strategy="no", seed=3,
        **{"per_device_train_batch_size": 4, "num_train_epochs": 2, "save_strategy": "no", "learning_rate": 0.05,
           "lr_scheduler_type": "constant", "optim": "sgd", "max_grad_norm": 0.0, **options},
    )  # fmt: skip


def trainer(nets, folder, *, data=None, limit=None, kind=None, collator=None, eval_data=None, **options):
    data = rows() if data is None else data
    return (kind or LimitHFTrainer)(
        model=nets[0], args=arguments(folder, **options), train_dataset=data, eval_dataset=eval_data,
        data_collator=collator or Recorder(), **({"aux_model": nets[1]} if kind is None else {}), **(limit or {}),
    )  # fmt: skip


def inputs_of(batch):
    return {key: batch[key] for key in ("input_ids", "attention_mask")}


def by_hand(nets, batches, *, parts=1, clip=0.0, smoothing=0.0, aux_lr=0.05, lam=None, seed=0, **options):
    optimizers = [torch.optim.SGD(net.parameters(), lr) for net, lr in zip(nets, (0.05, aux_lr), strict=True)]
    epoch, step = len(batches) // 2, 0
    for first in (0, epoch):
        for start in range(first, first + epoch, parts):
            group = batches[start : min(start + parts, first + epoch)]
            total = sum(int((batch["labels"] != -100).sum()) for batch in group)
            for optimizer in optimizers:
                optimizer.zero_grad()
            for batch in group:
                z, v = (net(**inputs_of(batch)).logits for net in nets)
                noise = None if lam is None else LimitNoise(seed=seed, step=step, ids=batch["ids"])
                loss = limit_gradient(
                    z, v, batch["labels"], reduction="sum", label_smoothing=smoothing, lam=lam, noise=noise, **options
                )
                (loss / total).backward()
            for net, optimizer in zip(nets, optimizers, strict=True):
                if clip:
                    nn.utils.clip_grad_norm_(net.parameters(), clip)
                optimizer.step()
            step += 1


def assert_close(nets, others):
    for mine, theirs in zip(weights(*nets), weights(*others), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("limit", "options", "hand"),
    [
        ({}, {}, {}),
        ({"q": "laplace", "beta": 10.0}, {"gradient_accumulation_steps": 3}, {"parts": 3}),
        ({"aux_learning_rate": 0.2}, {"max_grad_norm": 0.03}, {"clip": 0.03, "aux_lr": 0.2}),
        ({"lam": 5.0, "seed": 2}, {"gradient_accumulation_steps": 2}, {"parts": 2, "lam": 5.0, "seed": 2}),
        ({"q": "ce", "beta": 0.1}, {"label_smoothing_factor": 0.2}, {"smoothing": 0.2}),
    ],
    ids=["gaussian", "laplace in three parts", "clipped", "sampled in two parts", "smoothed"],
)
def test_equals_the_loop_by_hand(limit, options, hand, tmp_path):
    """Seven batches an epoch; steps divide by the labels of all their parts."""
    nets, collator = (bert(0), bert(1)), Recorder()
    other = copy.deepcopy(nets)
    trainer(nets, tmp_path, limit=limit, collator=collator, **options).train()
    assert len(collator.batches) == 14
    by_hand(other, collator.batches, **{k: limit[k] for k in ("q", "beta") if k in limit}, **hand)
    assert_close(nets, other)


def test_samples_without_ids_are_numbered_in_their_step(tmp_path):
    data = [{k: v for k, v in row.items() if k != "ids"} for row in rows()]
    nets, collator = (bert(0), bert(1)), Recorder()
    other = copy.deepcopy(nets)
    trainer(nets, tmp_path, data=data, limit={"lam": 5.0}, collator=collator, gradient_accumulation_steps=2).train()
    at = [0, 4, 0, 4, 0, 4, 0] * 2
    batches = [{**b, "ids": torch.arange(len(b["labels"])) + k} for b, k in zip(collator.batches, at, strict=True)]
    by_hand(other, batches, parts=2, lam=5.0)
    assert_close(nets, other)


@pytest.mark.parametrize("limit", [{}, {"q": "laplace"}, {"lam": 3.0}], ids=str)
@pytest.mark.parametrize("options", [{}, {"bf16": True}], ids=["float32", "bf16"])
def test_the_models_gradient_knows_no_label(limit, options, tmp_path):
    found, aux = [], []
    for shift in (0, 1):
        nets = bert(0, dtype=torch.float32), bert(1, dtype=torch.float32)
        data = rows(8)
        for row, other in zip(data, rows(8)[shift:] + rows(8)[:shift], strict=True):
            row["labels"] = max(other["labels"], 0)
        here = trainer(
            nets, tmp_path, data=data, limit=limit, num_train_epochs=1, per_device_train_batch_size=8, **options
        )
        here.train()
        found.append(weights(nets[0]))
        aux.append(weights(nets[1]))
    for a, b in zip(*found, strict=True):
        assert_same_bits(a, b)
    assert not all(map(torch.equal, *aux))


@pytest.mark.parametrize("items", [None, 17, torch.tensor(17)], ids=["mean", "int", "tensor"])
def test_a_causal_model_predicts_the_next_token(items, tmp_path):
    """Labels move by one; padding doesn't count; the loss divides by the Trainer's number of items."""
    nets = gpt(0), gpt(1)
    here = trainer(nets, tmp_path, data=rows(tokens=True))
    batch = Recorder()(rows(5, tokens=True))
    here.model.train()
    loss, outputs = here.compute_loss(here.model, dict(batch), return_outputs=True, num_items_in_batch=items)
    loss.backward()
    mine = [p.grad.clone() for net in nets for p in net.parameters()]
    assert outputs.loss is None and outputs.logits.shape == (5, T, VOCAB)
    for net in nets:
        net.zero_grad()
    z, v = (net(**inputs_of(batch)).logits[:, :-1] for net in nets)
    labels = batch["labels"][:, 1:]
    total = int((labels != -100).sum()) if items is None else 17
    expected = limit_gradient(z, v, labels, reduction="sum") / total
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for a, p in zip(mine, (p for net in nets for p in net.parameters()), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-11, atol=1e-13)


def test_labels_that_the_collator_has_shifted_stay(tmp_path):
    here = trainer((gpt(0), gpt(1)), tmp_path, data=rows(tokens=True))
    batch = Recorder()(rows(5, tokens=True))
    here.model.train()
    expected = here.compute_loss(here.model, dict(batch))
    shifted = torch.cat([batch["labels"][:, 1:], torch.full((5, 1), -100)], 1)
    batch["labels"] = torch.zeros_like(shifted)
    assert_same_bits(here.compute_loss(here.model, {**batch, "shift_labels": shifted}), expected)


def test_a_model_that_predicts_each_token_is_not_shifted(tmp_path):
    kind = "ForTokenClassification"
    nets = bert(0, kind=kind), bert(1, kind=kind)
    data = [{**row, "labels": [min(w, C) - 1 for w in row["input_ids"]]} for row in rows()]
    for row in data:
        row["labels"] = [y if y >= 0 else -100 for y in row["labels"]]
    other, collator = copy.deepcopy(nets), Recorder()
    trainer(nets, tmp_path, data=data, collator=collator).train()
    by_hand(other, collator.batches)
    assert_close(nets, other)


def test_no_model_sees_labels_in_training(tmp_path):
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.seen = nn.Embedding(VOCAB, C), []

        def forward(self, input_ids, attention_mask=None, labels=None):
            self.seen.append(labels)
            logits = self.table(input_ids).mean(1)
            return (logits,) if labels is None else (nn.functional.cross_entropy(logits, labels), logits)

    nets = Seen(), Seen()
    data = [row for row in rows(8) if row["labels"] >= 0]
    here = trainer(nets, tmp_path, data=data, eval_data=data, num_train_epochs=1)
    here.train()
    assert nets[0].seen == [None] * 2 == nets[1].seen
    here.evaluate()
    assert nets[0].seen[-1] is not None and len(nets[1].seen) == 2


def test_evaluation_is_the_trainers_own(tmp_path):
    nets = bert(0), bert(1)
    plain = trainer(nets, tmp_path, kind=transformers.Trainer, eval_data=rows())
    here = trainer(nets, tmp_path, eval_data=rows())
    assert "prediction_step" not in vars(LimitHFTrainer)
    expected, found = plain.predict(rows()), here.predict(rows())
    np.testing.assert_array_equal(found.predictions, expected.predictions)
    assert found.metrics["test_loss"] == expected.metrics["test_loss"]


def test_a_training_goes_on_exactly_from_a_checkpoint(tmp_path):
    def run(folder, resume=None, aux_seed=1, **limit):
        nets = bert(0, dropout=0.1), bert(aux_seed, dropout=0.1)
        here = trainer(
            nets, folder, limit={"lam": 4.0, **limit}, optim="adamw_torch", learning_rate=1e-2, save_strategy="steps",
            save_steps=5, num_train_epochs=2, lr_scheduler_type="linear",
        )  # fmt: skip
        here.train(resume_from_checkpoint=resume)
        return weights(*nets)

    whole = run(tmp_path / "a")
    half = tmp_path / "a" / "checkpoint-5"
    assert (half / "aux" / "limit.pt").exists()
    assert all(map(torch.equal, whole, run(tmp_path / "b", str(half), aux_seed=7)))
    with pytest.raises(ConfigError, match=r"LimitHFTrainer.load_aux: beta must be that of the checkpoint, 1.0; got"):
        run(tmp_path / "b", str(half), beta=2.0)
    (half / "aux" / "limit.pt").unlink()
    with pytest.raises(StoreError, match=r"limit.pt must be .*; got"):
        run(tmp_path / "b", str(half))


def test_the_best_model_brings_its_auxiliary_network(tmp_path):
    nets = bert(0), bert(1)
    here = trainer(
        nets, tmp_path, eval_data=rows(), eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True,
        metric_for_best_model="eval_runtime", num_train_epochs=2,
    )  # fmt: skip
    here.train()
    saved = torch.load(os.path.join(here.state.best_model_checkpoint, "aux", "limit.pt"))["aux"]
    assert all(torch.equal(saved[name], value) for name, value in nets[1].state_dict().items())


def test_the_optimizer_moves_both(tmp_path):
    nets = bert(0), bert(1)
    nets[1].distilbert.embeddings.requires_grad_(False)
    here = trainer(nets, tmp_path, limit={"aux_learning_rate": 0.3}, weight_decay=0.1)
    groups = here.create_optimizer().param_groups
    assert [group["lr"] for group in groups] == [0.05, 0.05, 0.3, 0.3]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0, 0.1, 0.0]
    held = [id(p) for group in groups for p in group["params"]]
    wanted = [id(p) for net in nets for p in net.parameters() if p.requires_grad]
    assert sorted(held) == sorted(wanted)
    assert here.create_optimizer() is here.optimizer and len(here.optimizer.param_groups) == 4

    def given(optimizer):
        return trainer(nets, tmp_path, limit={"optimizers": (optimizer, None)}).create_optimizer()

    both = torch.optim.SGD([p for net in nets for p in net.parameters()], 0.1)
    assert given(both) is both
    with pytest.raises(ConfigError, match=r"must hold the parameters of both models; got one without aux_model.distil"):
        given(torch.optim.SGD(nets[0].parameters(), 0.1))


def t5():
    config = transformers.T5Config(vocab_size=VOCAB, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    return transformers.T5ForConditionalGeneration(config)


SHARED = bert(0)
REFUSED = {
    "loss": (
        lambda: {"limit": {"compute_loss_func": print}},
        ConfigError,
        "compute_loss_func does not go with",
    ),
    "optim": (lambda: {"optim": "lomo"}, ConfigError, "optim does not go with an auxiliary network; got it. Ch"),
    "shared": (lambda: {"nets": (SHARED, SHARED)}, ConfigError, r"share no parameter; got classifier\.distilbert\.emb"),
    "frozen": (
        lambda: {"nets": (bert(0), bert(1).requires_grad_(False))},
        ConfigError,
        "aux must have a trainable",
    ),
    "decoder": (
        lambda: {"nets": (t5(), t5())},
        NotSupported,
        "labels must be no inputs; got T5ForCond",
    ),
    "regression": (
        lambda: {"nets": (bert(0, problem_type="regression"), bert(1))},
        ConfigError,
        "problem_type must be single_label_classification; got 'regression'",
    ),
    "spans": (
        lambda: {"nets": [bert(k, kind="ForQuestionAnswering", num_labels=2) for k in (0, 1)]},
        ConfigError,
        r"label_names must be \['labels'\]; got \['start_positions', 'end_positions'\]. Take",
    ),
    "q": (lambda: {"limit": {"q": "gauss"}}, ConfigError, "q must be one of 'gaussian', 'laplace', 'ce'; got 'gauss'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_of_settings(name, tmp_path):
    make, error, text = REFUSED[name]
    options = make()
    with pytest.raises(error, match=f"^LimitHFTrainer: .*{text}"):
        trainer(options.pop("nets", (bert(0), bert(1))), tmp_path, **options)
    with pytest.raises(ConfigError, match=r"^LimitHFTrainer: model_init does not go with"):
        LimitHFTrainer(model_init=lambda: bert(0), args=arguments(tmp_path), aux_model=bert(1))


def test_refusals_of_batches(tmp_path):
    data = [{k: v for k, v in row.items() if k != "labels"} for row in rows()]
    with pytest.raises(DataError, match=r"a batch must hold labels; got \['attention_mask', 'input_ids'\]. Let"):
        trainer((bert(0), bert(1)), tmp_path, data=data).train()
    data = [{**row, "labels": float(row["labels"])} for row in rows()]
    with pytest.raises(ConfigError, match=r"labels must be classes, int64; got torch.float32 for 4 outputs. Regr"):
        trainer((bert(0), bert(1)), tmp_path, data=data).train()
    headless = transformers.DistilBertModel(bert(1).config).double()
    with pytest.raises(ConfigError, match=r"aux_model must return logits; got keys \['last_hidden_state'\]. Take"):
        trainer((bert(0), headless), tmp_path).train()
    with pytest.raises(ValueError, match=r"logits and aux_logits must have one shape; got \[4, 4\] and \[4, 3\]"):
        trainer((bert(0), bert(1, num_labels=3)), tmp_path).train()


def test_wrong_intents_of_banking77(data_folder, tmp_path):
    """Real sentences with a third of the labels wrong: the model answers mostly with the right ones."""
    intents = [0, 11, 30, 60]
    sentences, y, fast = banking77(data_folder, intents, 400)
    noisy, wrong = flip_labels(torch.from_numpy(y), transition_matrix("uniform", len(intents), 0.33))
    data = [
        {**row, "labels": label, "ids": n} for n, (row, label) in enumerate(zip(sentences, noisy.tolist(), strict=True))
    ]
    nets = [bert(k, vocab=400, num_labels=len(intents), width=32, dtype=torch.float32) for k in (0, 1)]
    here = LimitHFTrainer(
        model=nets[0], aux_model=nets[1], args=arguments(tmp_path, optim="adamw_torch", learning_rate=4e-3,
        per_device_train_batch_size=16, num_train_epochs=5), train_dataset=data, processing_class=fast,
    )  # fmt: skip
    here.train()
    said = here.predict(data).predictions.argmax(1)
    right = (said == y)[wrong.numpy()]
    assert wrong.float().mean() > 0.25 and right.mean() > 0.6, right.mean()
