"""Builds infotorch._C with one ninja run over csrc.

INFOTORCH_CUDA           1 or 0: with or without the kernels for CUDA; default: with them exactly if torch has CUDA
CUDA_HOME                the CUDA toolkit; default: that of the nvcc on PATH, else /usr/local/cuda
TORCH_CUDA_ARCH_LIST     GPU architectures, as torch's extensions take them; default: 8.0;9.0;10.0;12.0+PTX
MAX_JOBS                 ninja jobs
CXX, CXXFLAGS, LDFLAGS   as usual
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from typing import NoReturn

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = pathlib.Path(__file__).resolve().parent
ARCHS = "8.0;9.0;10.0;12.0+PTX"
TARGET = "0x020a000000000000"  # torch 2.10, the oldest torch that the built module runs on


def stop(must: str, got: str, todo: str) -> NoReturn:
    sys.exit(f"infotorch setup: {must}; got {got}. {todo}")


def wants_cuda(torch_cuda: str | None) -> bool:
    asked = os.environ.get("INFOTORCH_CUDA")
    if asked not in (None, "0", "1"):
        stop("INFOTORCH_CUDA must be 0 or 1", repr(asked), "Leave it unset to follow torch.")
    return asked == "1" if asked else torch_cuda is not None


class Toolkit:
    """A CUDA toolkit, of torch's CUDA major version if torch has CUDA."""

    def __init__(self, torch_cuda: str | None) -> None:
        on_path = shutil.which("nvcc")
        beside = [pathlib.Path(on_path).resolve().parents[1]] if on_path else []
        asked = os.environ.get("CUDA_HOME")
        homes = [pathlib.Path(asked)] if asked else [*beside, pathlib.Path("/usr/local/cuda")]
        found = [(home / "bin/nvcc", runtime) for home in homes if (runtime := self.static_runtime(home))]
        if not found:
            todo = "Set CUDA_HOME, or INFOTORCH_CUDA=0."
            stop("a CUDA build needs nvcc and libcudart_static.a", f"none under {homes[-1]}", todo)
        self.nvcc, self.runtime = found[0]
        said = subprocess.run([self.nvcc, "--version"], capture_output=True, text=True).stdout
        version = re.search(r"release ((\d+)\.\d+)", said)
        if version is None:
            stop("nvcc must tell its version", repr(said), "Set CUDA_HOME to a CUDA toolkit, or INFOTORCH_CUDA=0.")
        major = torch_cuda.split(".")[0] if torch_cuda else version[2]
        if version[2] != major:
            todo = "Point CUDA_HOME at a matching toolkit, or INFOTORCH_CUDA=0."
            stop(f"nvcc must have the CUDA major version of torch, {major}", f"nvcc {version[1]}", todo)

    @staticmethod
    def static_runtime(home: pathlib.Path) -> pathlib.Path | None:
        if not (home / "bin/nvcc").is_file():
            return None
        files = [home / at / "libcudart_static.a" for at in ("lib64", "lib", "targets/x86_64-linux/lib")]
        return next((file for file in files if file.is_file()), None)

    def rules(self, archs: str) -> list[str]:
        """How ninja makes an object of a .cu, with what ptxas says of its registers in a .log beside it.

        The runtime is linked statically: it opens the driver when it is first used, so the module loads without one.
        """
        flags = ["-std=c++17 -O3 -Xcompiler=-fPIC,-fvisibility=hidden,-Wall -Xptxas=-v", *gencode(archs)]
        command = f"{shlex.quote(str(self.nvcc))} -MD -MF $out.d $nvccflags -c $in -o $out > $out.log 2>&1"
        return [
            f"nvccflags = {' '.join(flags)}",
            f"cudalibs = {shlex.quote(str(self.runtime))} -ldl -lpthread -lrt",
            f"rule nvcc\n command = {command} || {{ cat $out.log; exit 1; }}\n deps = gcc\n depfile = $out.d",
        ]


def gencode(archs: str) -> list[str]:
    """Flags of nvcc for "8.0;9.0+PTX": machine code for each, and for later GPUs the last stage before it."""
    flags = []
    for arch in re.split(r"[;, ]+", archs.strip()):
        parsed = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", arch)
        if parsed is None:
            stop("TORCH_CUDA_ARCH_LIST must be like '8.0;9.0+PTX'", repr(archs), "Name architectures by number.")
        number = parsed[1] + parsed[2]
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if parsed[3]:
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


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
        cuda = wants_cuda(torch.version.cuda)
        archs = (os.environ.get("TORCH_CUDA_ARCH_LIST") or ARCHS) if cuda else ""
        print(f"infotorch setup: {f'CUDA kernels for {archs}' if cuda else 'CPU kernels only'}", file=sys.stderr)
        # Torch has a pybind11 of its own, which stops where TORCH_TARGET_VERSION is defined.
        includes = (pybind11.get_include(), at / "include", sysconfig.get_paths()["include"])
        # Where std::sqrt may set errno, it is no vector's.
        flags = ["-std=c++17 -O3 -fno-math-errno -fPIC -fvisibility=hidden"]
        flags += ["-Wall -Wextra -Wundef -Werror=undef -Wno-psabi"]
        flags += [f"-DTORCH_TARGET_VERSION={TARGET}", f"-DINFOTORCH_TORCH='\"{torch.__version__}\"'"]
        flags += [f"-DINFOTORCH_CUDA_ARCHS='\"{archs}\"'", "-DINFOTORCH_CUDA" if cuda else ""]
        flags += [f"-isystem {shlex.quote(str(path))}" for path in includes]
        lines = [
            f"cxxflags = {' '.join(flags)} {os.environ.get('CXXFLAGS', '')}",
            f"rule cxx\n command = {cxx} -MMD -MF $out.d $cxxflags -c $in -o $out\n deps = gcc\n depfile = $out.d",
            f"rule link\n command = {cxx} -shared $in -o $out -Wl,--no-as-needed -L{shlex.quote(str(at / 'lib'))} "
            f"-ltorch -ltorch_cpu $cudalibs {os.environ.get('LDFLAGS', '')}",
        ]
        if cuda:
            lines = [*Toolkit(torch.version.cuda).rules(archs), *lines]
        objects = []
        for source in sorted((ROOT / "csrc").rglob("*.c[pu]*")):
            if source.suffix == ".cpp" or cuda:
                objects.append(path(objects_at / f"{source.relative_to(ROOT / 'csrc')}.o"))
                lines.append(f"build {objects[-1]}: {'cxx' if source.suffix == '.cpp' else 'nvcc'} {path(source)}")
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
