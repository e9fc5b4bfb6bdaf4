"""What nvcc gives every CUDA kernel on each architecture: registers, spills and static shared memory.

That takes minutes a file, so the figures are kept in docs/cuda-resources.md, each file's beside a hash of what they
follow from. ``python -m tests.emulate.resources`` measures the files that have changed, and writes it anew.
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.emulate import build

ARCHITECTURES = (80, 90, 100, 120)
FLAGS = ("-std=c++17", "-O3", "-Xptxas", "-v")
TABLE = build.HOUSE / "docs/cuda-resources.md"
HEAD = f"""# Registers of the CUDA kernels

Of a thread, as nvcc compiles each file alone with `{" ".join(FLAGS[:2])}`. Bytes that spill, and bytes of static shared
memory, would stand beside them. Written by `python -m tests.emulate.resources`, and checked by
`tests/emulate/test_resources.py`.
"""


@dataclass(frozen=True, order=True, kw_only=True)
class Use:
    """By one kernel on one architecture."""

    kernel: str
    arch: int
    registers: int
    spilled: int
    """Bytes stored and loaded because registers ran out."""
    shared: int
    """Bytes of static shared memory."""


def nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")


def kernel_files() -> list[pathlib.Path]:
    return sorted((build.HOUSE / "csrc/cuda").glob("*.cu"))


def digest(source: pathlib.Path) -> str:
    """Of the file and all of csrc that it includes, as the compiler sees them: without comments and layout."""
    texts = [" ".join((*FLAGS, *map(str, ARCHITECTURES)))]
    for file in sorted(build.closure(source, build.HOUSE)):
        if file.is_relative_to(build.HOUSE / "csrc"):
            texts.append(" ".join(re.sub(r"//.*", "", file.read_text()).split()))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def short(name: str) -> str:
    """A kernel's demangled name without namespaces, casts, result and parameters."""
    name = re.sub(r"\(anonymous namespace\)::|infotorch::|cuda::", "", name)
    return re.sub(r"^void |\(.*$", "", re.sub(r"\([\w:]+\)(?=\d)", "", name))


def parsed(log: str) -> list[Use]:
    """What ``-Xptxas -v`` said."""
    log = subprocess.run(["c++filt"], input=log, capture_output=True, text=True, check=True).stdout
    parts = re.split(r"Compiling entry function '(.*)' for 'sm_(\d+)\w?'\n", log)[1:]
    uses = []
    for name, arch, report in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        number = {what: sum(map(int, re.findall(rf"(\d+) {what}", report))) for what in ("registers", "bytes spill")}
        shared = sum(map(int, re.findall(r"(\d+) bytes smem", report)))
        spilled = number["bytes spill"]
        uses.append(
            Use(kernel=short(name), arch=int(arch), registers=number["registers"], spilled=spilled, shared=shared)
        )
    return sorted(uses)


def measured(source: pathlib.Path) -> list[Use]:
    """Compiles the file, for every architecture and as PTX for what comes after them."""
    last = ARCHITECTURES[-1]
    targets = [f"arch=compute_{arch},code=sm_{arch}" for arch in ARCHITECTURES]
    targets.append(f"arch=compute_{last},code=compute_{last}")
    command = [nvcc(), *FLAGS, *(f"-gencode={target}" for target in targets), "-c", source, "-o", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return parsed(done.stderr)


def written(sections: dict[str, tuple[str, list[Use]]]) -> str:
    """The document, from each file's digest and uses."""
    lines = [HEAD]
    for file, (key, uses) in sorted(sections.items()):
        lines.append(f"## {file}\n\nHash `{key}`.\n")
        lines.append("| kernel | " + " | ".join(f"sm_{arch}" for arch in ARCHITECTURES) + " |")
        lines.append("| --- |" + " ---: |" * len(ARCHITECTURES))
        cells = {(use.kernel, use.arch): str(use.registers) for use in uses}
        for use in uses:
            more = [(use.spilled, "spilled"), (use.shared, "shared")]
            cells[use.kernel, use.arch] += "".join(f", {size} {what}" for size, what in more if size)
        for kernel in sorted({use.kernel for use in uses}):
            lines.append(f"| `{kernel}` | " + " | ".join(cells[kernel, arch] for arch in ARCHITECTURES) + " |")
        lines.append("")
    return "\n".join(lines)


def read(document: str) -> dict[str, tuple[str, list[Use]]]:
    """``written``, the other way."""
    sections = {}
    for file, key, rows in re.findall(r"^## (.*)\n\nHash `(.*)`.\n([^#]*)", document, re.M):
        uses = []
        for kernel, *cells in re.findall(
            r"^\| `(.*)` \| " + r" \| ".join([r"(.*?)"] * len(ARCHITECTURES)) + r" \|$", rows, re.M
        ):
            for arch, cell in zip(ARCHITECTURES, cells, strict=True):
                sizes = {what: int(size) for size, what in re.findall(r"(\d+) (\w+)", cell)}
                spilled, shared = sizes.get("spilled", 0), sizes.get("shared", 0)
                registers = int(cell.split(",")[0])
                uses.append(Use(kernel=kernel, arch=arch, registers=registers, spilled=spilled, shared=shared))
        sections[file] = key, sorted(uses)
    return sections


def main() -> None:
    known = read(TABLE.read_text()) if TABLE.exists() else {}

    def section(source: pathlib.Path) -> tuple[str, list[Use]]:
        key = digest(source)
        kept = known.get(source.name, ("", []))
        return kept if kept[0] == key else (key, measured(source))

    with ThreadPoolExecutor(build.jobs()) as pool:
        sections = dict(zip((file.name for file in kernel_files()), pool.map(section, kernel_files()), strict=True))
    TABLE.write_text(written(sections))


if __name__ == "__main__":
    main()
