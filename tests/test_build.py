"""The three ways to build: in place (what `make` does), from an sdist, and by a failing compiler."""

import os
import pathlib
import sys
import zipfile

import pytest

from tests import ahead

HOUSE = pathlib.Path(__file__).parents[1]
WORKS = "import torch, infotorch.ops as ops; print(ops.norms(torch.ones(1, 1, 3), torch.ones(1, 1, 2)).item())"


def run(*command, cwd, **env):
    done = ahead.run(*command, cwd=cwd, env=os.environ | env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel():
    """What an sdist's wheel holds, and what it prints where nothing else of infotorch is on the path."""
    with ahead.folder() as folder:
        run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder, cwd=HOUSE)
        (sdist,) = pathlib.Path(folder).glob("*.tar.gz")
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        # Nothing here is to be fast but the build.
        flags = "-O0 -DINFOTORCH_NO_CLONES"
        run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, sdist, cwd=folder, CXXFLAGS=flags)
        (made,) = pathlib.Path(folder).glob("*.whl")
        run(*pip, "install", "--no-deps", "--target", f"{folder}/site", made, cwd=folder)
        said = run(sys.executable, "-c", WORKS, cwd=folder, PYTHONPATH=f"{folder}/site")
        return zipfile.ZipFile(made).namelist(), said


@pytest.mark.slow
@pytest.mark.ahead.with_args(wheel)
def test_sdist_builds_a_wheel_that_works_alone():
    names, said = ahead.soon(wheel).result()
    assert any(name.startswith("infotorch/_C") for name in names) and "infotorch/py.typed" in names
    carried = {
        str(p.relative_to(HOUSE)) for p in (HOUSE / "infotorch").rglob("*") if p.suffix in (".py", ".j2", ".css", ".js")
    }
    assert carried <= set(names), carried - set(names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "csrc/"))]
    assert said.strip() == "6.0"


def test_metadata_allows_what_is_promised():
    """No upper bound on torch or Python."""
    text = (HOUSE / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.10"' in text and '"torch>=2.10"' in text
