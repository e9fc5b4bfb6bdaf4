"""The adapters come when they are asked for, say what they lack, and train in two processes as in one."""

import pathlib
import socket
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

import infotorch.train
from infotorch.errors import MissingExtraError
from infotorch.train.adapters import ADAPTERS
from tests.laws import assert_same_bits
from tests.train.problems import mlp, networks, samples, weights

HOUSE = pathlib.Path(__file__).parents[2]


def test_no_library_is_imported_before_it_is_asked_for():
    libraries = ("lightning", "pytorch_lightning", "transformers", "accelerate")
    code = f"import sys, infotorch; sys.exit(str(found) if (found := set({libraries}) & set(sys.modules)) else 0)"
    subprocess.run([sys.executable, "-c", code], cwd=HOUSE, check=True)


@pytest.mark.parametrize(
    ("name", "absent", "needed", "extra"),
    [
        ("FisherTraceCallback", ("lightning", "pytorch_lightning"), "lightning.pytorch", "lightning"),
        ("FisherTraceHFCallback", ("transformers",), "transformers", "huggingface"),
        ("LimitCallback", ("lightning", "pytorch_lightning"), "lightning.pytorch", "lightning"),
        ("LimitHFTrainer", ("transformers",), "transformers", "huggingface"),
        ("LimitHFTrainer", ("accelerate",), "accelerate", "huggingface"),
    ],
)
def test_a_library_that_is_missing(name, absent, needed, extra, monkeypatch):
    monkeypatch.delitem(sys.modules, f"infotorch.train.{ADAPTERS[name]}", raising=False)
    for library in absent:
        for module in [m for m in sys.modules if m.startswith(f"{library}.")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, library, None)
    text = rf'^{name}: needs {needed}; got .*\. Run: pip install "infotorch\[{extra}\]"\.$'
    with pytest.raises(MissingExtraError, match=text) as raised:
        getattr(infotorch.train, name)
    assert isinstance(raised.value, ImportError)


def test_the_old_name_of_lightning_will_do(monkeypatch, rng):
    """Where it alone is installed, the callback is one of its own, and trains in its Trainer."""
    library = pytest.importorskip("pytorch_lightning")

    class Module(library.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = mlp()

        def training_step(self, batch, index):
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    monkeypatch.delitem(sys.modules, "infotorch.train.lightning", raising=False)
    monkeypatch.setitem(sys.modules, "lightning", None)
    try:
        limit = infotorch.train.LimitCallback(mlp(1))
    finally:
        sys.modules.pop("infotorch.train.lightning", None)
    assert isinstance(limit, library.Callback)
    x, y, _ = samples(rng, N=8)
    trainer = library.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, max_epochs=3, callbacks=[limit], precision="64-true",
    )  # fmt: skip
    module = Module()
    trainer.fit(module, DataLoader([(x, y)], batch_size=None))
    nets = networks()
    optimizers = [torch.optim.SGD(nets[0].parameters(), 0.1), torch.optim.Adam(nets[1].parameters(), 1e-3)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        infotorch.train.limit_gradient(nets[0](x), nets[1](x), y).backward()
        for optimizer in optimizers:
            optimizer.step()
    for mine, theirs in zip(weights(module.model, limit.aux), weights(*nets), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_name_that_there_is_not():
    with pytest.raises(AttributeError, match=r"module 'infotorch.train' has no attribute 'LimitKeras'"):
        _ = infotorch.train.LimitKeras


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    """Weights of both networks, with noise, accumulation and clipping; under transformers with labels missing too."""
    for library in ("lightning", "transformers", "accelerate"):
        pytest.importorskip(library)
    from tests.train import adapters_distributed as runs

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.train.adapters_distributed", str(tmp_path), str(port)]
    subprocess.run(command, cwd=HOUSE, check=True, timeout=300, stdout=subprocess.DEVNULL)
    found = [torch.load(tmp_path / rank) for rank in ("0", "1")]
    whole = {"lightning": runs.in_lightning(1), "transformers": runs.in_transformers(1, str(tmp_path))}
    for name, one in whole.items():
        for mine, theirs, alone in zip(found[0][name], found[1][name], one, strict=True):
            assert_same_bits(mine, theirs)
            assert (mine - alone).abs().max() <= 1e-12
    must = "LimitCallback: noise in several processes needs the samples' ids; got none. Pass batch_ids=."
    assert found[0]["text"] == found[1]["text"] == must
