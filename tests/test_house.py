"""The house rules, as tests. A rule that no test enforces is a wish."""

import ast
import pathlib
import re
import shutil
import sys

import pytest

from tests import ahead

HOUSE = pathlib.Path(__file__).parents[1]
OPS = sorted(p.stem for p in (HOUSE / "csrc/ops").glob("*.cpp"))
# Room -> rooms it may import. A room not named here may not exist.
ARROWS = {
    "errors": set(),
    "table": {"errors"},
    "task": {"errors"},
    "data": {"errors"},
    "ops": {"errors"},
    "linalg": {"errors", "_C"},
    "capture": {"task", "errors"},
    "blocks": {"ops", "linalg", "capture", "task", "errors"},
    "measures": {"blocks", "ops", "linalg", "capture", "task", "table", "errors"},
    "store": {"table", "errors"},
    "curation": {"store", "data", "table", "errors"},
    "train": {"measures", "blocks", "capture", "ops", "task", "store", "table", "errors"},
    "edit": {"measures", "blocks", "linalg", "capture", "ops", "task", "store", "table", "errors"},
    "bounds": {"measures", "blocks", "store", "task", "table", "errors", "_C"},
    "report": {"store", "table", "errors"},
    "pipeline": {"bounds", "train", "store", "measures", "blocks", "capture", "data", "task", "table", "errors"},
    "demo": {"bounds", "train", "pipeline", "measures", "blocks", "report", "store", "data", "task", "table", "errors"},
    "cli": {
        "bounds",
        "curation",
        "demo",
        "edit",
        "pipeline",
        "train",
        "report",
        "store",
        "data",
        "task",
        "measures",
        "table",
        "errors",
        "ops",
        "_C",
    },
}
# Room -> its parts -> parts beside them that they may import. A part is a folder, or a file beside these folders.
PARTS = {
    "bounds": {
        "theory": set(),
        "limits": {"theory"},
        "ensembles": {"theory"},
        "grids": {"ensembles"},
        "learners": {"grids", "ensembles"},
        "estimates": {"theory", "grids"},
        "runs": {"theory", "ensembles", "grids", "learners", "estimates"},
    },
}
# Third-party library -> rooms that may import it. torch and numpy are everywhere, the standard library too.
LIBRARIES = {
    "pyarrow": {"store", "data", "report", "curation"},
    "jinja2": {"report"},
    "altair": {"report"},
    "vl_convert": {"report"},
    "PIL": {"report", "data"},
    "sklearn": {"bounds", "demo"},
    "scipy": {"demo", "blocks", "report"},
    "pandas": {"table", "curation"},
    "datasets": {"curation"},
    "loky": {"bounds"},
    "threadpoolctl": {"bounds"},
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"blocks", "cli", "train"},
    "lightning": {"train"},
    "pytorch_lightning": {"train"},
    "transformers": {"bounds", "train"},
    "accelerate": {"train"},
}
WHOLE = {"test_build.py", "test_docs.py", "test_house.py", "test_readme.py", "test_site.py"}
"""Tests of the house as a whole, which mirror no source."""
OF_AN_OP = [
    "csrc/{op}.h",
    "csrc/ops/{op}.cpp",
    "csrc/cpu/{op}.cpp",
    "infotorch/ops/{op}.py",
    "tests/ops/test_{op}.py",
    "tests/emulate/{op}.cpp",
    "benchmarks/ops/{op}.py",
]


def rel(path):
    return str(path.relative_to(HOUSE))


def files(*globs):
    return [pytest.param(p, id=rel(p)) for g in globs for p in sorted(HOUSE.glob(g)) if p.is_file()]


CXX = [f"{root}/**/*.{end}" for root in ("csrc", "tests") for end in ("h", "cpp", "cu")]
SOURCES = files(
    "*.py", *CXX, "infotorch/**/*.py", "infotorch/**/*.j2", "infotorch/**/*.js", "infotorch/**/*.css", "tests/**/*.py",
    "benchmarks/**/*.py",
)  # fmt: skip
TORCH_FREE = [p for p in files("csrc/*.h", "csrc/cpu/*", "csrc/cuda/*") if p.values[0].stem != "torch_api"]
PYTHON = files("infotorch/**/*.py")


