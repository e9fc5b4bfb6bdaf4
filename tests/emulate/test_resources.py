"""CUDA kernels keep within their registers and shared memory, and nvcc takes each file alone."""

import subprocess

import pytest

from tests.emulate import resources

# A kernel that may have more registers than 128 a thread, by how its name begins.
REGISTERS = {"gram_kernel<Product<": 224, "materialize_kernel<Product<double": 160}
COMMITTED = resources.read(resources.TABLE.read_text())
USES = [use for _, uses in COMMITTED.values() for use in uses]

needs_nvcc = pytest.mark.skipif(resources.nvcc() is None, reason="no nvcc")

GREEDY = """
__global__ void __launch_bounds__(1024, 2) greedy(const float* x, float* out) {
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


def test_figures_are_of_the_kernels_as_they_are():
    stale = [
        file.name for file in resources.kernel_files() if COMMITTED.get(file.name, ("",))[0] != resources.digest(file)
    ]
    gone = set(COMMITTED) - {file.name for file in resources.kernel_files()}
    assert not stale and not gone, f"{resources.TABLE.name}: {stale} {gone}; run python -m tests.emulate.resources"


def test_no_kernel_spills():
    assert [use for use in USES if use.spilled] == []


def test_shared_memory_is_asked_for_at_launch():
    assert [use for use in USES if use.shared] == []


def test_registers_keep_within_their_budget():
    def budget(kernel):
        return next((most for name, most in REGISTERS.items() if kernel.startswith(name)), 128)

    assert [use for use in USES if use.registers > budget(use.kernel)] == []


def test_what_is_written_is_read_again():
    use = {"kernel": "k<float, 3>", "registers": 40}
    uses = [resources.Use(arch=arch, spilled=arch - 80, shared=2 * arch, **use) for arch in resources.ARCHITECTURES]
    sections = {"a.cu": ("0123", uses), "b.cu": ("4567", [])}
    assert resources.read(resources.written(sections)) == sections


@needs_nvcc
def test_a_spill_is_seen(tmp_path):
    source = tmp_path / "greedy.cu"
    source.write_text(GREEDY)
    uses = resources.measured(source)
    assert [use.arch for use in uses] == list(resources.ARCHITECTURES)
    assert all(use.kernel == "greedy" and use.spilled > 0 and use.shared == 1024 for use in uses)


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("source", resources.kernel_files(), ids=lambda file: file.name)
def test_nvcc_takes_it_alone(source, tmp_path):
    command = [resources.nvcc(), "-std=c++17", "-Xcicc", "-O0", "-ptx", "-arch=compute_80", source]
    done = subprocess.run([*command, "-o", tmp_path / "ptx"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
