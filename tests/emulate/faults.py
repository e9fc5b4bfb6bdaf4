"""Faults that a checker must find: a line of a kernel, what takes its place, and how the fault shows."""

from dataclasses import dataclass, field
from typing import Any

import torch

from tests.emulate.driver import Call
from tests.ops import cases


@dataclass(frozen=True, kw_only=True, eq=False)
class Fault:
    """One change of a kernel's text."""

    what: str
    file: str
    right: str
    """The text to replace. It is in the file once."""
    wrong: str
    variant: str
    """Of the program that finds the fault."""
    says: str
    """In the error."""
    op: str
    shape: tuple[int, int, int, int] = (7, 9, 33, 16)
    """N, T, I, O of the call."""
    dtype: torch.dtype = torch.float32
    options: dict[str, Any] = field(default_factory=dict)

    def call(self, seed: int) -> Call:
        rng = torch.Generator().manual_seed(seed)
        a, b = cases.make_pair(*self.shape, rng, self.dtype)
        return Call(
            op=self.op,
            device="cpu" if self.file.startswith("csrc/cpu/") else "cuda",
            tensors={"a": a, "b": b},
            options={"bias": False, "t_dims": 1, "tf32": False} | self.options,
            seed=seed,
            threads=4,
            odd=True,
        )


def in_block_sums(what: str, right: str, wrong: str, variant: str, says: str) -> Fault:
    file = "tests/emulate/block_sums.cu"
    return Fault(what=what, file=file, right=right, wrong=wrong, variant=variant, says=says, op="block_sums")


CELL = "  cell[threadIdx.x] = sum;\n"
TOTALS = "  if (lane == 0) cell[warp] = sum;\n  __syncthreads();\n"
FAULTS = [
    in_block_sums("no barrier before a read", TOTALS, TOTALS.replace("  __syncthreads();\n", ""), "tsan", "data race"),
    in_block_sums("no barrier before a write", "  __syncthreads();  // all", "  // all", "tsan", "data race"),
    in_block_sums("no barrier in a warp", "  __syncwarp();\n", "", "tsan", "data race"),
    in_block_sums("no barrier in a warp", "  __syncwarp();\n", "", "plain", "bits must not depend"),
    in_block_sums("a shuffle for a barrier", "  __syncwarp();\n", "  __shfl_sync(~0u, 0, 0);\n", "tsan", "data race"),
    in_block_sums("two blocks write one number", "out[blockIdx.x]", "out[0]", "tsan", "data race"),
    in_block_sums("a write beyond shared memory", CELL, CELL.replace(".x", ".x + 1"), "asan", "heap-buffer-overflow"),
    in_block_sums(
        "a write beyond the result", "out[blockIdx.x]", "out[blockIdx.x + 1]", "asan", "heap-buffer-overflow"
    ),
    in_block_sums("a read beyond the input", "k < size", "k <= size", "asan", "heap-buffer-overflow"),
    in_block_sums("a read of what nobody wrote", CELL, "  if (lane < 16)" + CELL, "plain", "inexact result"),
    in_block_sums(
        "a barrier for one warp", TOTALS, TOTALS.replace("  __", "  if (warp == 0) __"), "plain", "only part"
    ),
    in_block_sums(
        "a shuffle for half a warp", "int bits = 8; bits", "int bits = 8; lane < 16 && bits", "plain", "only part"
    ),
    in_block_sums("half a mask", "~0u", "0xffffu", "plain", "a mask that isn't of the full warp"),
    in_block_sums("too many threads", "dim3(kThreads)", "dim3(2048)", "plain", "a block must have 1 to 1024 threads"),
    in_block_sums("an empty grid", "dim3(size[0])", "dim3(0)", "plain", "a grid that is empty or too large"),
    in_block_sums(
        "more shared memory than asked for", "kThreads * sizeof(double)", "49 << 10", "plain", "opted in for"
    ),
    Fault(
        what="a write beyond the result",
        file="csrc/cpu/grads.cpp",
        right="write_outer(a_n, s.I, b_n, s.O, out_n)",
        wrong="write_outer(a_n, s.I, b_n, s.O, out_n + s.I)",
        variant="asan",
        says="heap-buffer-overflow",
        op="grads",
        shape=(3, 1, 33, 16),
    ),
    Fault(
        what="a read at any address",
        file="csrc/cpu/reduce.cpp",
        right="sum[r] += load<vector_t>(x + k + r * lanes)",
        wrong="sum[r] += *reinterpret_cast<const vector_t*>(x + k + r * lanes)",
        variant="asan",
        says="misaligned address",
        op="norms",
        shape=(3, 2, 99, 16),
        options={"method": "gram"},
    ),
    Fault(
        what="tasks share a partial sum",
        file="csrc/cpu/norms.cpp",
        right="partial[p] = piece(",
        wrong="partial[0] = piece(",
        variant="tsan",
        says="data race",
        op="norms",
        shape=(16, 64, 65, 64),
        options={"method": "materialize"},
    ),
    Fault(
        what="a sum that starts anywhere",
        file="csrc/cpu/reduce.cpp",
        right="vector_t sum[4] = {};",
        wrong="vector_t sum[4];",
        variant="plain",
        says="inexact result",
        op="norms",
        shape=(3, 2, 99, 16),
        options={"method": "gram"},
    ),
    Fault(
        what="numbers that nobody writes",
        file="csrc/cpu/pack.cpp",
        right="for (int64_t j = r; j < i; ++j) x[",
        wrong="for (int64_t j = r + 1; j < i; ++j) x[",
        variant="plain",
        says="inexact result",
        op="gram",
        options={"method": "materialize"},
    ),
    Fault(
        what="no barrier between the steps of a product",
        file="csrc/cuda/product.h",
        right="x_reader.locate(step + 2), y_reader.locate(step + 2);\n      __syncthreads();",
        wrong="x_reader.locate(step + 2), y_reader.locate(step + 2);",
        variant="tsan",
        says="data race",
        op="norms",
        shape=(1, 40, 33, 8),
        options={"method": "materialize"},
    ),
    Fault(
        what="blocks share a partial sum",
        file="csrc/cuda/norms.cu",
        right="partial[blockIdx.x] = total;",
        wrong="partial[0] = total;",
        variant="tsan",
        says="data race",
        op="norms",
        shape=(1, 130, 3, 2),
        options={"method": "gram"},
    ),
    Fault(
        what="less shared memory than a product needs",
        file="csrc/cuda/product.h",
        right="2 * Reader::kOffsets * sizeof(int64_t);",
        wrong="2 * Reader::kOffsets * sizeof(int64_t) - 8;",
        variant="asan",
        says="heap-buffer-overflow",
        op="norms",
        shape=(1, 40, 33, 8),
        options={"method": "materialize"},
    ),
    Fault(
        what="a number in another lane's place",
        file="csrc/cuda/product.h",
        right="threadIdx.x % 4 * 2 + k % 2;",
        wrong="threadIdx.x % 4 + k % 2 * 4;",
        variant="plain",
        says="inexact result",
        op="gram",
        shape=(7, 9, 33, 8),
        dtype=torch.bfloat16,
        options={"method": "gram"},
    ),
]
