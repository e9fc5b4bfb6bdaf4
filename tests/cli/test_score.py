import json
import re

import numpy as np
import pytest
import torch

import infotorch.measures
from infotorch import pipeline, store
from infotorch.cli import score as command
from infotorch.cli.failures import Usage
from infotorch.cli.load import load
from infotorch.cli.text import number
from infotorch.errors import ConfigError

TASK = """
import torch
from torch import nn
from infotorch.task import Task

def made(N, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 3, generator=rng)
    return x, (x[:, 0] > 0).long()

def alone():
    torch.manual_seed(0)
    return Task(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval())

def whole():
    return alone(), made(24, 1), made(5, 2)

def loader():
    from torch.utils.data import DataLoader, TensorDataset
    return alone(), DataLoader(TensorDataset(*made(24, 1)), batch_size=7)

def spoilt():
    x, y = made(24, 1)
    x[7, 1] = float("nan")
    return alone(), (x, y)
"""
DESCENT = ["--lr", "0.1", "--steps", "20"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the user's file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    return tmp_path


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_task_of_ones_own_is_scored_kept_and_shown(run, folder):
    done = run("score", "mine.py:whole", *DESCENT, "--out", "runs/a")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "24 samples scored; the 10 to look at first:"
    assert max(map(len, lines)) <= 80
    assert sum(bool(re.match(r"\d+ .*\d", line)) for line in lines[3:]) == 10
    assert lines[-2:] == ["run     runs/a", "report  infotorch report runs/a --open"]
    assert all(re.fullmatch(r".+: [\d,]+/[\d,]+.*", line) for line in done.err.splitlines())
    assert len(store.open(folder / "runs/a").scores()) == 24


def test_a_loader_is_streamed_to_the_same_scores(run, folder):
    options = [*DESCENT, "--form", "primal", "--dim", "20", "--fidelity", "0"]
    for out, flags in [("a", []), ("b", ["--stream"])]:
        done = run("score", "mine.py:loader", *options, *flags, "--out", out)
        assert done.code == 0, done.err
    for file in (folder / "a").rglob("*.parquet"):
        assert file.read_bytes() == (folder / "b" / file.relative_to(folder / "a")).read_bytes()
    assert "--stream" in store.open("b").manifest["command"]["argv"]
    done = run("score", "mine.py:loader", "--stream", "--out", "c", *DESCENT)
    assert done.code == 1 and "all inputs must be in memory" in done.err
    done = run("score", "mine.py:loader", "--stream", "--data", "x.npz")
    assert done.code == 2 and "--stream is for the task's own loader" in done.err


def test_json_is_the_result_alone_and_equals_the_call_from_python(run):
    done = run("score", "mine.py:whole", *DESCENT, "--space", "both", "--json", "--quiet")
    assert done.code == 0 and done.err == ""
    found = json.loads(done.out)
    mine = load("mine.py:whole")
    measure = infotorch.measures.UniqueInformation(space="both", lr=0.1, steps=20, test_data=mine.test_data[0])
    scores = pipeline.score(mine.task, mine.data, [measure])
    assert found["run"] is None and found["index"] == list(range(24)) and len(found["id"]) == 24
    assert found["main"] == scores.main and list(found["columns"]) == list(scores.columns)
    for name, column in scores.columns.items():
        assert found["columns"][name]["values"] == column.values.tolist()
        assert found["columns"][name]["unit"] == column.unit


def test_samples_come_from_a_file_in_place_of_the_loader(run):
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    np.savez("six.npz", x=x, y=np.arange(6) % 2, ids=np.array([f"s{i}" for i in range(6)]))
    for spec in ("mine.py:alone", "mine.py:whole"):
        done = run("score", spec, "--data", "six.npz", *DESCENT, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["id"] == [f"s{i}" for i in range(6)]


def test_ids_of_files_and_folders_reach_the_result(run, folder):
    image = pytest.importorskip("PIL.Image", reason="no Pillow: it comes with the dev extra")
    (folder / "six.csv").write_text(
        "id,a,b,c,label\n" + "".join(f"s{i},{i},1,{i % 3},{'no' * (i % 2) or 'yes'}\n" for i in range(6))
    )
    for i in range(6):
        (folder / f"pets/{i % 2}").mkdir(parents=True, exist_ok=True)
        image.fromarray(np.full((1, 3), 40 * i, np.uint8)).save(folder / f"pets/{i % 2}/{i}.png")
    (folder / "mine.py").write_text(TASK.replace("nn.Sequential(", "nn.Sequential(nn.Flatten(), "))
    wanted = {"six.csv": [f"s{i}" for i in range(6)], "pets": [f"{i % 2}/{i}.png" for i in (0, 2, 4, 1, 3, 5)]}
    for spec, ids in wanted.items():
        done = run("score", "mine.py:alone", "--data", spec, *DESCENT, "--out", f"runs/{spec}", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["id"] == ids
        assert store.open(folder / f"runs/{spec}").samples()["id"].to_pylist() == ids


def test_hostile_ids_are_shown_and_not_obeyed(run):
    ids = ["[red]x[/red]", "\x1b[31mx", "a\nb", "y" * 10_000, "<script>", "\u202eabc"]
    np.savez("six.npz", x=np.eye(6, 3, dtype=np.float32) + 1, y=np.arange(6) % 2, ids=np.array(ids))
    done = run("score", "mine.py:alone", "--data", "six.npz", *DESCENT)
    assert done.code == 0, done.err
    for shown in ("[red]x[/red]", r"\x1b[31mx", r"a\nb", "y…y", "<script>", r"\u202eabc"):
        assert shown in done.out
    assert "\x1b" not in done.out and max(map(len, done.out.splitlines())) <= 80


def test_the_same_command_in_other_words_gives_the_same_bytes(run, folder):
    assert run("score", "mine.py:whole", *DESCENT, "--l2", "0.5", "--out", "a").code == 0
    assert run("score", "--quiet", "--out", "b", "--l2=0.5", "--steps", "20", "--lr", "0.1", "mine.py:whole").code == 0
    assert files(folder / "a") == files(folder / "b")


def test_the_run_tells_how_to_repeat_it(run, folder):
    run("score", "mine.py:whole", "--l2", "0.5", *DESCENT, "--out", "a", "--json")
    record = store.open(folder / "a").manifest["command"]
    assert record["argv"] == (
        "infotorch score mine.py:whole --measure unique_information --l2 0.5 --lr 0.1 --steps 20 --out RUN"
    )
    assert record["task"] == "mine.py:whole" and record["score"]["measures"][0]["l2"] == 0.5


def test_another_command_on_a_run_is_refused_and_names_what_differs(run):
    assert run("score", "mine.py:whole", *DESCENT, "--l2", "0.5", "--out", "a").code == 0
    done = run("score", "mine.py:whole", *DESCENT, "--l2", "0.25", "--out", "a")
    assert done.code == 1 and done.out == ""
    assert "l2" in done.err.splitlines()[-1] and "0.25" in done.err and "0.5" in done.err


USAGE = {
    "--stpes 3": "score: an option must be one it knows; got '--stpes'. Did you mean '--steps'?",
    "--convention man": "score: --convention must be one of 'mean', 'sum', 'reference'; got 'man'. "
    "Did you mean 'mean'?",
    "--lr fast": "score: --lr must be a number (inf is one); got 'fast'. Run: infotorch score --help.",
    "--memory-limit 4XB": "score: --memory-limit must be a size; got '4XB'. Write it as 4GB or 512MiB.",
    "--batch-size 0": "score: --batch-size must be a whole number, at least 1; got '0'. Run: infotorch score --help.",
    "--measure unique_informaton": "score: --measure must be one of 'unique_information', 'loss', 'gradient_norm', "
    "'el2n', 'margin', 'label_quality'; got 'unique_informaton'. "
    "Did you mean 'unique_information'?",
    "--fallback func": "score: --fallback belongs to gradient_norm; got --measure unique_information. "
    "Leave the option out, or add the measure.",
    "--l2 -1": "UniqueInformation: l2 must be a finite number, at least 0; got -1.0. Correct l2.",
}


@pytest.mark.parametrize("words", USAGE)
def test_bad_usage_has_exit_code_2_and_one_line(run, words):
    assert run("score", "mine.py:whole", *words.split()) == (2, "", USAGE[words] + "\n")


def test_an_edited_model_never_gets_the_scores_of_the_old_one(run, folder):
    assert run("score", "mine.py:whole", *DESCENT, "--out", "a").code == 0
    before = files(folder / "a")
    (folder / "mine.py").write_text(TASK.replace("nn.Tanh()", "nn.ReLU()"))
    done = run("score", "mine.py:whole", *DESCENT, "--out", "a")
    assert done.code == 1 and "(1): Tanh()" in done.err and "(1): ReLU()" in done.err
    assert files(folder / "a") == before


def test_all_columns_are_of_the_last_time(run):
    done = run("score", "mine.py:whole", "--lr", "0.1", "--steps", "1,200", "--json")
    found = json.loads(done.out)["columns"]
    words = run("score", "mine.py:whole", "--lr", "0.1", "--steps", "1,200").out
    assert "steps 200" in " ".join(words.split()) and "steps 1 " not in " ".join(words.split())
    row = next(line for line in words.splitlines() if re.match(r"\d+ .*\d", line) and "samples" not in line)
    i = int(row.split()[0])
    information, residual = (f"{name}_steps_200" for name in ("unique_information_weights", "own_residual"))
    assert [number(found[name]["values"][i]) for name in (information, residual)] == row.split()[-2:]


def test_remedies_speak_of_flags(run):
    done = run("score", "mine.py:whole", "--form", "dual", "--memory-limit", "1MiB", *DESCENT)
    assert done.code == 1 and "Give --layers last" in done.err and "raise --memory-limit" in done.err
    np.savez("six.npz", x=np.eye(6, 3, dtype=np.float32), y=np.arange(6) % 2)
    done = run("score", "mine.py:alone", "--data", "six.npz", "--space", "both")
    assert done.code == 2 and "--space both needs --test-data; got none. Give --test-data" in done.err


def test_samples_must_come_from_somewhere(run):
    assert run("score", "mine.py:alone", *DESCENT) == (
        2,
        "",
        "score: there must be samples to score; got no --data, and alone() returns none. Give --data SPEC, or return "
        "(task, loader).\n",
    )


def test_a_sample_that_is_not_finite_is_named(run):
    done = run("score", "mine.py:spoilt", *DESCENT)
    assert done.code == 1 and done.err.count("\n") == 1 and "nan in sample 7" in done.err


def test_a_file_with_an_error_gives_one_line_and_the_trace_on_demand(run, folder):
    (folder / "bad.py").write_text("\n\n1 / 0\n")
    line = (
        "score: bad.py must import; got ZeroDivisionError: division by zero (bad.py, line 3). Mend it there, or add "
        "--debug for the trace.\n"
    )
    assert run("score", "bad.py:task") == (1, "", line)
    done = run("score", "bad.py:task", "--debug")
    assert done.code == 1 and "Traceback" in done.err and "    1 / 0" in done.err and done.err.endswith(line)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "score: stopped by an interrupt."),
        (
            OSError(28, "No space left on device"),
            1,
            "score: the disk must have room; got OSError: [Errno 28] No space left on device. Free some.",
        ),
    ],
    ids=["interrupt", "full disk"],
)
def test_a_stopped_run_says_that_it_goes_on(run, monkeypatch, error, code, line):
    def fail(*args, **options):
        options["progress"]("kernel", 1, 3)
        raise error

    monkeypatch.setattr(pipeline, "score", fail)
    goes_on = " Run the same command again: it goes on from there.\n"
    assert run("score", "mine.py:whole", "--out", "a") == (code, "", line + goes_on)
    assert run("score", "mine.py:whole") == (code, "", line + "\n")


