"""``infotorch info``: what a trained network's weights hold, and what its layers still tell of their input."""

import inspect
import pathlib
import shlex
import textwrap
from collections.abc import Mapping
from typing import Annotated, Any

import torch
import typer

from infotorch import pipeline
from infotorch.cli import flags
from infotorch.cli.failures import Usage
from infotorch.cli.load import load
from infotorch.cli.score import DATA_HELP, TASK_HELP, samples_to_score, size
from infotorch.cli.terminal import Terminal
from infotorch.errors import ConfigError
from infotorch.pipeline.checkpoints import read_state

WIDTH = 80
SHARES = {"nats": "information", "d_eff": "directions", "trace": "trace"}
BETA_HELP = "What a nat costs in units of the summed loss; at 1 the objective is the evidence lower bound."
BETAS_HELP = "Of the curve, with commas between. \\[default: 0.001 to 100]"
PRIOR_HELP = "Variance of the prior: a number, evidence, or grid."
MEAN_HELP = "State dict (.pt) of the prior's mean, such as the initial weights. \\[default: zeros]"
ESTIMATOR_HELP = "auto, gram, dense, block, kfac, diag, filter or slq; docs/weights-information.md says which suits."
LABELS_HELP = "How the Fisher matrix is summed: exact, sketch or sampled."
LAYERS_HELP = "Modules whose outputs are looked at, with commas between; needs --tau."
TANGENTS_HELP = "Changes of the input: rotation, shift, brightness, with commas between."
ROWS_HELP = "Outputs of a layer that are looked at, drawn by the seed, where it has more."


def command(
    terminal: Terminal,
    task: Annotated[str, typer.Argument(metavar="TASK", help=TASK_HELP)],
    data: Annotated[str | None, typer.Option(metavar="SPEC", help=DATA_HELP)] = None,
    out: Annotated[str | None, typer.Option(metavar="RUN", help="Folder to keep the run in, made or resumed.")] = None,
    beta: Annotated[float, typer.Option(metavar="NUMBER", help=BETA_HELP)] = 1.0,
    betas: Annotated[str | None, typer.Option(metavar="NUMBER,...", help=BETAS_HELP)] = None,
    prior_var: Annotated[str, typer.Option(metavar="NUMBER", help=PRIOR_HELP)] = "1.0",
    prior_mean: Annotated[str | None, typer.Option(metavar="FILE", help=MEAN_HELP)] = None,
    estimator: Annotated[str, typer.Option(metavar="NAME", help=ESTIMATOR_HELP)] = "auto",
    curvature: Annotated[str, typer.Option(metavar="NAME", help="fisher, empirical or hessian.")] = "fisher",
    labels: Annotated[str, typer.Option(metavar="NAME", help=LABELS_HELP)] = "exact",
    draws: Annotated[
        int, typer.Option(parser=flags.whole(0), metavar="INTEGER", help="Of the weights, for the measured rise.")
    ] = 8,
    layers: Annotated[str | None, typer.Option(metavar="NAME,...", help=LAYERS_HELP)] = None,
    tau: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="Standard deviation of the input's jitter.")
    ] = None,
    tangents: Annotated[str | None, typer.Option(metavar="NAME,...", help=TANGENTS_HELP)] = None,
    rows: Annotated[int, typer.Option(parser=flags.whole(1), metavar="INTEGER", help=ROWS_HELP)] = 64,
    seed: Annotated[int, typer.Option(parser=flags.whole(0), metavar="INTEGER", help="Of all that is drawn.")] = 0,
    memory_limit: Annotated[str | None, typer.Option(metavar="SIZE", help="Such as 4GB or 512MiB.")] = None,
    threads: Annotated[
        int | None,
        typer.Option(parser=flags.whole(1), metavar="INTEGER", help="Threads that compute; all cores by default."),
    ] = None,
) -> None:
    """Weighs the network; prints what it holds and where, with the predicted and the measured rise of the loss."""
    given = dict(locals())
    if (layers is None) != (tau is None):
        raise Usage(
            "info: --layers and --tau go together; got one alone. Give the modules, and the size of a small change of "
            "the input, such as 0.1."
        )
    if tangents is not None and layers is None:
        raise Usage("info: --tangents goes with --layers; got it alone. Name the modules to look at.")
    if threads is not None:
        torch.set_num_threads(threads)
    options: dict[str, Any] = {
        "beta": beta, "prior_var": prior_of(prior_var), "estimator": estimator, "curvature": curvature,
        "labels": labels, "draws": draws, "seed": seed,
    }  # fmt: skip
    if memory_limit is not None:
        options["memory_limit"] = size(memory_limit)
    how: dict[str, Any] = {} if betas is None else {"betas": numbers(betas)}
    if layers is not None:
        how["activations"] = {"layers": words(layers), "tau": tau, "rows": rows, "seed": seed}
        if tangents is not None:
            how["activations"]["tangents"] = {name: name for name in words(tangents)}
    loaded = load(task, where="info")
    samples = samples_to_score(loaded, task, data, where="info")
    if prior_mean is not None:
        options["prior_mean"] = mean_of(prior_mean, loaded.task)
    with terminal.progress() as progress, terminal.warnings():
        if out is None:
            notes = pipeline.weighed(loaded.task, samples, progress=progress, **how, **options).notes
        else:
            record = {"command": "info", "task": task, "data": data, "argv": line(task, given)}
            run = pipeline.weigh(loaded.task, samples, out=out, progress=progress, command=record, **how, **options)
            notes = run.notes()
    show(terminal, notes, out)


