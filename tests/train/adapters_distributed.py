"""Two processes that train through the adapters: python -m tests.train.adapters_distributed FOLDER PORT."""

import os
import sys
import warnings

import lightning.pytorch
import torch
import torch.nn.functional as F
import transformers
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from infotorch.errors import DataError
from infotorch.train import LimitCallback, LimitHFTrainer
from tests.train.problems import mlp, samples, weights

WORLD, PER_RANK, STEPS = 2, 6, 4


def data(labels_missing):
    x, y, ids = samples(torch.Generator().manual_seed(4), N=PER_RANK * WORLD * STEPS)
    if labels_missing:  # in some batches of a rank more than in the other's
        y[::7] = -100
    return TensorDataset(x, y, ids)


class Plain(lightning.pytorch.LightningModule):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, index):
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def in_lightning(world, lam=5.0, ids=True):
    """Weights of both networks; ranks take samples in turn, so that their batches together are those of one process."""
    own = 0 if world == 1 else int(os.environ["RANK"])
    model, aux = mlp(0), mlp(1 + own)  # the first rank's is taken
    limit = LimitCallback(
        aux, lam=lam, batch_ids=(lambda batch: batch[2]) if ids else None,
        aux_optimizer=torch.optim.SGD(aux.parameters(), 0.2),
    )  # fmt: skip
    trainer = lightning.pytorch.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", logger=False, precision="64-true",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, max_epochs=1,
        callbacks=[limit], accumulate_grad_batches=2, gradient_clip_val=0.1, use_distributed_sampler=False,
    )  # fmt: skip
    sampler = DistributedSampler(data(False), world, own, shuffle=False)
    trainer.fit(Plain(model), DataLoader(data(False), PER_RANK * WORLD // world, sampler=sampler))
    return weights(model, aux)


class Table(nn.Module):
    """A model as those of transformers are called."""

    def __init__(self, seed):
        super().__init__()
        self.net = mlp(seed)

    def forward(self, x, labels=None, **kwargs):
        return {"logits": self.net(x)}


def in_transformers(world, folder, lam=5.0):
    """The same in the Trainer, where labels are counted over all ranks, some without one."""
    model, aux = Table(0), Table(1)
    rows = [{"x": x, "labels": y, "ids": n} for x, y, n in data(True)]
    args = transformers.TrainingArguments(
        output_dir=folder, use_cpu=True, report_to=[], disable_tqdm=True, logging_strategy="no", save_strategy="no",
        per_device_train_batch_size=PER_RANK * WORLD // world, num_train_epochs=1, learning_rate=0.1, optim="sgd",
        lr_scheduler_type="constant", gradient_accumulation_steps=2, max_grad_norm=0.1, seed=1,
        remove_unused_columns=False,
    )  # fmt: skip
    trainer = LimitHFTrainer(model=model, args=args, train_dataset=rows, aux_model=aux, lam=lam)
    trainer.train()
    return weights(model, aux)


def rank(number, folder, port):
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "one", "GROUP_RANK": "0"}
    own = dict.fromkeys(("RANK", "LOCAL_RANK"), str(number)) | dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2")
    os.environ.update(shared | own)  # as torchrun does
    found = {"transformers": in_transformers(WORLD, folder), "lightning": in_lightning(WORLD)}
    try:
        in_lightning(WORLD, ids=False)
    except DataError as error:
        found["text"] = str(error)
    torch.save(found, os.path.join(folder, str(number)))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # Forked, so that the libraries are imported once.
    torch.multiprocessing.start_processes(rank, sys.argv[1:], WORLD, start_method="fork")
