"""transformers' Trainer as a learner: equal to a Trainer of one's own, quiet, and on real sentences."""

import os
import pickle
import tempfile

import numpy as np
import pytest
import torch

from infotorch.bounds.grids.cells import Extra
from infotorch.bounds.learners.huggingface_learner import huggingface_learner
from infotorch.errors import ConfigError, DataError, MissingExtraError, NumericsError
from tests.huggingface import VOCAB, banking77, distilbert, transformers

pytestmark = pytest.mark.filterwarnings("ignore")

N, T, C = 24, 6, 3
EXTRA = Extra(k1=0, k2=0)
RNG = np.random.default_rng(0)
WORDS = RNG.integers(1, VOCAB, (N, T))
ROWS = [{"input_ids": words.tolist(), "labels": int(words.sum() % C)} for words in WORDS]
ARGS = {"num_train_epochs": 6, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "use_cpu": True}
TRAIN, ALL = np.arange(0, N, 2), np.arange(N)


def bert(num_labels=C, **options):
    return distilbert(num_labels=num_labels, **options)


def learner(model_init=bert, rows=ROWS, args=ARGS):
    return huggingface_learner(model_init, rows, args=args)


def test_a_run_is_a_trainers(tmp_path):
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), seed=5, save_strategy="no", report_to=[], **ARGS
    )
    trainer = transformers.Trainer(
        args=arguments, model_init=lambda: bert(), train_dataset=[ROWS[n] for n in TRAIN], callbacks=[],
    )  # fmt: skip
    trainer.train()
    expected = trainer.predict(ROWS).predictions.argmax(1)
    for given in (ARGS, arguments):
        found = learner(args=given)(TRAIN, 2**33 + 5, EXTRA)(ALL)
        assert found.dtype == np.int64 and found.tolist() == expected.tolist()


def test_runs_follow_their_seed_and_leave_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    one = learner()
    assert one.labels.tolist() == [row["labels"] for row in ROWS]
    predictions = [one(TRAIN, seed, EXTRA)(ALL).tolist() for seed in (1, 1, 2)]
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert predictions[0] == predictions[1] != predictions[2] and drawn == torch.rand(1)
    assert capfd.readouterr().out == "" and not os.listdir(tmp_path)


def test_learners_cross_to_other_processes():
    there = pickle.loads(pickle.dumps(learner()))
    order = RNG.permutation(N)
    assert there(TRAIN, 1, EXTRA)(order).tolist() == learner()(TRAIN, 1, EXTRA)(ALL)[order].tolist()


class Dataset(torch.utils.data.Dataset):
    """Rows of tensors."""

    def __len__(self):
        return N

    def __getitem__(self, place):
        return {name: torch.tensor(value) for name, value in ROWS[place].items()}


def test_data_sets_of_torch():
    assert learner(rows=Dataset())(TRAIN, 1, EXTRA)(ALL).tolist() == learner()(TRAIN, 1, EXTRA)(ALL).tolist()


class Lost(transformers.DistilBertForSequenceClassification):
    def forward(self, input_ids, labels=None):
        found = super().forward(input_ids, labels=labels)
        found.logits = found.logits * torch.nan
        return found


def without_label():
    return [*ROWS[:3], {"input_ids": [1]}]


REFUSED = {
    "a model": (lambda: learner(bert()), ConfigError, "model_init must be a function .*; got DistilBertFor"),
    "args": (lambda: learner(args=3), ConfigError, "args must be TrainingArguments or a dict .*; got int"),
    "option": (lambda: learner(args={"epochs": 3}), ConfigError, "an option of args must be one of .*; got 'epochs'"),
    "labels": (lambda: learner(rows=without_label()), DataError, "every row .* labels, .*; got None in row 3"),
    "negative": (lambda: learner(rows=[*ROWS, ROWS[0] | {"labels": -100}]), DataError, "got -100 in row 24"),
    "floats": (lambda: learner(rows=[ROWS[0] | {"labels": 0.5}]), DataError, r"got 0\.5 in row 0"),
    "no rows": (lambda: learner(rows=[]), DataError, "got no row"),
    "no dicts": (lambda: learner(rows=[(1, 2)]), DataError, "must be a dict .*; got None in row 0"),
    "checkpoints": (
        lambda: learner()(TRAIN, 0, Extra(k1=0, k2=0, checkpoints=(1,))),
        ConfigError, r"must be without checkpoints; got \[1\]",
    ),
    "regression": (
        lambda: learner(lambda: bert(num_labels=1))(TRAIN, 0, EXTRA)(ALL),
        ConfigError, r"logits \[N, C\] of at least two classes; got \[24, 1\]",
    ),
    "nan": (
        lambda: learner(lambda: Lost(bert().config))(TRAIN, 0, EXTRA)(ALL[7:]), NumericsError, "got nan for item 7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    make, error, text = REFUSED[name]
    with pytest.raises(error, match=f"^huggingface_learner: .*{text}"):
        make()


@pytest.mark.parametrize("module", ["transformers", "accelerate"])
def test_without_the_extra(monkeypatch, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match=rf'huggingface_learner: needs {module}; .*"infotorch\[huggingface\]"'):
        learner()


def test_intents_of_banking77(data_folder):
    """Real sentences of two intents: a run on a quarter of them tells the others apart."""
    sentences, y, fast = banking77(data_folder, [11, 60], 200)
    rows = [{**row, "labels": int(label)} for row, label in zip(sentences, y, strict=True)]
    one = huggingface_learner(
        lambda: bert(vocab=200, num_labels=2, width=32), rows, processing_class=fast,
        args={**ARGS, "num_train_epochs": 6, "learning_rate": 5e-3, "per_device_train_batch_size": 8},
    )  # fmt: skip
    order = np.random.default_rng(0).permutation(len(rows))
    train, test = order[: len(rows) // 4], order[len(rows) // 4 :]
    said = one(train, 0, EXTRA)
    assert (said(test) == one.labels[test]).mean() > 0.85