def line(task: str, given: Mapping[str, Any]) -> str:
    """The command that repeats the run: every option that is not its default."""
    parts = ["infotorch", "info", task]
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in ("terminal", "task", "out") and given[name] != parameter.default:
            parts += [f"--{name.replace('_', '-')}", str(given[name])]
    return shlex.join([*parts, "--out", "RUN"])


def prior_of(text: str) -> float | str:
    """A number, or the name of a rule."""
    try:
        return float(text)
    except ValueError:
        return text


def numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in words(text)]
    except ValueError:
        raise Usage(f"info: --betas must be numbers with commas between; got {text!r}. Write it as 0.1,1,10.") from None


def words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def mean_of(path: str, task: Any) -> dict[str, torch.Tensor]:
    """The parameters that the task selects, out of a state dict on disk."""
    if not pathlib.Path(path).is_file():
        raise ConfigError(f"info: --prior-mean must be a file; got {path}, which is none. Correct the path.")
    state = read_state(pathlib.Path(path), where="info")
    if not isinstance(state, Mapping):
        raise ConfigError(
            f"info: --prior-mean must be a file of a state dict; got {type(state).__name__} in {path}. Save it with "
            "torch.save(model.state_dict(), path)."
        )
    missing = [name for name in task.shapes if name not in state]
    if missing:
        raise ConfigError(
            f"info: --prior-mean must have every parameter of the task; got none called {missing[0]!r}. Save the state "
            "dict of the same model."
        )
    return {name: state[name] for name in task.shapes}


