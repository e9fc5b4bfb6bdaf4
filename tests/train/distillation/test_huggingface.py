"""DistillHFTrainer with real models of transformers: equal to a loop by hand, and refused in words."""

import copy

import pytest
import torch

from infotorch.errors import ConfigError, DataError, DivergenceError, StoreError
from infotorch.train import TeacherPath, distill_loss
from tests.laws import assert_same_bits
from tests.train.problems import weights
from tests.train.test_huggingface import Recorder, arguments, bert, gpt, inputs_of, rows

pytestmark = pytest.mark.filterwarnings("ignore")

from infotorch.train import DistillHFTrainer  # noqa: E402  needs transformers


def trainer(student, folder, path, *, data=None, collator=None, distill=None, **options):
    return DistillHFTrainer(
        model=student, args=arguments(folder, **options), train_dataset=rows() if data is None else data,
        data_collator=collator or Recorder(), teacher=path, **(distill or {}),
    )  # fmt: skip


def by_hand(net, batches, modules, schedule, *, parts=1, **options):
    optimizer, epoch, step = torch.optim.SGD(net.parameters(), 0.05), len(batches) // 2, 0
    for first in (0, epoch):
        for start in range(first, first + epoch, parts):
            group = batches[start : min(start + parts, first + epoch)]
            total = sum(int((batch["labels"] != -100).sum()) for batch in group)
            optimizer.zero_grad()
            for batch in group:
                s, there = net(**inputs_of(batch)).logits, batch["labels"] != -100
                t = modules[schedule[step]](**inputs_of(batch)).logits.detach()
                (distill_loss(s[there], t[there], batch["labels"][there], **options) / total).backward()
            optimizer.step()
            step += 1
    assert step == len(schedule)


