"""curvlinops: Kronecker factors, and products with the Jacobian of the outputs."""

from functools import partial

from curvlinops import FisherType, JacobianLinearOperator, KFACLinearOperator
from torch import Tensor, nn

from benchmarks.engine.nets import Problem
from benchmarks.engine.rivals.readings import Call
from benchmarks.engine.rivals.torch_func import plain_attention
from benchmarks.engine.workloads import cotangents, listed, tangents

PACKAGE = "curvlinops-for-pytorch"


def _kronecker(problem: Problem, fisher_type: str) -> Call:
    params = list(problem.params.values())

    def call() -> dict[str, Tensor]:
        operator = KFACLinearOperator(
            problem.model,
            nn.CrossEntropyLoss(reduction="sum"),
            params,
            [(problem.x, problem.y)],
            check_deterministic=False,
            fisher_type=fisher_type,
            num_data=problem.N,
            num_per_example_loss_terms=problem.y[0].numel(),
        )
        operator.compute_kronecker_factors()
        A, B = operator._input_covariances, operator._gradient_covariances
        return listed({path: (A[path], B[path]) for path in A})

    return call


def _jacobian(problem: Problem) -> JacobianLinearOperator:
    data = [(problem.x, problem.y)]
    return JacobianLinearOperator(
        problem.model, list(problem.params.values()), data, check_deterministic=False, num_data=problem.N
    )


def _product(J: JacobianLinearOperator, columns: list[Tensor]) -> Tensor:
    with plain_attention():
        return (J @ columns)[0]


def _push(count: int, problem: Problem) -> Call:
    J, V = _jacobian(problem), tangents(problem, count)
    if count == 1:
        columns = [v[0] for v in V.values()]
    else:
        columns = [v.movedim(0, -1).contiguous() for v in V.values()]
    return lambda: _product(J, columns)


def _kernel_vector(problem: Problem) -> Call:
    J, v = _jacobian(problem), cotangents(problem)
    back = J.adjoint()
    return lambda: _product(J, back @ [v])


FORMS = {
    "kfac": {"curvlinops": partial(_kronecker, fisher_type=FisherType.EMPIRICAL)},
    "kfac-exact": {"curvlinops": partial(_kronecker, fisher_type=FisherType.TYPE2)},
    "out-jvp-1": {"curvlinops": partial(_push, 1)},
    "out-jvp-16": {"curvlinops": partial(_push, 16)},
    "ntk-vector": {"curvlinops": _kernel_vector},
}
