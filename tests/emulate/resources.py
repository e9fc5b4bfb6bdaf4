"""What every CUDA kernel takes: registers and memory, by nvcc, and shared memory, by how it is launched.

The module is built with its kernels by setup.py as anybody would, into a folder of its own; ptxas says there what each
kernel takes. Launches are seen on the host, where the same kernels run on fibers. ``python -m tests.emulate.resources``
does it for every architecture and writes docs/cuda-resources.md; tests do it for the oldest and the newest, which
between them have the least of everything, because each takes minutes.
"""

import functools
import inspect
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from infotorch.ops import reference
from tests import ahead
from tests.emulate import build
from tests.emulate.driver import Call, Driver
from tests.ops import cases

FOLDER = build.HOUSE / "build/cuda"
TABLE = build.HOUSE / "docs/cuda-resources.md"
ARCHITECTURES = (80, 90, 100, 120)
TESTED = (80, 120)
REGISTERS = 65536  # of a processor (SM), a quarter for each quarter of its warps
MOST_THREADS = {80: 2048, 90: 2048, 100: 2048, 120: 1536}  # of an SM
SHARED = {80: 164 << 10, 90: 228 << 10, 100: 228 << 10, 120: 100 << 10}  # bytes of an SM
RESERVED = 1 << 10  # of which it keeps so many of each block
THREADS = 512  # that an SM must hold: 128 registers each

DOUBLES = "the float64 sums of a 64 x 64 tile are 64 registers of each of its 128 threads"
TWO_TILES = "two tiles of sums, of either side's products: only their own product can be added up"
# Kernels of which an SM may hold fewer threads, by file and name: how many it must hold, and why no more.
FEWER = {
    ("fold.cu", "fold_kernel"): (256, "two tiles of sums, of a sample's gradient and of what becomes of them"),
    ("fold.cu", "one_hot_kernel"): (128, "66 KiB of float64 sums of a sample and of all, for 128 threads"),
    ("form.cu", "form_kernel"): (384, DOUBLES),
    ("form.cu", "one_hot_kernel"): (256, "33 KiB of float64 sums for 128 threads"),
    ("gram_materialize.h", "form_kernel"): (384, DOUBLES),
    ("gram_materialize.h", "multiply_kernel"): (384, DOUBLES),
    ("gram_positions.h", "pieces_kernel"): (384, DOUBLES),
    ("gram_positions.h", "whole_kernel"): (256, TWO_TILES),
    ("jvp.cu", "apply_kernel"): (384, DOUBLES),
    ("jvp.cu", "materialize_kernel"): (256, "every sum meets its own number of v, read from places held in registers"),
    ("limit.cu", "warp_kernel"): (384, "31 KiB of shared memory, for rows of 1000 classes, for 128 threads"),
    ("norms.cu", "gram_kernel"): (256, TWO_TILES),
    ("norms.cu", "materialize_kernel"): (384, DOUBLES),
    ("outer_sum.cu", "outer_sum_kernel"): (384, DOUBLES),
    ("project_kron.h", "join_kernel"): (384, DOUBLES),
    ("project_kron.h", "multiply_pieces_kernel"): (384, DOUBLES),
    ("project_sjlt.h", "form_slots_kernel"): (384, DOUBLES),
    ("project_sjlt.h", "one_hot_scatter_kernel"): (256, "32.5 KiB of buckets and turns for 128 threads"),
    ("project_sjlt.h", "scatter_kernel"): (384, "32 KiB of buckets for 128 threads"),
}


