r"""Where training without the forgotten data would have ended, for models whose outputs are linear in their weights.

Letters: f and r are the forgotten and the retained data; C outputs a sample.
"""

from typing import Any

from torch import Tensor

from infotorch.blocks import ntk
from infotorch.capture.run import Fallback
from infotorch.edit.curvature import Full
from infotorch.edit.passes import gradient, pulled_back
from infotorch.errors import NumericsError
from infotorch.linalg.definite import Cholesky
from infotorch.task import Task

__all__ = ["finite_time_target", "ntk_step"]


def ntk_step(task: Task, retain: Any, forget: Any, *, ridge: float, fallback: Fallback | None = None) -> Tensor:
    r"""What retraining the linearised model without ``forget`` adds to its trained weights, float64 [P].

    :math:`-P J_f^\top M V` with :math:`P = I - J_r^\top \Theta_{rr}^{-1} J_r`,
    :math:`M = (\Theta_{ff} - \Theta_{fr} \Theta_{rr}^{-1} \Theta_{rf})^{-1}` and
    :math:`V = (Y_f - f_f) - \Theta_{fr} \Theta_{rr}^{-1} (Y_r - f_r)`; :math:`\Theta = JJ^\top`, with the ridge on its
    two diagonal blocks: Golatkar, Achille and Soatto (arXiv:2003.02960), whose sign of the step is that of -V.

    Args:
        task: At the weights where training began, at which it is linearised; squared error.
        retain: One batch (x, y).
        forget: One batch (x, y).
        ridge: Of the loss :math:`\frac12 \|f - Y\|^2 + \frac12 \mathrm{ridge} \|w - w_0\|^2` that was minimised.
        fallback: As for :func:`infotorch.ntk`.

    Raises:
        NumericsError: The kernel is singular with this ridge.
    """
    (x_r, y_r), (x_f, y_f) = task.split(retain), task.split(forget)
    rr, ff = (ntk(task, x, fallback=fallback) for x in (x_r, x_f))
    fr = ntk(task, x_f, x_r, fallback=fallback)
    C = rr.C
    residual_r, residual_f = (
        (task.residual_targets(y, C).to(gram.outputs) - gram.outputs).flatten() for y, gram in ((y_r, rr), (y_f, ff))
    )
    inner = Cholesky("scrub", rr.matrix, ridge, "ridge")
    across = inner.solve(fr.matrix.mT.contiguous())  # Theta_rr^-1 Theta_rf, [N_r C, N_f C]
    schur = ff.matrix - fr.matrix @ across
    schur = (schur + schur.mT) / 2
    V = residual_f - across.mT @ residual_r
    u_f = Cholesky("scrub", schur, ridge, "ridge").solve(V[:, None])[:, 0]
    u_r = -(across @ u_f)
    return -(pulled_back(task, x_f, u_f.view(-1, C)) + pulled_back(task, x_r, u_r.view(-1, C)))


def finite_time_target(
    task: Task,
    retain: Any,
    forget: Any,
    weights: Tensor,
    H: Full,
    H_all: Full,
    *,
    ridge: float,
    anchor: Tensor,
    time: float,
) -> Tensor:
    r"""Weights after gradient flow for ``time`` on the retained data alone, float64 [P], for quadratic losses.

    :math:`w - d_r + e^{-Bt} e^{At} d + e^{-Bt} (d_r - d)` with A, B the curvatures of all and of the retained loss,
    :math:`d = A^{-1} \nabla L`, :math:`d_r = B^{-1} \nabla L_r`, from the same start. Golatkar, Achille and Soatto
    (arXiv:1911.04933) print the last bracket with the other sign; flow from one start gives this one.

    Raises:
        NumericsError: The start can't be told from the weights any more: e^{At} d is not finite.
    """
    penalty = ridge * (weights - anchor)
    g_r = gradient(task, retain) + penalty
    d_r, d = H.solve(g_r), H_all.solve(g_r + gradient(task, forget))
    back = H_all.map(d, (H_all.values * time).exp())
    if not bool(back.isfinite().all()):
        raise NumericsError(
            f"scrub: training must be short enough to be taken back; got time={time:g} with a largest eigenvalue of "
            f"{float(H_all.values[-1]):.3g}. Pass time=math.inf for a converged training."
        )
    return weights - d_r + H.map(back + d_r - d, (-H.values * time).exp())
