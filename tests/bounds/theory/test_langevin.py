import copy
import io
import math
import pickle

import pytest
import torch
from torch import nn

from infotorch.bounds.theory.langevin import Langevin
from infotorch.errors import ConfigError, NotSupported, NumericsError
from tests.laws import assert_same_bits

DRAWS = 200_000


def start(size=(3,), dtype=torch.float64):
    return nn.Parameter(torch.zeros(size, dtype=dtype))


def take(optimizer, steps, gradient=0.0):
    for _ in range(steps):
        for p in optimizer.param_groups[0]["params"]:
            p.grad = torch.full_like(p, gradient)
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_noise_has_variance_2_lr_over_beta(dtype):
    """Not 2 lr / beta^3: at beta = 5 that would be 25 times less. Four standard errors of mean and variance."""
    lr, beta, w = 0.1, 5.0, start(DRAWS, dtype)
    take(Langevin([w], lr, beta, seed=3), 1)
    drawn = w.detach().double()
    variance = 2 * lr / beta
    assert abs(drawn.mean()) < 4 * math.sqrt(variance / DRAWS)
    assert abs(drawn.var() / variance - 1) < 4 * math.sqrt(2 / DRAWS)


def test_noise_is_gaussian_and_each_step_draws_anew():
    w = start(DRAWS)
    optimizer = Langevin([w], 0.5, 1.0, seed=0)
    take(optimizer, 1)
    first = w.detach().clone()  # variance 1
    take(optimizer, 1)
    second = w.detach() - first
    assert abs((first**4).mean() - 3) < 4 * math.sqrt(96 / DRAWS)  # the variance of a fourth power is 105 - 9
    assert abs((first * second).mean()) < 4 / math.sqrt(DRAWS)


def test_the_step_goes_down_the_gradient():
    """The same noise with and without a gradient: the difference is -lr g."""
    at_rest, moved = start(), start()
    take(Langevin([at_rest], 0.5, 2.0, seed=0), 1)
    take(Langevin([moved], 0.5, 2.0, seed=0), 1, gradient=8.0)
    assert torch.allclose(moved - at_rest, torch.full((3,), -4.0, dtype=torch.float64), rtol=1e-14)


def test_stationary_variance_is_that_of_the_discretized_diffusion():
    """On |w|^2 / 2: v = (1 - lr)^2 v + 2 lr / beta, so v = 1 / (beta (1 - lr / 2))."""
    w, lr, beta = start(DRAWS), 0.4, 3.0
    optimizer = Langevin([w], lr, beta, seed=0)
    for _ in range(25):
        w.grad = w.detach().clone()
        optimizer.step()
    assert abs(w.var() * beta * (1 - lr / 2) - 1) < 4 * math.sqrt(2 / DRAWS)


def test_half_precision_is_rounded_once():
    """The step is that of float32, rounded after the noise: rounded before it, 256 - 0.5 would be 256 again."""
    narrow = nn.Parameter(torch.full((DRAWS,), 256.0, dtype=torch.bfloat16))
    wide = nn.Parameter(narrow.detach().float())
    for w in (narrow, wide):
        take(Langevin([w], 0.5, 1.0, seed=0), 1, gradient=1.0)
    assert_same_bits(narrow, wide.bfloat16())


def test_seeds_differ_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    a, b, c = start(), start(), start()
    for w, seed in ((a, 0), (b, 1), (c, 0)):
        take(Langevin([w], 0.1, 1.0, seed=seed), 1)
    assert_same_bits(a, c)
    assert not torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())


def test_resumed_training_has_the_same_bits():
    whole, first = [start(), start((2, 2))], [start(), start((2, 2))]
    lr = lambda step: 0.1 / (1 + step)  # noqa: E731  (a schedule, given twice)
    take(Langevin(whole, lr, 5.0, seed=0), 6, 1.0)
    begun = Langevin(first, lr, 5.0, seed=0)
    take(begun, 2, 1.0)
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    resumed = Langevin(first, lr, 5.0, seed=9)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    take(resumed, 4, 1.0)
    for p, q in zip(whole, first, strict=True):
        assert_same_bits(p, q)
    assert resumed.lrs == [lr(step) for step in range(6)] and resumed.betas == [5.0] * 6


def test_a_saved_state_is_not_changed_by_later_steps():
    optimizer = Langevin([start()], 0.1, 5.0)
    take(optimizer, 2)
    saved = optimizer.state_dict()
    want = copy.deepcopy(saved)
    take(optimizer, 3)
    other = Langevin([start()], 0.1, 5.0)
    other.load_state_dict(saved)
    take(other, 1)
    assert saved["state"]["langevin"]["lr"] == want["state"]["langevin"]["lr"] == [0.1, 0.1]
    assert torch.equal(saved["state"]["langevin"]["noise"], want["state"]["langevin"]["noise"])
    assert len(optimizer.lrs) == 5 and len(other.lrs) == 3


def test_copies_go_on_alike():
    optimizer = Langevin([start()], 0.1, 5.0)
    take(optimizer, 1)
    twins = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    for one in (optimizer, *twins):
        take(one, 2, 1.0)
    for twin in twins:
        assert_same_bits(optimizer.param_groups[0]["params"][0], twin.param_groups[0]["params"][0])