@pytest.mark.parametrize(
    ("distill", "parts", "schedule"),
    [
        ({}, 1, [1] * 7 + [2] * 7),
        ({"mode": "offline", "tau": 4.0, "alpha": 0.3}, 1, [2] * 14),
        ({"match": "behind", "tau": 2.0}, 3, [0, 0, 0, 1, 1, 1]),
    ],
    ids=["online", "offline", "in three parts"],
)
def test_equals_the_loop_by_hand(distill, parts, schedule, tmp_path):
    """Teachers with dropout, left in train mode, that are as before after it."""
    modules = [bert(seed, dropout=0.3).train() for seed in (5, 6, 7)]
    before = [weights(module) for module in modules]
    student, collator = bert(0), Recorder()
    other = copy.deepcopy(student)
    here = trainer(
        student, tmp_path, TeacherPath(modules), collator=collator, distill=distill, gradient_accumulation_steps=parts
    )
    here.train()
    assert all(module.training for module in modules)
    for module, old in zip(modules, before, strict=True):
        for mine, theirs in zip(weights(module), old, strict=True):
            assert_same_bits(mine, theirs)
        module.eval()
    options = {k: distill[k] for k in ("tau", "alpha") if k in distill}
    by_hand(other, collator.batches, modules, schedule, parts=parts, **options)
    for mine, theirs in zip(weights(student), weights(other), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    assert [entry["checkpoint"] for entry in here.history[::parts]][: len(schedule) // 2] == schedule[
        : len(schedule) // 2
    ]


@pytest.mark.parametrize("items", [None, 17, torch.tensor(17)], ids=["mean", "int", "tensor"])
def test_a_causal_model_predicts_the_next_token(items, tmp_path):
    student, teacher = gpt(0), gpt(1)
    here = trainer(student, tmp_path, teacher, data=rows(tokens=True))
    batch = Recorder()(rows(5, tokens=True))
    here.model.train()
    loss, outputs = here.compute_loss(here.model, dict(batch), return_outputs=True, num_items_in_batch=items)
    assert outputs.loss is None
    s, t = (net.eval()(**inputs_of(batch)).logits[:, :-1] for net in (student, teacher))
    there = batch["labels"][:, 1:] != -100
    total = int(there.sum()) if items is None else 17
    torch.testing.assert_close(loss, distill_loss(s[there], t[there]) / total, rtol=1e-12, atol=0)


def test_a_batch_without_labels_follows_the_teacher_alone(tmp_path):
    student, teacher = bert(0), bert(1)
    here = trainer(student, tmp_path, teacher)
    batch = inputs_of(Recorder()(rows(6)))
    here.model.train()
    s, t = (net.eval()(**batch).logits for net in (student, teacher))
    student.train()
    torch.testing.assert_close(here.compute_loss(here.model, dict(batch)), distill_loss(s, t) / 6, rtol=1e-12, atol=0)
    here = trainer(student, tmp_path, teacher, distill={"alpha": 0.5})
    with pytest.raises(DataError, match=r"^DistillHFTrainer: alpha below 1 needs labels; got \['attention_mask', 'inp"):
        here.compute_loss(student.train(), dict(batch))
    loss = here.compute_loss(student.eval(), {**batch, "labels": torch.zeros(6).long()})
    torch.testing.assert_close(loss, student(**batch, labels=torch.zeros(6).long()).loss)


def test_stored_logits_take_a_column_of_ids(tmp_path):
    teacher, found = bert(1), []

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = teacher

        def forward(self, inputs):
            return self.inner(**inputs).logits

    whole = Recorder()(rows())
    data = [{"inputs": inputs_of(whole), "labels": whole["labels"], "ids": whole["ids"]}]
    TeacherPath.record(Logits(), 1, tmp_path / "path", dtype="float64", what="logits", data=data)
    for path in (TeacherPath([teacher]), TeacherPath(tmp_path / "path")):
        student = bert(0)
        trainer(student, tmp_path / "out", path, num_train_epochs=1).train()
        found.append(weights(student))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_resumed_training_goes_on_with_the_schedule(tmp_path):
    modules, found = [bert(seed) for seed in (5, 6, 7, 8)], []
    for resume in (False, True):
        student = bert(0, dropout=0.2)
        here = trainer(student, tmp_path / "a", TeacherPath(modules), save_strategy="steps", save_steps=5)
        here.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-5") if resume else None)
        found.append((weights(student), [entry["checkpoint"] for entry in here.history]))
    assert found[1][1] == found[0][1][5:] and set(found[0][1]) == {1, 2, 3}
    for mine, theirs in zip(found[0][0], found[1][0], strict=True):
        assert_same_bits(mine, theirs)


def test_misuse(tmp_path):
    student = bert(0)
    for distill, text in [
        ({"tau": -1.0}, "tau must be finite and above 0; got -1.0"),
        ({"loss": "kll"}, "loss must be one of .* Did you mean 'kl'"),
        ({"match": "a"}, "match must be one of .* Did you mean 'ahead'"),
    ]:
        with pytest.raises(ConfigError, match=f"^DistillHFTrainer: {text}"):
            trainer(student, tmp_path, bert(1), distill=distill)
    with pytest.raises(ConfigError, match=r"^DistillHFTrainer: student and teacher must share no parameter"):
        trainer(student, tmp_path, student)
    with pytest.raises(ConfigError, match=r"^DistillHFTrainer: label_smoothing_factor does not go with a teacher"):
        trainer(student, tmp_path, bert(1), label_smoothing_factor=0.1)
    with pytest.raises(ConfigError, match=r"^DistillHFTrainer: teacher must be a TeacherPath or a module; got str"):
        trainer(student, tmp_path, "teacher")
    with pytest.raises(ValueError, match="student and teacher must have the same classes; got 4 and 9"):
        trainer(student, tmp_path, bert(1, num_labels=9)).train()
    recording = TeacherPath.record(bert(1), 1, tmp_path / "path", dtype="float32")
    recording.step()
    with pytest.raises(StoreError, match=r"^TeacherPath: model must be the network of the checkpoint"):
        TeacherPath(tmp_path / "path", model=bert(1, num_labels=9))


@pytest.mark.slow
def test_real_questions(data_folder, tmp_path):
    """The example on BANKING77, small: the teacher tells six intents apart, and both students train."""
    banking77 = pytest.importorskip("benchmarks.distill.banking77")
    small = "--rows 400 --epochs 8 --intents 6 --width 32 --every 10 --lr 5e-3".split()
    found = banking77.main([*small, "--out", str(tmp_path)])
    assert list(found) == ["teacher", "student, labels alone", "student, distilled online"]
    assert found["teacher"] > 0.5 and len(TeacherPath(tmp_path / "teacher", model=banking77.classifier(32, 2, 6))) == 11


def test_a_teacher_that_is_no_network_any_more_is_refused(tmp_path):
    teacher, student = bert(5), bert(0)
    with torch.no_grad():
        next(teacher.parameters()).fill_(float("nan"))
    with pytest.raises(DivergenceError, match=r"^DistillHFTrainer: the loss must be finite; got nan in step 0"):
        trainer(student, tmp_path, teacher).train()
    assert all(bool(each.isfinite().all()) for each in weights(student))
