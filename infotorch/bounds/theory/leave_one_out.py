"""The leave-one-out bound of one linearized network: no training is repeated."""

import math
from typing import Any, Literal

import torch

from infotorch.errors import ConfigError, DataError, NotSupported, check_choice
from infotorch.measures.budget import DEFAULT_MEMORY_LIMIT, room_beside_kernel
from infotorch.measures.leave_one_out_variance import leave_one_out_variance_from_kernel
from infotorch.measures.linearized import linearize, linearize_cross_entropy
from infotorch.table import Estimate
from infotorch.task import Task, num_samples, select

__all__ = ["leave_one_out"]

SPACES = ("weights", "functions")
LOSSES = ("mse", "cross_entropy_ggn")


def leave_one_out(
    task: Task,
    batch: Any,
    *,
    noise_var: float,
    l2: float = 0.0,
    time: float = math.inf,
    loss: Literal["mse", "cross_entropy_ggn"] = "mse",
    space: Literal["weights", "functions"] = "weights",
    memory_limit: int | None = None,
) -> Estimate:
    r"""Leave-one-out bound on the expected generalization gap, linearized: from one network, no training repeated.

    The learner is trained on all of n + 1 points but one, number U, drawn at random, and hands out
    :math:`W \sim N(w_{-U}, s^2 I)`. For a loss in [0, 1] its expected gap is at most

    .. math:: \frac{n+1}{n} \sqrt{I(W;U) / 2}, \qquad
        I(W;U) \le \min\Big\{\frac{1}{n+1} \sum_u \frac{\|w_{-u} - \bar w\|^2}{2 s^2}, \; \ln(n+1)\Big\}

    with the n + 1 points given (leave-one-out conditional mutual information, arXiv 2207.00581; the constants are
    derived here). The sum is the mean divergence of the posteriors from the Gaussian around their mean, which no choice
    of that Gaussian lowers below the information. It is half of what convexity gives, the mean divergence between all
    pairs of posteriors.

    The :math:`w_{-u}` are those of the network linearized at the weights that the task's model has, as in
    :class:`infotorch.UniqueInformation`: trained on the mean of half the squared error (labels one-hot, whatever loss
    the task has) with weight decay toward these weights, exactly; or by one Gauss-Newton step of cross-entropy.
    ``space="functions"`` puts the noise on the outputs at all n + 1 points in place of the weights.

    What it is not: the root's expectation over the draw of the n + 1 points is one draw's value here, a network moves
    otherwise than its linearization, and the gap is that of the *noisy* learner, whose loss the noise raises. A larger
    ``noise_var`` lowers the bound and raises that loss.

    Args:
        task: Model in eval mode, and the parameters that train.
        batch: ``(x, y)`` of n + 1 samples; y class labels [n + 1], or targets [n + 1, C].
        noise_var: s², variance of the noise in every weight (or output).
        l2: Weight decay toward the initial weights, on the mean loss over n samples.
        time: Gradient-flow time on that mean loss (learning rate times steps); default: to convergence.
        loss: Squared error, or ``"cross_entropy_ggn"`` at trained weights, which needs ``l2`` > 0 and no time.
        space: Where the noise is.
        memory_limit: Bytes that the computation may take, 4 GiB if not given.

    Returns:
        An estimate of the bound, without a unit. Parts: ``information`` in nats, after the cap; ``divergence`` in nats,
        before it; ``variance``, of the weights (or outputs, summed over points) over u; ``ceiling``, ln(n + 1).

    Raises:
        ConfigError: An option is out of range or contradicts another, or the kernel exceeds ``memory_limit``.
        DataError: There are fewer than two samples, or they don't fit the model.
        NotSupported: ``space="functions"`` with cross-entropy, whose problem has other outputs than the model.
        NumericsError: The training without a sample has no unique end: give ``l2`` or a time.

    Example:
        >>> layer = torch.nn.Linear(1, 1, bias=False).eval()
        >>> _ = torch.nn.init.zeros_(layer.weight)
        >>> x, y = torch.ones(2, 1), torch.tensor([[1.0], [3.0]])
        >>> round(leave_one_out(Task(layer, loss="mse"), (x, y), noise_var=4.0, time=50.0).value, 6)
        0.5
    """
    for option, value, valid in (("space", space, SPACES), ("loss", loss, LOSSES)):
        check_choice("leave_one_out", option, value, valid)
    for option, number, ok, least in (
        ("noise_var", noise_var, 0 < noise_var < math.inf, "finite and above 0"),
        ("l2", l2, 0 <= l2 < math.inf, "finite and at least 0"),
        ("time", time, time >= 0, "at least 0"),
    ):
        if not ok:
            raise ConfigError(f"leave_one_out: {option} must be {least}; got {number}. Correct {option}.")
    ggn = loss == "cross_entropy_ggn"
    if ggn and (not l2 > 0 or time != math.inf):
        raise ConfigError(
            f"leave_one_out: loss='cross_entropy_ggn' is one Newton step, with l2 above 0 and no time; got l2={l2} and "
            f"time={time}. Give the l2 of training."
        )
    if ggn and space == "functions":
        raise NotSupported(
            "leave_one_out: space='functions' must go with loss='mse'; got 'cross_entropy_ggn', whose linear problem "
            "has C - 1 outputs of its own. Give space='weights'."
        )
    x, y = task.split(batch)
    N = num_samples(x)
    if N < 2:
        raise DataError(f"leave_one_out: needs at least 2 samples, n + 1; got {N}. One of them is left out.")
    with torch.no_grad():
        C = task.outputs(select(x, slice(0, 1)))[0].numel()
    tests = N * C if space == "functions" else 0  # the training points, as test points of the solve
    room = room_beside_kernel(
        num_captured=(N * C, tests),
        num_solved=(N * (C - 1), 0) if ggn else None,
        converges=time == math.inf,
        memory_limit=DEFAULT_MEMORY_LIMIT if memory_limit is None else memory_limit,
        where="leave_one_out",
        remedy="Give fewer samples",
    )
    linear = linearize_cross_entropy(task, x, y, None, memory_limit=room) if ggn else None
    if linear is None:
        linear = linearize(task, x, y, None, shared=False, memory_limit=room)
    spread = leave_one_out_variance_from_kernel(
        linear.kernel,
        linear.residual,
        linear.kernel if tests else None,
        ridge=(N - 1) * l2,
        time=time / (N - 1),
        overwrite=not tests,
    )
    variance = float((spread.weights if spread.functions is None else spread.functions)[0])
    divergence, ceiling = variance / (2 * noise_var), math.log(N)
    information = min(divergence, ceiling)
    return Estimate(
        name="leave-one-out bound, linearized" + (" predictions" if tests else ""),
        value=N / (N - 1) * math.sqrt(information / 2),
        source="arXiv 2207.00581, weights linearized as in arXiv 2101.06640",
        parts={"information": information, "divergence": divergence, "variance": variance, "ceiling": ceiling},
    )
