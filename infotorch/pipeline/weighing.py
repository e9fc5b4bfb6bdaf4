"""Information in the weights and in the activations of one network: as tables and notes, and as a run."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from infotorch import store
from infotorch.data import Samples, samples_of
from infotorch.errors import NotSupported, NumericsError, path_of
from infotorch.measures import (
    ActivationsInformation,
    FisherTraceResult,
    WeightsInformation,
    activations_information,
    fisher_trace,
    weights_information,
)
from infotorch.measures.activations.information import check_asked
from infotorch.measures.digest import digest, digest_of_code, digest_of_model
from infotorch.measures.measure import Progress
from infotorch.pipeline.keeping import keep_samples, with_classes
from infotorch.pipeline.provenance import data_facts, environment, outputs_digest, task_facts
from infotorch.store.files import check_writable
from infotorch.table import Column, Estimate, Scores
from infotorch.task import Task

T = TypeVar("T")
__all__ = ["BETAS", "Weighed", "weigh", "weighed"]

WHERE = "info"
BETAS = tuple(10.0 ** (k / 2) for k in range(-6, 5))
"""0.001 to 100, of the curve."""
NUM_ACTIVATIONS = 1000
"""Samples whose activations are looked at, the first of the data."""
QUARTILES = {"low": 10, "q25": 25, "median": 50, "q75": 75, "high": 90}
SOURCE = "arXiv 1905.12213"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weighed:
    """What is known of the samples, and what the report draws of the network."""

    scores: Scores
    """``leverage``, each sample's part of the effective dimension, where the estimator gives it; ``fisher_trace``."""
    notes: dict[str, Any]
    """By name; "weights" and "activations" hold all numbers."""