@dataclass(frozen=True, order=True, kw_only=True)
class Use:
    """What one kernel takes on one architecture."""

    file: str
    """Where it is written."""
    kernel: str
    """Its name."""
    threads: int
    """Of a block, by its launch bounds; 0 without any."""
    blocks: int
    """That its launch bounds ask an SM to hold."""
    arch: int
    registers: int
    """Of a thread."""
    local: int
    """Bytes of a thread that were meant for registers and lie in memory: spilled, or indexed by what isn't constant."""
    shared: int
    """Bytes of static shared memory."""
    signature: str
    """Name, template arguments and parameters."""

    @property
    def row(self) -> tuple[str, str, int, int]:
        """Of the table."""
        return self.file, self.kernel, self.threads, self.blocks

    @property
    def budget(self) -> int:
        """Threads that an SM must hold."""
        return FEWER.get((self.file, self.kernel), (THREADS, ""))[0]

    def held(self, dynamic: int) -> int:
        """Threads that an SM holds, in whole blocks, if each asks for so many bytes of shared memory."""
        warps = 4 * (REGISTERS // 4 // (32 * -(-self.registers // 8) * 8))
        by_threads = min(MOST_THREADS[self.arch], 32 * warps) // self.threads
        return min(by_threads, SHARED[self.arch] // (self.shared + dynamic + RESERVED)) * self.threads


def nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")


def release() -> str:
    """Of nvcc, as "13.0"."""
    return re.search(r"release ([\d.]+)", build.version(nvcc()))[1]


def kernel_files() -> list[pathlib.Path]:
    return sorted((build.HOUSE / "csrc/cuda").glob("*.cu"))


def module(archs: tuple[int, ...] = TESTED) -> pathlib.Path:
    """The module with its kernels for these architectures."""
    return ahead.soon(built, archs).result()


def built(archs: tuple[int, ...]) -> pathlib.Path:
    """Builds the module. What is on the host alone needs no optimizing here."""
    kept = FOLDER / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    env = os.environ | {
        "INFOTORCH_CUDA": "1",
        "TORCH_CUDA_ARCH_LIST": ";".join(f"{arch // 10}.{arch % 10}" for arch in archs) + "+PTX",
        "CXXFLAGS": "-O0 -DINFOTORCH_NO_CLONES",
        "MAX_JOBS": str(ahead.jobs()),
        "NVCC_APPEND_FLAGS": f"--keep --keep-dir {kept}",
    }
    where = ["--build-temp", FOLDER / "objects", "--build-lib", FOLDER / "lib"]
    done = ahead.run(sys.executable, "setup.py", "-q", "build_ext", *where, cwd=build.HOUSE, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    (binary,) = (FOLDER / "lib/infotorch").glob("_C.*")
    return binary


def measured(archs: tuple[int, ...] = TESTED) -> list[Use]:
    """All kernels that the module is built of."""
    module(archs)
    uses = []
    for source in kernel_files():
        ptx = {arch: (FOLDER / f"kept/{source.stem}.compute_{arch}.ptx").read_text() for arch in archs}
        uses += parsed((FOLDER / f"objects/cuda/{source.name}.o.log").read_text(), ptx, source)
    return sorted(uses)


def parsed(log: str, ptx: dict[int, str], source: pathlib.Path) -> list[Use]:
    """From what ``ptxas -v`` said of a source, and from the launch bounds in its PTX."""
    parts = re.split(r"Compiling entry function '(.*)' for 'sm_(\d+)\w?'\n", log)[1:]
    uses = []
    for name, arch, report, signature in zip(
        parts[::3], map(int, parts[1::3]), parts[2::3], signatures(parts[::3]), strict=True
    ):
        said = {what: sum(map(int, re.findall(rf"(\d+) (?:bytes )?{what}", report))) for what in SAID}
        head = re.search(rf"\.entry {re.escape(name)}\(([^{{]*)\{{", ptx[arch])[1]
        bounds = {key: int((re.search(rf"\.{key} (\d+)", head) or [0, 0])[1]) for key in ("maxntid", "minnctapersm")}
        kernel = re.match(r"\w+", signature)[0]
        uses.append(
            Use(
                file=written_in(source, kernel),
                kernel=kernel,
                signature=signature,
                arch=arch,
                threads=bounds["maxntid"],
                blocks=bounds["minnctapersm"] or 1,
                registers=said["registers"],
                local=said["stack frame"] + said["spill"],
                shared=said["smem"],
            )
        )
    return uses


SAID = ("registers", "stack frame", "spill", "smem")


def signatures(names: list[str]) -> list[str]:
    """Kernels' mangled names in words, as nvcc and g++ both have them: without namespaces and results."""
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    text = re.sub(r"\(anonymous namespace\)::|infotorch::|cuda::", "", text)
    return [name.removeprefix("void ") for name in text.splitlines()]


@functools.cache
def written_in(source: pathlib.Path, kernel: str) -> str:
    """The file, of those that the source includes, that has the kernel."""
    files = [file for file in build.closure(source, build.HOUSE) if file.suffix != ".cpp"]
    found = [file.name for file in files if re.search(rf"__global__[^;{{]*\b{kernel}\(", file.read_text())]
    assert len(found) == 1, f"{kernel} of {source.name} is written in {found}"
    return found[0]


def calls() -> Iterable[Call]:
    """Small ones, by which every kernel is launched in every size that its blocks have."""
    rng = torch.Generator().manual_seed(0)
    sketches = [{"kind": "sjlt", "k": 9000}, {"kind": "sjlt", "k": 7}, {"kind": "kron", "k": 1}]
    ways = {op: call.ways for op, call in cases.CALLS.items()} | {"project": sketches}
    ways["vjp"] = [{"method": method} for method in ("fold", "scale", "materialize")]
    choices = [(op, way) for op in ways for way in ways[op] if way.get("method") != "auto"]
    numbers, sum_dtypes = (torch.bfloat16, torch.float32, torch.float64), (torch.float32, torch.float64)
    # One tile, several of positions, several of features; and for the largest of gram enough samples.
    shapes = [(2, 0, 3, 4), (2, 1, 3, 4), (8, 130, 2, 3), (1, 130, 3, 130), (1, 5, 130, 129)]
    every = [*itertools.product(choices, shapes, numbers)]
    by_positions, by_features = (("gram", {"method": method}) for method in ("gram", "materialize"))
    every += itertools.product([by_positions], [(2, 6, 600, 5)], numbers)
    every += itertools.product([by_features], [(140, 1, 4, 3)], sum_dtypes)
    every += [(by_positions, (2000, 2, 1, 1), torch.float32), (by_positions, (1000, 2, 1, 1), torch.float64)]
    for (op, way), shape, dtype in every:
        N, _, I, O = shape
        if cases.is_too_large(way, shape):
            continue
        for make in (cases.make_pair, cases.make_index_pair) if O in (3, 4) else (cases.make_pair,):
            a, b = make(*shape, rng, dtype)
            tensors = {"a": a, "b": b}
            for name, size in {"w": (N,), "v": (O, I)}.items():
                if name in inspect.signature(getattr(reference, op)).parameters:
                    tensors[name] = cases.waves(*size).to(cases.result_dtype(b))
            options = {"bias": False, "t_dims": 1, "in_features": I, "tf32": False, "seed": 1, "name": ""}
            yield Call(op=op, device="cuda", tensors=tensors, options=options | way)
    yield from limit_calls()


def limit_calls() -> Iterable[Call]:
    """Rows for a thread, a warp and a block, with labels and with probabilities; and the noise alone."""
    options = {"q": "gaussian", "beta": 1, "smoothing": 0, "scale": 1, "positions": 1, "seed": 1, "step": 0}
    for C, dtype in itertools.product(
        (1, 3, 21, 100, 1000, 7000, 13000), (torch.bfloat16, torch.float32, torch.float64)
    ):
        logits = cases.waves(2, C).to(dtype)
        soft = torch.full((2, C), 1 / C, dtype=cases.result_dtype(logits))
        for target in (torch.zeros(2, dtype=torch.int64), soft):
            tensors = {"a": logits, "b": logits, "target": target, "ids": torch.arange(2)}
            yield Call(op="limit", device="cuda", tensors=tensors, options=options)
    noise = {"num_classes": 3, "kind": "gaussian", "seed": 1, "step": 0}
    yield Call(op="limit_noise", device="cuda", tensors={"b": torch.arange(2)}, options=noise)


def launches(driver: Driver) -> dict[str, tuple[int, int]]:
    """How each kernel is launched: threads of a block and bytes of dynamic shared memory, the most of either."""
    for call in calls():
        driver(call)
    (raw,) = driver(Call(op="launches", device="cpu", tensors={"b": torch.zeros(1)}))
    places = torch.frombuffer(bytearray(raw), dtype=torch.int64).view(-1, 3).tolist()
    symbols = subprocess.run(["nm", driver.command[-1]], capture_output=True, text=True, check=True).stdout
    names = {int(place, 16): name for place, name in re.findall(r"^(\w+) \w (\w+)$", symbols, re.M)}
    return {
        signature: (threads, shared)
        for signature, (_, threads, shared) in zip(signatures([names[at] for at, *_ in places]), places, strict=True)
    }


def dynamic(uses: list[Use], launched: dict[str, tuple[int, int]]) -> dict[tuple[str, str, int, int], int]:
    """Of every row of the table, the most shared memory that a launch asks for."""
    most: dict[tuple[str, str, int, int], int] = {}
    for use in uses:
        if use.signature in launched:
            most[use.row] = max(most.get(use.row, 0), launched[use.signature][1])
    return most


def written(uses: list[Use], launched: dict[str, tuple[int, int]], archs: tuple[int, ...] = ARCHITECTURES) -> str:
    """The document, with the columns of these architectures."""
    shared = dynamic(uses, launched)
    lines = [narrowed(HEAD.format(release=release()), archs)]
    for row in sorted({use.row for use in uses}):
        of_row = [use for use in uses if use.row == row]
        file, kernel, threads, blocks = row
        cells = [f"`{kernel}`", file, f"{threads} x {blocks}", len({use.signature for use in of_row}), shared[row]]
        for arch in archs:
            here = [use for use in of_row if use.arch == arch]
            most, held = max(use.registers for use in here), min(use.held(shared[row]) for use in here)
            cells.append(f"{most} / {held}")
        lines.append(f"| {' | '.join(map(str, cells))} | {of_row[0].budget} |")
    lines.append(REASONS)
    lines += [f"| `{kernel}` | {file} | {held} | {why} |" for (file, kernel), (held, why) in FEWER.items()]
    return "\n".join(lines) + "\n"


def narrowed(document: str, archs: tuple[int, ...]) -> str:
    """The document with the columns of these architectures alone."""
    lines, away = [], [FIRST_COLUMN + i for i, arch in enumerate(ARCHITECTURES) if arch not in archs]
    for line in document.split("\n"):
        cells = line.split(" | ")
        if len(cells) == FIRST_COLUMN + len(ARCHITECTURES) + 1:
            line = " | ".join(cell for i, cell in enumerate(cells) if i not in away)
        lines.append(line)
    return "\n".join(lines)


FIRST_COLUMN = 5
"""Of the architectures."""
HEAD = f"""# What the CUDA kernels take

Registers and memory, for whoever works on the kernels of [the ops](ops/README.md).

As nvcc {{release}} compiles them: without any spill or other local memory, and without static shared memory. Each row
is a kernel at one size of its blocks. *block* is the threads of one and, by its launch bounds, how many of it an SM
shall hold; *kinds* counts instances of the template; *shared* is the most bytes that a launch asks for. Of every
architecture there are the registers of a thread, for the instance that takes most, and the threads that an SM then
holds, as its 65536 registers and its shared memory allow ({", ".join(str(SHARED[x] >> 10) for x in SHARED)} KiB);
*budget* is what it must hold everywhere: {THREADS}, or what the second table says.

Written by `python -m tests.emulate.resources`, and checked by `tests/emulate/test_resources.py`. Nothing here was seen
on a GPU.

| kernel | file | block | kinds | shared | {" | ".join(f"sm_{arch}" for arch in ARCHITECTURES)} | budget |
| --- | --- | ---: | ---: | ---: |{" ---: |" * len(ARCHITECTURES)} ---: |"""
REASONS = """
Where it is less, for a reason:

| kernel | file | budget | why |
| --- | --- | ---: | --- |"""


if __name__ == "__main__":
    TABLE.write_text(written(measured(ARCHITECTURES), launches(Driver(build.program("plain")))))