@pytest.mark.parametrize("path", SOURCES)
def test_file_has_at_most_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400, f"{rel(path)}: split it"


@pytest.mark.parametrize("path", SOURCES)
def test_file_is_named_for_its_idea(path):
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}, f"{rel(path)}: name what it is about"


@pytest.mark.parametrize("path", files("tests/**/test_*.py"))
def test_no_test_module_sets_threads_for_all_others(path):
    """As it is collected, before any test runs: then children that take the default compute other bits."""
    calls = [
        node.value.func
        for node in ast.parse(path.read_text()).body
        if isinstance(getattr(node, "value", None), ast.Call)
    ]
    names = [ast.unparse(call) for call in calls]
    assert not [name for name in names if name.startswith(("torch.set_", "torch.use_"))], f"{rel(path)}: use a fixture"


@pytest.mark.parametrize("op", OPS)
def test_op_is_whole(op):
    missing = [f.format(op=op) for f in OF_AN_OP if not (HOUSE / f.format(op=op)).exists()]
    assert not missing, f"{op}: lacks {missing}"
    truths = {n.name for n in ast.parse((HOUSE / "infotorch/ops/reference.py").read_text()).body if hasattr(n, "name")}
    assert op in truths, f"{op}: has no einsum truth in infotorch/ops/reference.py"


@pytest.mark.parametrize("op", OPS)
def test_a_seam_to_cuda_has_its_kernel(op):
    seam = "namespace cuda {" in (HOUSE / f"csrc/{op}.h").read_text()
    assert seam == (HOUSE / f"csrc/cuda/{op}.cu").exists(), f"{op}: csrc/{op}.h and csrc/cuda/{op}.cu come together"


def test_every_piece_of_an_op_belongs_to_one():
    """A wrapper or a test without its op is a half-built op."""
    wrappers = {p.stem for p in (HOUSE / "infotorch/ops").glob("*.py")} - {"__init__", "dispatch", "pair", "reference"}
    tests = {p.stem.removeprefix("test_") for p in (HOUSE / "tests/ops").glob("test_*.py")}
    tests -= {"dispatch", "pair", "reference", "cpu", "cuda"}
    assert wrappers | tests == set(OPS)


@pytest.mark.parametrize("path", TORCH_FREE)
def test_kernels_know_no_torch(path):
    found = re.findall(r"#include <(?:torch|ATen|c10|pybind11)/.*", path.read_text())
    assert not found, f"{rel(path)}: {found}"


@pytest.mark.parametrize("path", files("csrc/*.h", "csrc/cpu/*"))
def test_an_op_includes_no_other_op(path):
    if path.stem not in OPS:
        return
    headers = {pathlib.Path(h).stem for h in re.findall(r'#include "([^"]+)"', path.read_text())}
    assert not headers & set(OPS) - {path.stem}, f"{rel(path)}: includes the header of another op"


@pytest.mark.parametrize("path", files("csrc/**/*.h", "csrc/**/*.c[pu]*"))
def test_no_atomics(path):
    text = path.read_text()
    if path.name == "parallel.h":  # its one counter hands out tasks, each with a result of its own
        text = text.replace("#include <atomic>", "", 1).replace("std::atomic<int64_t> next{0};", "", 1)
    assert "atomic" not in text, f"{rel(path)}: atomics make the order of summation, and the bits, vary"


@pytest.mark.parametrize("path", files("tests/**/test_*.py"))
def test_tests_mirror_sources(path):
    """tests/ops/test_norms.py tests infotorch/ops/norms.py; a test of a whole package bears its name."""
    if path.parent.name == "emulate":  # its tests are of the tools beside them, which run what is in csrc
        assert [*path.parent.glob(path.stem.removeprefix("test_") + ".*")], f"{rel(path)}: tests nothing beside it"
        return
    if path.parent == HOUSE / "tests" and path.name in WHOLE:
        return
    source = HOUSE / "infotorch" / path.relative_to(HOUSE / "tests").with_name(path.name.removeprefix("test_"))
    kernels = HOUSE / "csrc" / source.stem  # tests/ops/test_cuda.py tests csrc/cuda, test_cpu.py csrc/cpu
    assert source.exists() or source.with_suffix("").is_dir() or kernels.is_dir(), (
        f"{rel(path)}: there is no {rel(source)} to test"
    )


