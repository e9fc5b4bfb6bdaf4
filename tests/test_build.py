"""The three ways to build: in place (what `make` does), from an sdist, and by a failing compiler."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

HOUSE = pathlib.Path(__file__).parents[1]
WORKS = "import torch, infotorch.ops as ops; print(ops.norms(torch.ones(1, 1, 3), torch.ones(1, 1, 2)).item())"


def run(*command, cwd, **env):
    return subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True)


@pytest.mark.slow
def test_sdist_builds_a_wheel_that_works_alone(tmp_path):
    """From the sdist a wheel, from the wheel a folder with nothing else of infotorch on the path."""
    done = run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", tmp_path, cwd=HOUSE)
    assert done.returncode == 0, done.stderr
    (sdist,) = tmp_path.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    # Nothing here is to be fast but the build.
    flags = "-O0 -DINFOTORCH_NO_CLONES"
    done = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, sdist, cwd=tmp_path, CXXFLAGS=flags)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("infotorch/_C") for name in names) and "infotorch/py.typed" in names
    carried = {
        str(p.relative_to(HOUSE)) for p in (HOUSE / "infotorch").rglob("*") if p.suffix in (".py", ".j2", ".css", ".js")
    }
    assert carried <= set(names), carried - set(names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "csrc/"))]
    done = run(*pip, "install", "--no-deps", "--target", tmp_path / "site", wheel, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(sys.executable, "-c", WORKS, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert done.stdout.strip() == "6.0", done.stderr


def test_metadata_allows_what_is_promised():
    """No upper bound on torch or Python."""
    text = (HOUSE / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.10"' in text and '"torch>=2.10"' in text