def show(terminal: Terminal, notes: Mapping[str, Any], out: str | None) -> None:
    found, seen = notes["weights"], notes.get("activations")
    if terminal.json:
        terminal.result({"run": out, **found, "activations": seen})
        return
    N = found["num_samples"]
    error = "" if found["stderr"] is None else f" ± {found['stderr']:.2g}"
    spread = "" if not found["measured_rise_stderr"] else f" ± {found['measured_rise_stderr'] / N:.2g}"
    measured = "" if found["measured_rise"] is None else f", measured {found['measured_rise'] / N:.4g}{spread}"
    unmeasured = "; not measured" if found["measured_rise"] is None else ""
    variance = "by layer" if isinstance(found["prior_var"], dict) else f"{found['prior_var']:.4g}"
    terminal.facts([
        ("information", f"{found['nats']:.5g}{error} nats in {found['num_weights']:,} weights, {found['nats'] / N:.3g} "
                        f"a sample ({found['kind']})"),
        ("directions", f"{found['d_eff']:.4g} held of {found['num_weights']:,}"),
        ("rise", f"predicted {found['predicted_rise'] / N:.4g}{measured} nats a sample{unmeasured}"),
        *warned(found),
        ("lagrangian", f"{found['lagrangian']:.5g}: loss {found['loss']:.4g}, rise {found['predicted_rise']:.4g}, "
                       f"beta times nats {found['beta'] * found['nats']:.4g}, all summed"),
        *([("union cost", f"{found['union_cost']:.3g} nats more in a bound, for the choice from the grid")]
          if found["union_cost"] else []),
        ("prior", f"variance {variance} ({found['prior']}), squared distance of the weights {found['dist2']:.4g}"),
        ("estimator", f"{found['estimator']}, curvature {found['curvature']}, labels {found['labels']}, "
                      f"beta {found['beta']:g}"),
    ])  # fmt: skip
    terminal.say()
    shares, traces = found["per_layer"], found["trace"]["per_layer"]
    total = sum(shares.values()) or 1.0
    terminal.table(
        ["layer", f"share of {SHARES[found['per_layer_of']]}", "trace of F"],
        [[name or "(model)", f"{100 * share / total:.1f} %", f"{traces.get(name, 0.0):.4g}"]
         for name, share in shares.items()],
        right=[1, 2],
    )  # fmt: skip
    terminal.say()
    curve = [found["curve"][name] for name in ("beta", "nats", "logdet", "d_eff")]
    terminal.table(
        ["beta", "nats", "log-determinant", "directions"],
        [[f"{value:.4g}" for value in row] for row in zip(*curve, strict=True)],
        right=[0, 1, 2, 3],
    )  # fmt: skip
    if seen is not None:
        terminal.say()
        show_activations(terminal, seen)
    terminal.say()
    if out is None:
        terminal.say("Nothing was kept. Add --out RUN to keep the numbers and to make a report.")
    else:
        terminal.facts([("run", out), ("report", f"infotorch report {shlex.quote(out)} --open")])


def warned(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines of a warning where both rises tell of another loss than a quadratic one, or cannot tell."""
    if found["quadratic_holds"] is False:
        text = (
            "the quadratic model does not hold here: the rises differ by more than a factor of two. The nats are no "
            "cost that this loss would pay; a smaller --prior-var keeps to where it holds."
        )
    elif found["quadratic_holds"] is None and found["measured_rise"] is not None:
        text = "the draws are too few to tell whether the quadratic model holds here. Pass more --draws."
    else:
        return []
    first, *rest = textwrap.wrap(text, WIDTH - len("information  "))
    return [("warning", first), *(("", line) for line in rest)]


def show_activations(terminal: Terminal, seen: Mapping[str, Any]) -> None:
    names = list(seen["layers"][0]["tangents"])
    terminal.table(
        ["layer", "information, nats", "rank", "outputs", *(f"index of {name}" for name in names)],
        [[layer["name"], f"{layer['mean']:.4g}", f"{layer['rank']:.1f}", f"{layer['rows']}/{layer['width']}",
          *(index_of(layer["tangents"][name]) for name in names)] for layer in seen["layers"]],
        right=list(range(1, 4 + len(names))),
    )  # fmt: skip
    noisy = seen["noisy_loss"]
    dead = [layer["name"] for layer in seen["layers"] if any(layer["tangents"][name]["undefined"] for name in names)]
    told = f"A mean over {seen['num_samples']:,} samples, of a jitter of {seen['tau']:g}; index 0: not seen, 1: as any."
    if noisy is not None:
        told += f" Loss a sample {seen['loss']:.4g}, under the noise {noisy:.4g}."
    if dead:
        told += (
            f" No index: the layer tells nothing of the input, or the change is zero; so at some samples of "
            f"{', '.join(dead)}, which the mean leaves out."
        )
    for part in textwrap.wrap(told, WIDTH):
        terminal.say(part)


def index_of(along: Mapping[str, Any]) -> str:
    return "none" if along["index"] is None else f"{along['index']:.3g}"
