import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from infotorch.task import Task
from infotorch.train import FisherTrace
from tests.train.problems import mlp, samples

lightning = pytest.importorskip("lightning.pytorch", reason="no lightning: it comes with the dev extra")
pytestmark = pytest.mark.filterwarnings("ignore")

from infotorch.train import FisherTraceCallback  # noqa: E402  needs lightning


class Plain(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = mlp()

    def training_step(self, batch, index):
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_it_records_what_a_loop_by_hand_does(rng):
    """Two batches a step: global_step counts steps of the optimizer."""
    x, y, _ = samples(rng, N=16)
    module, model = Plain(), mlp()
    trace, by_hand = (FisherTrace(Task(net), (x, y), every=2) for net in (module.model, model))
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=3,
        enable_checkpointing=False, precision="64-true", accumulate_grad_batches=2,
        callbacks=[FisherTraceCallback(trace)],
    )  # fmt: skip
    trainer.fit(module, DataLoader([(x[k : k + 4], y[k : k + 4]) for k in (0, 4, 8, 12)], batch_size=None))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    by_hand(0)
    for step in range(6):
        optimizer.zero_grad()
        for k in (0, 4) if step % 2 == 0 else (8, 12):
            (F.cross_entropy(model(x[k : k + 4]), y[k : k + 4]) / 2).backward()
        optimizer.step()
        by_hand(step + 1)
    assert [row["step"] for row in trace.rows] == [0, 2, 4, 6]
    for mine, theirs in zip(trace.rows, by_hand.rows, strict=True):
        assert mine["fisher_trace"] == pytest.approx(theirs["fisher_trace"], rel=1e-10)
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-10)
    assert module.model.training