def test_help_lists_the_fields_of_the_measure_in_80_columns(run):
    done = run("score", "--help")
    assert done.code == 0 and max(map(len, done.out.splitlines())) <= 80
    for flag in ("--l2", "--steps", "--lr", "--time", "--form", "--space", "--loss", "--sigma", "--convention",
                 "--layers", "--outputs", "--test-data", "--out", "--memory-limit"):  # fmt: skip
        assert re.search(rf"^│ {flag} ", done.out, re.M), flag
    assert "--models" not in done.out


def test_every_flag_of_a_measure_has_a_help_text():
    for cls in infotorch.measures.REGISTRY.values():
        for flag in command.flags.flags_of(cls).values():
            assert flag.help, flag.name


def test_baselines_stand_beside_unique_information(run, folder):
    words = "--measure unique_information,loss,gradient_norm,el2n --measure margin --out a --batch-size 7"
    assert run("score", "mine.py:whole", *DESCENT, *words.split()).code == 0
    scores = store.open(folder / "a").scores()
    assert scores.main == "unique_information_weights"
    assert list(scores.columns)[-4:] == ["loss", "gradient_norm", "el2n", "margin"]
    assert "--measure gradient_norm" in store.open(folder / "a").manifest["command"]["argv"]


def test_the_smallest_margins_are_looked_at_first(run):
    shown = run("score", "mine.py:whole", "--measure", "margin").out.splitlines()[4:14]
    scores = pipeline.score(load("mine.py:whole").task, load("mine.py:whole").data, "margin").values
    assert [int(line.split()[0]) for line in shown] == np.argsort(scores)[:10].tolist()


def test_threads_are_set_for_the_run(run):
    run("score", "mine.py:whole", *DESCENT, "--threads", "1")
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 10**9), ("512MiB", 512 * 2**20), ("2e9", 2 * 10**9), ("1.5 kb", 1500), ("100", 100)]
)
def test_sizes_are_read_with_their_units(text, size):
    assert command.size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1..2GB", "inf", "4 GB GB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(Usage, match="--memory-limit must be a size"):
        command.size(text)


def test_a_setting_that_the_measure_refuses_is_bad_usage(monkeypatch):
    def refuse(**settings):
        raise ConfigError("unique_information: l2 must be at least 0; got -1.")

    monkeypatch.setitem(infotorch.measures.REGISTRY, "unique_information", refuse)
    with pytest.raises(Usage, match="l2 must be at least 0"):
        command.build("unique_information", {}, None)
