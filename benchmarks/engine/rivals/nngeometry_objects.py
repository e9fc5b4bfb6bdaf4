"""nngeometry: its Jacobian, Gram matrix and Fisher information, over outputs or over the samples' losses."""

from collections.abc import Callable
from typing import Any

from nngeometry.backend import TorchHooksJacobianBackend
from nngeometry.layercollection import LayerCollection
from nngeometry.metrics import FIM
from nngeometry.object import FMatDense, PFMapDense, PMatDiag, PMatKFAC
from torch import Tensor

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import Call, forms, merged
from benchmarks.engine.workloads import listed

PACKAGE = "nngeometry"


def _of_losses(problem: Problem) -> Callable[[], Any]:
    """Its backend with each sample's loss for the one output."""
    collection = LayerCollection.from_model(problem.model)
    return lambda: TorchHooksJacobianBackend(
        layer_collection=collection,
        model=problem.model,
        function=lambda x, y: problem.each(problem.model(x), y)[:, None],
    )


def _data(problem: Problem) -> tuple[Tensor, Tensor]:
    return problem.x.detach(), problem.y


def _parts(problem: Problem, rows: Tensor) -> dict[str, Tensor]:
    """[..., P] over its layers, frozen parameters included; a parameter of several layers gets the sum of its parts."""
    collection = LayerCollection.from_model(problem.model)
    names = {id(p): name for name, p in problem.params.items()}
    parts: dict[str, Tensor] = {}
    for path, start in collection.p_pos.items():
        for p in problem.model.get_submodule(path).parameters(recurse=False):
            part = rows[..., start : start + p.numel()].view(*rows.shape[:-1], *p.shape)
            start += p.numel()
            if name := names.get(id(p)):
                parts[name] = parts[name] + part if name in parts else part
    return parts


def gradients(problem: Problem) -> Callable[[], dict[str, Tensor]]:
    backend = _of_losses(problem)
    return lambda: _parts(problem, PFMapDense(generator=backend(), examples=_data(problem)).to_torch()[0])


def _gram(problem: Problem) -> Call:
    backend = _of_losses(problem)
    return lambda: FMatDense(generator=backend(), examples=_data(problem)).data[0, :, 0]


def _kernel(problem: Problem) -> Call:
    def call() -> Tensor:
        backend = TorchHooksJacobianBackend(model=problem.model, function=lambda x, _: problem.model(x))
        return FMatDense(generator=backend, examples=_data(problem)).data.permute(1, 0, 3, 2)

    return call


def _diagonal(problem: Problem) -> Call:
    backend = _of_losses(problem)
    return lambda: _parts(problem, PMatDiag(generator=backend(), examples=_data(problem)).data * problem.N)


def _diagonal_exact(problem: Problem) -> Call:
    return lambda: _parts(problem, FIM(problem.model, _data(problem), PMatDiag).data * problem.N)


def _factors(problem: Problem, found: PMatKFAC) -> dict[str, Tensor]:
    """Of weights alone; its A has the bias as one more in-feature, and both are means."""
    modules = dict(problem.model.named_modules())
    pairs = {path: (A if modules[path].bias is None else A[:-1, :-1], B) for path, (A, B) in found.data.items()}
    return listed(pairs, problem.N)


def _kronecker(problem: Problem) -> Call:
    backend = _of_losses(problem)
    return lambda: _factors(problem, PMatKFAC(generator=backend(), examples=_data(problem)))


def _kronecker_exact(problem: Problem) -> Call:
    return lambda: _factors(problem, FIM(problem.model, _data(problem), PMatKFAC))


FORMS = merged(
    forms("nngeometry", gradients),
    {
        "gram": {"nngeometry": _gram},
        "ntk": {"nngeometry": _kernel},
        "diag": {"nngeometry": _diagonal},
        "diag-exact": {"nngeometry": _diagonal_exact},
        "kfac": {"nngeometry": _kronecker},
        "kfac-exact": {"nngeometry": _kronecker_exact},
    },
)