def imported(path):
    """(line, module) of every import, written in full."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{rel(path)}:{node.lineno}: write the import in full"
            own = node.module == "infotorch"
            yield from ((node.lineno, f"infotorch.{a.name}" if own else node.module) for a in node.names)


def room_of(path):
    return path.relative_to(HOUSE / "infotorch").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", PYTHON)
def test_import_arrows(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in ARROWS, f"{rel(path)}: give the room {room!r} a line in ARROWS"
    allowed = ARROWS[room] | {room} | ({"_C"} if room == "ops" else set())
    for line, module in imported(path):
        top, _, rest = module.partition(".")
        if top == "infotorch":
            target = rest.split(".")[0]
            assert not target or target in allowed, f"{rel(path)}:{line}: {room} may not import {target}"
        else:
            known = top in sys.stdlib_module_names or top in {"torch", "numpy"} or room in LIBRARIES.get(top, set())
            assert known, f"{rel(path)}:{line}: {room} may not import {top}"


@pytest.mark.parametrize("path", [p for p in PYTHON if room_of(p.values[0]) in PARTS])
def test_import_arrows_within_a_room(path):
    room, *rest = path.relative_to(HOUSE / "infotorch").with_suffix("").parts
    if rest == ["__init__"]:
        return
    arrows, part = PARTS[room], rest[0]
    assert part in arrows, f"{rel(path)}: give the part {part!r} a line in PARTS"
    for line, module in imported(path):
        _, _, below = module.partition(f"infotorch.{room}")
        target = below.removeprefix(".").partition(".")[0]
        if module.startswith(f"infotorch.{room}"):
            assert target in arrows[part] | {part}, f"{rel(path)}:{line}: {part} may not import {target or room}"


@pytest.mark.parametrize("arrows", [ARROWS, *PARTS.values()], ids=["rooms", *PARTS])
def test_arrows_have_no_cycle(arrows):
    order = []
    while left := {room for room in arrows if room not in order}:
        free = {room for room in left if not arrows[room] - {"_C"} - set(order)}
        assert free, f"a cycle among {sorted(left)}"
        order += sorted(free)


@pytest.mark.parametrize("path", files("infotorch/**/__init__.py"))
def test_init_only_re_exports(path):
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
    wrong = [n.lineno for n in ast.parse(path.read_text()).body if not isinstance(n, allowed)]
    assert not wrong, f"{rel(path)}: code at lines {wrong}"


@pytest.mark.parametrize("path", PYTHON)
def test_nothing_is_swallowed(path):
    found = re.findall(
        r"except (?:Base)?Exception\b|except:|# (?:type: ignore|noqa)(?:\[[\w, -]+\]|: \w+)?\s*$",
        path.read_text(),
        re.M,
    )
    assert not found, f"{rel(path)}: {found}"


CHECKERS = {
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "clang-format": ["clang-format", "--dry-run", "--Werror", *(str(p.values[0]) for p in files(*CXX))],
}


def checked(name):
    """What a checker made of the house; None where it isn't installed."""
    command, *options = CHECKERS[name]
    tool = shutil.which(command, path=str(pathlib.Path(sys.executable).parent)) or shutil.which(command)
    return tool and ahead.run(tool, *options, cwd=HOUSE)


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.ahead.with_args(checked, each)) for each in CHECKERS]
)
def test_checkers_are_content(name):
    done = ahead.soon(checked, name).result()
    if done is None:
        pytest.skip(f"no {CHECKERS[name][0]}: it comes with the dev extra")
    assert done.returncode == 0, done.stdout + done.stderr