def test_schedulers_of_torch_set_both():
    optimizer = Langevin([start()], 0.1, 5.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for step in range(3):
        optimizer.param_groups[0]["beta"] = 5.0 + step
        take(optimizer, 1)
        scheduler.step()
    assert optimizer.lrs == [0.1, 0.05, 0.025] and optimizer.betas == [5.0, 6.0, 7.0]


def test_a_closure_is_called_with_gradients_on():
    w = start()
    optimizer = Langevin([w], 0.1, 5.0)

    def closure():
        optimizer.zero_grad()
        loss = (w - 1).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0 and torch.equal(w.grad, torch.full_like(w, -2.0))


def test_frozen_parameters_stay():
    w, frozen = start(), start().requires_grad_(False)
    optimizer = Langevin([w, frozen], 0.1, 5.0)
    w.grad = torch.zeros_like(w)
    optimizer.step()
    assert (w != 0).all() and (frozen == 0).all()


@pytest.mark.parametrize(
    "lr, beta, message",
    [
        (0.0, 1.0, "langevin: lr must be finite and above 0 at every step; got 0.0 at step 0."),
        (-1.0, 1.0, "lr must be finite and above 0 at every step; got -1.0"),
        (math.nan, 1.0, "lr must be finite and above 0 at every step; got nan"),
        (1.0, 0.0, "beta must be finite and above 0 at every step; got 0.0"),
        (1.0, lambda step: math.inf, "beta must be finite and above 0 at every step; got inf at step 0"),
    ],
)
def test_rates_out_of_range_are_refused(lr, beta, message):
    with pytest.raises(ConfigError, match=message):
        Langevin([start()], lr, beta)


def test_a_schedule_that_ends_at_zero_is_refused_there():
    w = start()
    optimizer = Langevin([w], lambda step: 0.2 - 0.1 * step, 1.0)
    take(optimizer, 2)
    before = w.detach().clone()
    with pytest.raises(ConfigError, match=r"lr must be finite and above 0 at every step; got 0.0 at step 2"):
        take(optimizer, 1)
    assert_same_bits(w.detach(), before)
    assert len(optimizer.lrs) == 2


def test_a_function_and_a_scheduler_contradict():
    optimizer = Langevin([start()], lambda step: 0.1, 1.0)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    take(optimizer, 1)
    optimizer.param_groups[0]["lr"] = 0.05
    with pytest.raises(ConfigError, match=r"lr must be set by its function or from outside; got both: 0.05"):
        take(optimizer, 1)


def test_gradients_that_are_not_finite_leave_everything():
    w, v = start(), start()
    optimizer = Langevin({"w": w, "v": v}.items(), 0.1, 1.0)
    w.grad, v.grad = torch.zeros_like(w), torch.tensor([0.0, math.nan, 0.0]).double()
    state = optimizer.state_dict()["state"]["langevin"]["noise"]
    with pytest.raises(NumericsError, match=r"langevin: gradients must be finite; got nan for 'v' at step 0."):
        optimizer.step()
    assert (w == 0).all() and optimizer.lrs == []
    assert torch.equal(state, optimizer.state_dict()["state"]["langevin"]["noise"])


def test_a_gradient_must_be_there_and_dense():
    w, table = start(), nn.Embedding(4, 2, sparse=True)
    with pytest.raises(ConfigError, match=r"must have a gradient; got none for parameter 0 \[3\]. Call backward"):
        Langevin([w], 0.1, 1.0).step()
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(NotSupported, match=r"must be dense, as the noise is; got a sparse one for parameter 0 \[4, 2"):
        Langevin(table.parameters(), 0.1, 1.0).step()


def test_a_second_group_is_refused():
    with pytest.raises(NotSupported, match=r"all parameters must share lr and beta.*got a second parameter group"):
        Langevin([{"params": [start()]}, {"params": [start()], "lr": 1.0}], 0.1, 1.0)


def test_parameters_are_floating_and_on_one_device():
    with pytest.raises(ConfigError, match=r"parameters must be floating; got torch.complex64 for parameter 0"):
        Langevin([start(dtype=torch.complex64)], 0.1, 1.0)
    with pytest.raises(ConfigError, match=r"must lie on one device, where their noise is drawn; got cpu, meta."):
        Langevin([start(), nn.Parameter(torch.zeros(1, device="meta"))], 0.1, 1.0)


def test_a_foreign_state_is_refused():
    w = start()
    with pytest.raises(ConfigError, match=r"the state must be what Langevin.state_dict returned"):
        Langevin([w], 0.1, 1.0).load_state_dict(torch.optim.SGD([w], 0.1).state_dict())


@pytest.mark.cuda
def test_noise_on_a_gpu(gpu):
    w = nn.Parameter(torch.zeros(DRAWS, device=gpu))
    take(Langevin([w], 0.1, 5.0), 1)
    assert abs(w.detach().double().var() / 0.04 - 1) < 4 * math.sqrt(2 / DRAWS)


def test_noise_without_a_seed_follows_torchs_own():
    """Two optimizers differ; two that begin at the same ``torch.manual_seed`` don't."""
    ends = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        w = start()
        take(Langevin([w], 0.1, 1.0), 1)
        ends.append(w.detach().clone())
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
