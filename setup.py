"""Builds infotorch._C with one ninja run over csrc.

MAX_JOBS                 ninja jobs
CXX, CXXFLAGS, LDFLAGS   as usual
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import sysconfig
from typing import NoReturn

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = pathlib.Path(__file__).resolve().parent
TARGET = "0x020a000000000000"  # torch 2.10, the oldest torch that the built module runs on


def stop(must: str, got: str, todo: str) -> NoReturn:
    sys.exit(f"infotorch setup: {must}; got {got}. {todo}")


class Ninja(build_ext):
    """Writes build.ninja, which knows the headers of every source, and runs it."""

    def build_extension(self, ext: Extension) -> None:
        try:
            import ninja  # noqa: F401  (run below as a module)
            import pybind11
            import torch
        except ImportError as error:
            todo = "Install torch>=2.10, pybind11 and ninja first and add --no-build-isolation."
            stop("torch, pybind11 and ninja must be importable while building", str(error), todo)
        if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
            stop("torch must be 2.10 or newer", torch.__version__, "Upgrade torch.")
        cxx = os.environ.get("CXX", "g++")
        if shutil.which(shlex.split(cxx)[0]) is None:
            stop("a C++17 compiler is needed", f"no {cxx!r}", "Install g++, or set CXX.")

        at = pathlib.Path(torch.__file__).parent
        out = pathlib.Path(self.get_ext_fullpath(ext.name)).resolve()
        objects_at = pathlib.Path(self.build_temp).resolve()
        objects_at.mkdir(parents=True, exist_ok=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        includes = (at / "include", pybind11.get_include(), sysconfig.get_paths()["include"])
        flags = ["-std=c++17 -O3 -fPIC -fvisibility=hidden -Wall -Wextra -Wno-psabi"]
        flags += [f"-DTORCH_TARGET_VERSION={TARGET}", f"-DINFOTORCH_TORCH='\"{torch.__version__}\"'"]
        flags += [f"-isystem {shlex.quote(str(path))}" for path in includes]
        lines = [
            f"cxxflags = {' '.join(flags)} {os.environ.get('CXXFLAGS', '')}",
            f"rule cxx\n command = {cxx} -MMD -MF $out.d $cxxflags -c $in -o $out\n deps = gcc\n depfile = $out.d",
            f"rule link\n command = {cxx} -shared $in -o $out -Wl,--no-as-needed -L{shlex.quote(str(at / 'lib'))} "
            f"-ltorch -ltorch_cpu {os.environ.get('LDFLAGS', '')}",
        ]
        objects = []
        for source in sorted((ROOT / "csrc").rglob("*.cpp")):
            objects.append(path(objects_at / source.relative_to(ROOT / "csrc").with_suffix(".o")))
            lines.append(f"build {objects[-1]}: cxx {path(source)}")
        lines.append(f"build {path(out)}: link {' '.join(objects)}")
        (objects_at / "build.ninja").write_text("\n".join(lines) + "\n")
        jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
        done = subprocess.run([sys.executable, "-m", "ninja", "-C", str(objects_at), *jobs])
        if done.returncode:
            stop("every file of csrc must compile", f"ninja's exit code {done.returncode}", "Read the error above.")


def path(of: pathlib.Path) -> str:
    """A path as ninja reads it."""
    return str(of).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


setup(
    packages=find_packages(include=["infotorch*"]),
    ext_modules=[Extension("infotorch._C", [])],
    cmdclass={"build_ext": Ninja},
)
