"""Customer questions of BANKING77: a small transformer distilled from a larger one by transformers' Trainer.

python -m benchmarks.distill.banking77 [--rows 9000] [--epochs 10] [--intents 77] [--lr 1e-3] [--out DIR]

Words are hashed into a vocabulary of fixed size, so that nothing is downloaded; the student follows the teacher's
checkpoints, and its twin learns from the labels alone.
"""

import argparse
import os
import pathlib
import tempfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import transformers
from torch import Tensor, nn

from infotorch.train import DistillHFTrainer, TeacherPath
from infotorch.train.evaluation import evaluating

VOCAB, LENGTH = 2048, 32


def tokens(text: str) -> list[int]:
    """Each word's hash, from 1; 0 pads to ``LENGTH``."""
    words = [1 + zlib.crc32(word.encode()) % (VOCAB - 1) for word in text.lower().split()[:LENGTH]]
    return words + [0] * (LENGTH - len(words))


def questions(folder: pathlib.Path, split: str, intents: int) -> list[dict[str, Any]]:
    """Rows of the first ``intents`` classes, in an order drawn once: the file is sorted by class."""
    table = pq.read_table(folder / "banking77" / f"{split}.parquet")
    y = table["label"].to_numpy()
    texts = table["text"].to_pylist()
    order = np.random.default_rng(0).permutation(np.flatnonzero(y < intents))
    rows = []
    for n in order.tolist():
        ids = tokens(texts[n])
        rows.append({"input_ids": ids, "attention_mask": [int(i > 0) for i in ids], "labels": int(y[n])})
    return rows


def classifier(width: int, layers: int, intents: int) -> nn.Module:
    """A DistilBERT of this size, its weights drawn."""
    config = transformers.DistilBertConfig(
        vocab_size=VOCAB, dim=width, hidden_dim=2 * width, n_layers=layers, n_heads=4, max_position_embeddings=LENGTH,
        num_labels=intents, pad_token_id=0,
    )  # fmt: skip
    return transformers.DistilBertForSequenceClassification(config)


class Recorder(transformers.TrainerCallback):
    """Follows the optimizer's steps of a teacher."""

    def __init__(self, recording: Any) -> None:
        self.recording = recording

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.recording.step()


def accuracy(model: nn.Module, rows: list[dict[str, Any]]) -> float:
    """Share of the rows' labels that are predicted."""
    batch = {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}
    y: Tensor = batch.pop("labels")
    with evaluating(model):
        found = [
            model(**{key: value[part] for key, value in batch.items()}).logits.argmax(1)
            for part in torch.arange(len(y)).split(256)
        ]
    return float((torch.cat(found) == y).double().mean())


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"rows": 9000, "epochs": 10, "intents": 77, "width": 128, "every": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--out", type=pathlib.Path, default=None)
    given = parser.parse_args(arguments)
    out = pathlib.Path(tempfile.mkdtemp()) if given.out is None else given.out
    data = pathlib.Path(os.environ["INFOTORCH_DATA"])
    train = questions(data, "train", given.intents)[: given.rows]
    test = questions(data, "test", given.intents)
    options = transformers.TrainingArguments(
        output_dir=str(out / "trainer"), num_train_epochs=given.epochs, per_device_train_batch_size=32, seed=0,
        learning_rate=given.lr, use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no",
        logging_strategy="no",
    )  # fmt: skip
    torch.manual_seed(0)
    teacher = classifier(given.width, 2, given.intents)
    recording = TeacherPath.record(teacher, given.every, out / "teacher", dtype="float16")
    transformers.Trainer(model=teacher, args=options, train_dataset=train, callbacks=[Recorder(recording)]).train()
    path = TeacherPath(out / "teacher", model=teacher)
    found = {"teacher": accuracy(teacher, test)}
    for name, alpha in (("student, labels alone", 0.0), ("student, distilled online", 1.0)):
        torch.manual_seed(1)
        student = classifier(given.width // 2, 1, given.intents)
        trainer = DistillHFTrainer(model=student, args=options, train_dataset=train, teacher=path, alpha=alpha)
        trainer.train()
        found[name] = accuracy(student, test)
    for name, value in found.items():
        print(f"{name}: {100 * value:.1f} %", flush=True)
    return found


if __name__ == "__main__":
    main()
