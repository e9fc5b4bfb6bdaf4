"""torch's own expanded weights, which it keeps private."""

from collections.abc import Callable

from torch import Tensor
from torch.nn.utils._per_sample_grad import call_for_per_sample_grads

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import forms

PACKAGE = "torch"


def taken(problem: Problem) -> dict[str, Tensor]:
    """What a backward left on the parameters; they are as before."""
    grads = {}
    for name, p in problem.params.items():
        grads[name] = getattr(p, "grad_sample", None)
        p.grad_sample = None
        p.grad = None
    return grads


def gradients(problem: Problem) -> Callable[[], dict[str, Tensor]]:
    def call() -> dict[str, Tensor]:
        outputs = call_for_per_sample_grads(problem.model, batch_size=problem.N, loss_reduction="sum")(problem.x)
        problem.total(outputs).backward()
        return taken(problem)

    return call


FORMS = forms("expanded weights", gradients)