def weighed(
    task: Task,
    data: Any,
    *,
    betas: Sequence[float] = BETAS,
    activations: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Weighed:
    """Information in the weights over beta and by layer, and in the activations, of one trained network.

    Args:
        task: Model, loss and parameters.
        data: Whatever ``infotorch.data.samples_of`` takes: what the network was trained on.
        betas: Of the curve.
        activations: What ``activations_information`` is to be asked, by name: ``layers`` and ``tau``, besides
            ``tangents`` and ``seed``; ``rows``, of layers that have more; and ``num_samples``, the first of the data
            (1,000 if not given). None: it is not asked.
        progress: Called with stage, steps done, steps in all.
        **options: Of ``weights_information``.

    Raises:
        InfotorchError: What ``weights_information`` and ``activations_information`` raise.
    """
    samples = with_classes(task, samples_of(data))
    x, y = samples.all_inputs(WHERE), samples.y
    tell = progress or (lambda stage, done, total: None)
    steps = 2 + (activations is not None)
    asked = dict(activations or {})
    num = min(len(samples), asked.pop("num_samples", NUM_ACTIVATIONS))
    most = asked.pop("rows", None)
    if activations is not None:  # a layer's name is not to be refused after minutes of weighing
        if options.get("estimator") == "slq":
            raise NotSupported(
                'weigh: activations must have a posterior of the weights; got estimator "slq", which has none. Choose '
                '"gram", "kfac" or "diag", or leave the activations out.'
            )
        known = check_asked(task, x, **asked)
        if most is not None:
            asked["rows"] = {layer.path: most for layer in known if layer.width > most}
    tell("information in the weights", 0, steps)
    found = weights_information(task, (x, y), **options)
    tell("information in the weights", 1, steps)
    kinds: dict[str, Any] = {"exact": "exact", "empirical": "empirical", "sampled": "mc", "sketch": "sketch"}
    labels = kinds[found.labels]
    if labels in ("mc", "sketch"):
        labels = labels, options.get("passes", 1), options.get("seed", 0)
    held = {name: options[name] for name in ("memory_limit", "fallback") if options.get(name) is not None}
    traces = fisher_trace(task, (x, y), labels=labels, **held)
    tell("information in the weights", 2, steps)
    notes: dict[str, Any] = {"weights": _of_weights(found, traces, betas)}
    if activations is not None:
        if "memory_limit" in held:
            asked.setdefault("memory_limit", held["memory_limit"])
        seen = activations_information(task, (x[:num], y[:num]), posterior=found, progress=progress, **asked)
        notes["activations"] = _of_activations(seen, num)
        tell("information in the weights", 3, steps)
    notes |= _told(notes, samples)
    return Weighed(scores=_scores(found, traces), notes=notes)


def weigh(
    task: Task,
    data: Any,
    *,
    out: str | Path,
    betas: Sequence[float] = BETAS,
    activations: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    command: Mapping[str, Any] | None = None,
    **options: Any,
) -> store.Run:
    """:func:`weighed`, kept as a run that ``infotorch report`` shows; a finished one is read.

    Args:
        task: As there.
        data: As there.
        out: Folder of the run: new, empty, or begun by this very call.
        betas: As there.
        activations: As there.
        progress: As there.
        command: What else the run follows from, for its manifest.
        **options: As there.

    Raises:
        InfotorchError: As there.
        StoreError: ``out`` can't be written or holds something else.
    """
    path_of("weigh", "out", out)
    samples = with_classes(task, samples_of(data))
    asked = {"betas": list(betas), "weights": _facts(options), "activations": _facts(activations or {})}
    made_of: dict[str, Any] = {
        "command": {**(command or {}), "info": {**asked, "task": task_facts(task)}},
        "num_rows": len(samples),
        "data": data_facts(samples),
        "provenance": {
            "parameters": digest_of_model(task.model),
            "outputs": outputs_digest(task, samples),
            **environment(task),
        },
    }
    known = store.begun(out, **made_of)
    if known is not None and known.finished:
        return known
    check_writable(Path(out))
    found = weighed(task, samples, betas=betas, activations=activations, progress=progress, **options)
    with store.create(out, **made_of) as run:  # only now, so that what is refused leaves no run
        if not run.finished:
            keep_samples(run, samples, None)
            for name, payload in found.notes.items():
                run.note(name, payload)
            done = run.done()
            for start, stop in run.ranges():
                if (start, stop) not in done:
                    run.append(start, found.scores.rows(start, stop))
        run.finish()
    return store.open(out)


def _of_weights(found: WeightsInformation, traces: FisherTraceResult, betas: Sequence[float]) -> dict[str, Any]:
    curves = {beta: curve for beta in sorted(betas) if (curve := _where_defined(partial(found.curve, [beta])))}
    measured = found.measured
    return {
        "nats": found.nats, "stderr": found.stderr, "logdet": found.logdet, "d_eff": found.d_eff,
        "dist2": found.dist2, "beta": found.beta, "prior_var": found.prior_var, "prior": found.prior,
        "union_cost": found.union_cost, "estimator": found.estimator, "labels": found.labels,
        "curvature": found.curvature, "kind": found.kind, "num_weights": found.P, "num_samples": found.N,
        "loss": found.loss, "lagrangian": found.lagrangian(found.loss),
        "learning_capacity": found.learning_capacity, "log_evidence": _where_defined(lambda: found.log_evidence),
        "predicted_rise": found.predicted_rise, "measured_rise": found.measured_rise,
        "quadratic_holds": found.quadratic_holds,
        "measured_rise_stderr": None if measured is None else measured.stderr,
        "measured_risk": found.measured_risk, "draws": 0 if measured is None else measured.draws,
        "curve": {"beta": list(curves)} | {name: [float(getattr(curve, name)[0]) for curve in curves.values()]
                                           for name in ("nats", "logdet", "d_eff")},
        **_by_layer(found, traces),
        "trace": {"total": traces.total, "per_layer": traces.per_layer},
    }  # fmt: skip


def _by_layer(found: WeightsInformation, traces: FisherTraceResult) -> dict[str, Any]:
    """What of each layer, and of what: of the trace of the Fisher information where no estimate knows layers."""
    if found.per_layer is None:
        return {"per_layer": traces.per_layer, "per_layer_of": "trace"}
    return {"per_layer": found.per_layer, "per_layer_of": "d_eff" if found.estimator in ("gram", "dense") else "nats"}


def _of_activations(seen: ActivationsInformation, num: int) -> dict[str, Any]:
    return {
        "tau": seen.tau,
        "num_samples": num,
        "loss": seen.loss,
        "noisy_loss": seen.noisy_loss,
        "layers": [
            {
                "name": path or "(model)",
                **{key: float(np.percentile(one.I_tau.cpu(), share)) for key, share in QUARTILES.items()},
                "mean": float(one.I_tau.mean()),
                "trace": float(one.trace.mean()),
                "rank": float(one.rank.double().mean()),
                "dropped": float(one.dropped.double().mean()),
                "noiseless": float(one.noiseless.double().mean()),
                "width": one.width,
                "rows": one.read,
                "tangents": {
                    name: {
                        "index": along.mean_index,
                        "nats": float(along.I_tau.mean()),
                        "undefined": along.undefined,
                    }
                    for name, along in one.tangents.items()
                },
            }
            for path, one in seen.items()
        ],
    }


def _told(notes: Mapping[str, Any], samples: Samples) -> dict[str, Any]:
    """Title, finding and figures at the head of the report."""
    note = notes["weights"]
    rise = "" if note["measured_rise"] is None else f", measured {note['measured_rise'] / note['num_samples']:.3g}"
    source = f"{SOURCE}; {note['estimator']}, β = {note['beta']:g}"
    figures = [
        Estimate(name="information in the weights", value=note["nats"], stderr=note["stderr"], unit="nats",
                 kind=note["kind"], source=source),
        Estimate(name="directions held", value=note["d_eff"], kind=note["kind"], source=source),
    ]  # fmt: skip
    if note["measured_rise"] is not None:
        figures.append(
            Estimate(name="measured over predicted rise", value=_ratio(note["measured_rise"], note["predicted_rise"]),
                     kind="diagnostic", source=f"{note['draws']} draws")
        )  # fmt: skip
    return {
        "title": {"sentence": f"Information in {note['num_weights']:,} weights trained on {len(samples):,} samples"},
        "finding": {
            "text": f"The weights hold {note['nats']:.4g} nats ({note['nats'] / note['num_samples']:.3g} a sample) in "
            f"about {note['d_eff']:.3g} directions at β = {note['beta']:g} ({note['kind']}). Noise of that precision "
            f"raises the loss by a predicted {note['predicted_rise'] / note['num_samples']:.3g} nats a sample{rise}."
            + (" The quadratic model does not hold here." if note["quadratic_holds"] is False else "")
        },
        "figures": [figure.to_dict() for figure in figures],
    }


def _scores(found: WeightsInformation, traces: FisherTraceResult) -> Scores:
    columns = {}
    if found.leverage is not None:
        columns["leverage"] = Column(values=found.leverage.cpu().numpy(), unit="1", source=SOURCE, kind="diagnostic")
    columns["fisher_trace"] = Column(
        values=traces.per_sample.double().cpu().numpy(), unit="1", source=SOURCE, kind="diagnostic"
    )
    return Scores(index=np.arange(found.N), columns=columns)


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.inf if a else 1.0


def _where_defined(read: Callable[[], T]) -> T | None:
    """None where a Hessian leaves no optimum at another beta than the one that was asked for."""
    try:
        return read()
    except NumericsError:
        return None


def _facts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in JSON's types; tensors by their digest."""
    return {name: _fact(value) for name, value in options.items()}


def _fact(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"digest": digest([value])}
    if isinstance(value, Mapping):
        return _facts(value)
    if isinstance(value, list | tuple):
        return [_fact(one) for one in value]
    return {"digest": digest_of_code(value)} if callable(value) else value
