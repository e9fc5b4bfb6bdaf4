"""CUDA kernels compile into one module, and keep within what registers and memory allow."""

import os
import pathlib
import re
import subprocess
import sys

import pybind11
import pytest

import infotorch.ops
from tests.emulate import resources
from tests.emulate.driver import Driver
from tests.emulate.programs import soon

needs_nvcc = pytest.mark.skipif(resources.nvcc() is None, reason="no nvcc")
pytestmark = [needs_nvcc, pytest.mark.slow]

GREEDY = """
__global__ void __launch_bounds__(1024, 2) greedy_kernel(const float* x, float* out) {
  __shared__ float cell[256];
  float held[64];
#pragma unroll
  for (int k = 0; k < 64; ++k) held[k] = x[k * 1024 + threadIdx.x];
  cell[threadIdx.x % 256] = held[0];
  __syncthreads();
  float sum = cell[255 - threadIdx.x % 256];
#pragma unroll
  for (int k = 0; k < 64; ++k) sum = sum * held[k] + held[63 - k];
  out[threadIdx.x] = sum;
}
"""
LOADS = """
import importlib.util, sys, torch
spec = importlib.util.spec_from_file_location("infotorch._C", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(*(name for name in torch._C._dispatch_get_all_op_names() if name.startswith("infotorch::")
        and torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA")))
"""


@pytest.fixture(scope="module")
def uses():
    return resources.measured()


@pytest.fixture(scope="module")
def launched():
    driver = Driver(soon("plain").result())
    yield resources.launches(driver)
    assert driver.close() == ""


def test_the_module_loads_without_a_gpu():
    """Nothing is undefined: every op is there for CUDA tensors."""
    done = subprocess.run([sys.executable, "-c", LOADS, resources.module()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ops = {op for op in infotorch.ops.__all__ if op.islower()}
    assert {name.removeprefix("infotorch::").split(".")[0] for name in done.stdout.split()} == ops


def test_pybind11_is_not_torchs():
    """Torch 2.11 has one that stops where TORCH_TARGET_VERSION is defined."""
    resources.module()
    paths = re.findall(r"-isystem (\S+)", (resources.FOLDER / "objects/build.ninja").read_text())
    assert next(path for path in paths if (pathlib.Path(path) / "pybind11").is_dir()) == pybind11.get_include()


def test_every_file_has_code_for_every_architecture(uses):
    """Except grads.cu, which has no kernel of its own."""
    sources = {path.stem: path.read_text() for path in resources.kernel_files()}
    for stem in sources:
        for arch in resources.TESTED:
            assert (resources.FOLDER / f"kept/{stem}.compute_{arch}.ptx").exists(), f"{stem} for {arch}"
    kernels = {arch: {use.signature for use in uses if use.arch == arch} for arch in resources.TESTED}
    assert all(kernels[arch] == kernels[80] for arch in resources.TESTED) and kernels[80]


def test_no_kernel_has_local_memory(uses):
    assert [use for use in uses if use.local] == []


def test_shared_memory_is_asked_for_at_launch(uses):
    assert [use for use in uses if use.shared] == []


def test_launches_keep_to_launch_bounds(uses, launched):
    """More threads than a kernel was compiled for are refused by a GPU, and by nothing here."""
    bounds = {use.signature: use.threads for use in uses}
    assert {name: bounds[name] for name in launched} == {name: threads for name, (threads, _) in launched.items()}
    assert {use.row for use in uses} == {use.row for use in uses if use.signature in launched}


def test_a_processor_holds_as_many_threads_as_budgeted(uses, launched):
    shared = resources.dynamic(uses, launched)
    over = [use for use in uses if use.held(shared[use.row]) < use.budget]
    assert over == []
    assert set(resources.FEWER) <= {(use.file, use.kernel) for use in uses}


def test_the_table_is_of_the_kernels_as_they_are(uses, launched):
    table = resources.TABLE.read_text()
    if f"nvcc {resources.release()} " not in table:
        pytest.skip(f"the table is of another nvcc than {resources.release()}")
    tested = resources.narrowed(table, resources.TESTED)
    assert tested == resources.written(uses, launched, resources.TESTED), "run python -m tests.emulate.resources"


def test_a_spill_is_seen(tmp_path):
    source = tmp_path / "greedy.cu"
    source.write_text(GREEDY)
    command = [resources.nvcc(), "-O3", "-Xptxas=-v", "-arch=sm_90", "--keep", "--keep-dir", tmp_path, "-c", source]
    done = subprocess.run([*command, "-o", os.devnull], cwd=tmp_path, capture_output=True, text=True)
    (ptx,) = tmp_path.glob("*.ptx")
    (use,) = resources.parsed(done.stderr, {90: ptx.read_text()}, source)
    assert (use.kernel, use.threads, use.blocks, use.shared) == ("greedy_kernel", 1024, 2, 1024)
    assert use.local > 0 and use.registers <= 32
