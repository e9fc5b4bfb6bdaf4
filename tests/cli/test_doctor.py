import importlib
import json
import platform
import types

import pytest
import torch

from infotorch.cli import doctor

BUILD = {"cuda_archs": "", "torch": "2.13.0", "compiler": "gcc 12", "instruction_set": "avx512"}


@pytest.fixture
def built(monkeypatch):
    """A build that loads, whatever was built here."""
    real = importlib.import_module
    fake = types.SimpleNamespace(build=BUILD)
    monkeypatch.setattr(
        importlib, "import_module", lambda name, package=None: fake if name == "infotorch._C" else real(name, package)
    )


class Distribution:
    requires = (
        "torch>=2.10",
        'jinja2>=3.1; extra == "report"',
        'numpy>=999; extra == "report"',
        "absent_thing[x]>=1 ; extra == 'demo'",
        'infotorch[report]; extra == "demo"',
        'rich; extra == "whole"',
    )
    metadata = types.SimpleNamespace(get_all=lambda name: ["report", "demo", "whole"])


def test_all_that_there_is_stands_in_the_json(run, built):
    done = run("doctor", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["python"] == platform.python_version()
    assert {"numpy", "pyarrow", "infotorch"} <= set(found["versions"])
    assert found["threads"] == torch.get_num_threads()
    assert found["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert found["devices"][0] == "cpu"
    assert found["build"] == BUILD


def test_a_person_reads_the_same_in_lines(run, built):
    done = run("doctor")
    assert done.code == 0 and done.err == ""
    facts = dict(line.split("  ", 1) for line in done.out.splitlines())
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["torch"] == torch.__version__ and facts["devices"].startswith("cpu")
    assert facts["build: CUDA kernels"] == "not built" and facts["build: compiler"] == "gcc 12"


def test_a_missing_extension_is_said_and_fails(run, monkeypatch):
    real = importlib.import_module

    def absent(name, package=None):
        if name == "infotorch._C":
            raise ImportError("no _C here")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    done = run("doctor")
    assert done.code == 1
    assert done.err == (
        "doctor: torch and the extension must load; got infotorch._C: no _C here. "
        "Run: pip install -e . in the checkout, or pip install --force-reinstall infotorch.\n"
    )
    assert "torch " in done.out, "the rest is printed all the same"


def test_missing_extras_come_with_the_command_that_adds_them(run, built, monkeypatch):
    real = importlib.metadata.distribution
    monkeypatch.setattr(
        importlib.metadata, "distribution", lambda name: Distribution if name == "infotorch" else real(name)
    )
    monkeypatch.setattr(Distribution, "version", "1", raising=False)
    extras = doctor.extras()
    assert extras["report"]["command"] == 'pip install "infotorch[report]"'
    (old,) = [m for m in extras["report"]["missing"] if m.startswith("numpy")]
    assert old.startswith("numpy>=999 (got ")
    assert [m.partition(" ")[0] for m in extras["demo"]["missing"]] == ["absent_thing[x]>=1", "numpy>=999"]
    assert extras["whole"]["missing"] == []
    out = run("doctor").out
    assert 'Run: pip install "infotorch[demo]"' in out and "extra: whole" in out


def test_a_checkout_that_is_not_installed_says_so(built, run, monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert doctor.extras() is None
    assert "known only of an installed infotorch. Run: pip install -e . in the checkout" in run("doctor").out


@pytest.mark.parametrize(("new", "old"), [("2.10", "2.9"), ("3", "2.99.9"), ("1.0.1", "1"), ("2.13.0rc1+cpu", "2.12")])
def test_versions_are_compared_by_their_numbers(new, old):
    assert doctor.release(new) > doctor.release(old)
    assert doctor.release("2.0.0") == doctor.release("2")
