"""The kernels of csrc and the entries beside this file, compiled by g++ into one program per variant.

Every object is named by a hash of what goes into it, so nothing is compiled twice, whatever the files' times are.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import re
import shlex
import subprocess
import threading
import time

from tests import ahead

HOUSE = pathlib.Path(__file__).parents[2]
CACHE = HOUSE / "build/emulate"
DAYS = 14  # after which an object that nobody asked for is deleted
COMMON = "-std=c++17 -g1 -pthread -DINFOTORCH_EMULATE"
# Variant -> flags of what is watched, flags of the scheduler, which never is. The plain one takes the narrowest tiles
# and starts locals as bits that show in any result; the others take this machine's widest tiles.
VARIANTS = {
    "plain": ("-O1 -DINFOTORCH_BASELINE -ftrivial-auto-var-init=pattern", "-O2"),
    "asan": (
        "-O0 -DINFOTORCH_NO_CLONES -fsanitize=address,undefined -fno-sanitize-recover=undefined",
        "-O2 -DEMULATE_ASAN",
    ),
    "tsan": ("-O1 -DINFOTORCH_NO_CLONES -fsanitize=thread", "-O2 -DEMULATE_TSAN"),
}


def sources(root: pathlib.Path, op: str | None = None) -> list[pathlib.Path]:
    """Everything that a driver is made of, or what one needs that knows a single op."""
    others = {path.stem for path in (root / "csrc/ops").glob("*.cpp")} - {op} if op else set()
    folders = ("csrc/cpu/*.cpp", "csrc/cuda/*.cu", "tests/emulate/*.cpp", "tests/emulate/*.cu")
    return [path for pattern in folders for path in sorted(root.glob(pattern)) if path.stem not in others]


def closure(source: pathlib.Path, root: pathlib.Path) -> set[pathlib.Path]:
    """The source and every file of ours that it includes."""
    found, left = set(), [source.resolve()]
    while left:
        file = left.pop()
        found.add(file)
        for name in re.findall(r'^#include [<"]([^>"]+)', file.read_text(), re.M):
            beside = [(folder / name).resolve() for folder in (file.parent, root / "tests/emulate")]
            left += [path for path in beside if path.is_file() and path not in found][:1]
    return found


@functools.cache
def version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout


def cached(compiler: str, flags: str, files: list[pathlib.Path], root: pathlib.Path, what: str) -> pathlib.Path:
    """Where the outcome of a command belongs that depends on these files, and on nothing else."""
    parts = [version(compiler).encode(), flags.encode()]
    for file in sorted(files):
        parts += [str(file.relative_to(root)).encode(), file.read_bytes()]
    digest = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE / f"{what}-{digest[:20]}"


def make(target: pathlib.Path, *command: str | pathlib.Path) -> pathlib.Path:
    """Runs ``command -o target`` unless the target is there."""
    if target.exists():
        os.utime(target)
        return target
    part = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}")
    done = ahead.run(*command, "-o", part)
    assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stderr}"
    os.replace(part, target)
    return target


def compiled(variant: str, source: pathlib.Path, root: pathlib.Path) -> pathlib.Path:
    watched, scheduler = VARIANTS[variant]
    flags = f"{COMMON} {scheduler if source.name == 'fibers.cpp' else watched}"
    target = cached("g++", flags, sorted(closure(source, root.resolve())), root.resolve(), f"{source.stem}.{variant}")
    return make(target, "g++", *shlex.split(flags), f"-I{root / 'tests/emulate'}", "-x", "c++", "-c", source)


def program(variant: str, root: pathlib.Path = HOUSE, op: str | None = None) -> pathlib.Path:
    """The driver of the kernels under ``root``, all or those of one op. What another root has too is not made again."""
    objects = list(ahead.pool("compilers").map(lambda source: compiled(variant, source, root), sources(root, op)))
    flags = f"-pthread {VARIANTS[variant][0]}"
    target = cached("g++", flags + " ".join(path.name for path in objects), [], root, f"driver.{variant}")
    make(target, "g++", *shlex.split(flags), *objects)
    for old in CACHE.iterdir():
        # Another process may be done with its part, or have deleted the same object.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > DAYS * 86400:
                old.unlink()
    return target
