import pytest
import torch

from infotorch.measures import fisher_trace
from infotorch.task import Task
from infotorch.train import FisherTrace
from tests.huggingface import VOCAB, distilbert, transformers

pytestmark = pytest.mark.filterwarnings("ignore")

from infotorch.train import FisherTraceHFCallback  # noqa: E402  needs transformers


def test_it_records_a_training_of_transformers(tmp_path, rng):
    """The first row is of the model as it came, the last of the model as it is; dropout is off meanwhile."""
    torch.manual_seed(0)
    model = distilbert(num_labels=3)
    words, y = torch.randint(1, VOCAB, (12, 5), generator=rng), torch.randint(0, 3, (12,), generator=rng)
    data = [{"input_ids": words[n], "attention_mask": torch.ones_like(words[n]), "labels": y[n]} for n in range(12)]
    inputs = {"input_ids": words, "attention_mask": torch.ones_like(words)}
    task = Task(model, params=["*classifier*"], forward=lambda model, x: model(**x).logits)
    first = fisher_trace(Task(model.eval(), params=task.params, forward=task.forward), (inputs, y)).total
    trace = FisherTrace(task, (inputs, y), every=2)
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=4, per_device_train_batch_size=4, report_to=[], save_strategy="no",
        use_cpu=True, disable_tqdm=True, learning_rate=1e-2,
    )  # fmt: skip
    trainer = transformers.Trainer(model, args, train_dataset=data, callbacks=[FisherTraceHFCallback(trace)])
    trainer.train()
    assert [row["step"] for row in trace.rows] == [0, 2, 4] and model.training
    assert trace.rows[0]["fisher_trace"] == pytest.approx(first, rel=1e-5)
    last = fisher_trace(Task(model.eval(), params=task.params, forward=task.forward), (inputs, y)).total
    assert trace.rows[-1]["fisher_trace"] == pytest.approx(last, rel=1e-5) and last != pytest.approx(first, rel=1e-2)
