"""One end of a pipe whose other end is driver.cpp: many calls to one process, each with its tensors as they lie."""

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

SECONDS = 120  # after which a call is taken to hang
ENVIRONMENT = {
    "ASAN_OPTIONS": "abort_on_error=0:exitcode=66",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an op's kernels."""

    op: str
    device: str
    """cpu, or cuda: the CUDA kernels, on the host."""
    tensors: dict[str, Tensor]
    """By the names of the op's arguments, in any layout; b decides what is computed in."""
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 1
    """Of the schedule."""
    threads: int = 2
    odd: bool = False
    """Whether tensors begin one number after a 16-byte boundary."""

    def encoded(self) -> bytes:
        words = [self.op, self.device, self.seed, self.threads, len(self.tensors)]
        words += [f"{name}={int(value) if isinstance(value, bool) else value}" for name, value in self.options.items()]
        parts = [" ".join(map(str, words)).encode() + b"\n"]
        for name, x in self.tensors.items():
            span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
            stored = x.as_strided((span if x.numel() else 0,), (1,)).view(torch.uint8).numpy().tobytes()
            before = x.element_size() if self.odd else 0
            dtype = str(x.dtype).removeprefix("torch.")
            words = [name, dtype, before + len(stored), before, x.dim(), *x.shape, *x.stride()]
            parts += [" ".join(map(str, words)).encode() + b"\n", bytes(before), stored]
        return b"".join(parts)


class Driver:
    """A program of ``build``, started when it is first called and again after a call that ended it."""

    def __init__(self, program: pathlib.Path) -> None:
        fixed = ["setarch", "-R"] if addresses_can_be_fixed() else []  # TSan finds its shadow at fixed addresses alone
        self.command = [*fixed, program]
        self.process: subprocess.Popen | None = None

    def start(self) -> subprocess.Popen:
        self.errors = tempfile.TemporaryFile()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        return subprocess.Popen(self.command, env=os.environ | ENVIRONMENT, **pipes)

    def __call__(self, call: Call) -> list[bytes]:
        """The results as the entry asked for them. Raises RuntimeError with what the program said if it ended."""
        encoded = call.encoded()
        self.process = process = self.process or self.start()
        watch = threading.Timer(SECONDS, process.kill)
        watch.start()
        try:
            process.stdin.write(encoded)
            process.stdin.flush()
            results = []
            for _ in range(int(process.stdout.readline())):
                size = int(process.stdout.readline())
                results.append(process.stdout.read(size))
            return results
        except (BrokenPipeError, ValueError):  # ValueError: the line that isn't there is no number
            raise RuntimeError(self.close()) from None
        finally:
            watch.cancel()

    def close(self) -> str:
        """Ends the program, and returns what it said: nothing, unless there was a fault."""
        process, self.process = self.process, None
        if process is None:
            return ""
        with process:
            pass  # closes its pipes and waits for it
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace")
        return said or (f"ended with code {process.returncode}" if process.returncode else "")


@functools.cache
def addresses_can_be_fixed() -> bool:
    return shutil.which("setarch") is not None and subprocess.run(["setarch", "-R", "true"]).returncode == 0
