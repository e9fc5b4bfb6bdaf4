"""What a race is measured with: a clock, memory, and the device's two ceilings, on the CPU and on a GPU."""

import ctypes
import functools
import pathlib
import re
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.record import processor

Call = Callable[[], Tensor | tuple[Tensor, ...]]


def parts(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a call returned, as if it always were several tensors."""
    return (result,) if isinstance(result, Tensor) else result


def _new_bytes(result: Tensor | tuple[Tensor, ...], held: Tensor | tuple[Tensor, ...]) -> int:
    """Bytes of a result, less those that lie where a result still lies that was held meanwhile: in an ``out=``."""
    places = {x.data_ptr() for x in parts(held)}
    return sum(x.nbytes for x in parts(result) if x.data_ptr() not in places)


class Cpu:
    """Wall time and the kernel's own account of memory (Linux)."""

    model = processor()
    name = "cpu-" + "-".join(re.findall(r"[a-z0-9]+", re.sub(r"\((r|tm)\)|processor|cpu|@.*", "", model.lower())))
    race_seconds = 2.0
    timing_seconds = 2e-3  # that calls are repeated for until they are timed

    def seconds(self, call: Call, count: int = 1) -> float:
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) / count

    def gemm_rate(self, dtype: torch.dtype) -> float:
        """Multiply-adds a second that torch reaches on square matrices, the best of some tries."""
        x = torch.randn(1024, 1024, dtype=dtype)
        return 1024**3 / min(self.seconds(lambda: x @ x) for _ in range(8))

    def bandwidth(self) -> float:
        """Bytes a second, read and written, that torch's copy reaches on 64 MiB, the best of some tries."""
        x = torch.zeros(1 << 24)
        y = torch.empty_like(x)
        return 2 * x.nbytes / min(self.seconds(lambda: y.copy_(x)) for _ in range(8))

    def extra_memory(self, call: Call) -> int:
        """Bytes that one call takes at its peak beyond what was there before it and beyond its new result.

        Memory that the allocator keeps is handed back first, and the kernel's high-water mark is reset.
        """
        held = call()
        ctypes.CDLL(None).malloc_trim(0)
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before = self._memory("VmRSS:")
        result = call()
        return max(0, self._memory("VmHWM:") - before - _new_bytes(result, held))

    def _memory(self, field: str) -> int:
        status = pathlib.Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) * 1024


class Cuda:
    """Time between events on the current stream, each call after the second-level cache was filled with other numbers.

    They are read: had they been written, the cache would write them back while the call runs.
    """

    race_seconds = 0.25
    timing_seconds = 0.0  # one call is a timing: each is flushed and waited for

    def __init__(self) -> None:
        self.model = torch.cuda.get_device_name()
        self.name = self.model.lower().replace(" ", "-")

    @functools.cached_property
    def _others(self) -> Tensor:
        return torch.zeros(1 << 28, device="cuda")  # 1 GiB, many times what any GPU caches

    def seconds(self, call: Call, count: int = 1) -> float:
        total = 0.0
        for _ in range(count):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._others.sum()  # its run hides what the host needs to launch the call
            start.record()
            call()
            end.record()
            end.synchronize()
            total += start.elapsed_time(end) / 1e3
        return total / count

    def gemm_rate(self, dtype: torch.dtype) -> float:
        """Multiply-adds a second of cuBLAS on square matrices of random numbers, the best of some tries."""
        x = torch.randn(8192, 8192, device="cuda").to(dtype)
        return 8192**3 / min(self.seconds(lambda: x @ x) for _ in range(5))

    def bandwidth(self) -> float:
        """Bytes a second, read and written, that torch's copy reaches on 1 GiB, the best of some tries."""
        x = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
        y = torch.empty_like(x)
        return 2 * x.nbytes / min(self.seconds(lambda: y.copy_(x)) for _ in range(8))

    def extra_memory(self, call: Call) -> int:
        """Bytes that one call takes at its peak beyond what was there before it and beyond its new result."""
        held = call()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        result = call()
        return max(0, torch.cuda.max_memory_allocated() - before - _new_bytes(result, held))


@functools.cache
def meter_of(device: str) -> Cpu | Cuda:
    return Cuda() if device == "cuda" else Cpu()
