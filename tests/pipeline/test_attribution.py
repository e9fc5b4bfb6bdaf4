"""Networks, data of every form and the conventions, against the dual form on the tangent kernel."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import attribution, blocks, data, errors
from infotorch.measures import unique_information_from_kernel, unique_information_from_shared_kernel
from infotorch.task import Task
from tests.laws import assert_same

N, M, C = 9, 6, 3


@pytest.fixture
def made(rng):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, C)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    x, x_test = (torch.randn(n, 4, generator=rng).double() for n in (N, M))
    return Task(model), (x, torch.randint(0, C, (N,), generator=rng)), x_test


@pytest.mark.parametrize(
    "options, training",
    [
        ({"l2": 0.02, "time": 5.0}, {"time": 5.0 / N, "time_without": 5.0 / (N - 1), "ridge_without": 0.02 * (N - 1)}),
        ({"l2": 0.02, "convention": "sum"}, {}),
        ({"l2": 0.02, "lr": 0.1, "steps": 5}, {"lr": 0.1 / N, "lr_without": 0.1 / (N - 1), "steps": 5,
                                               "ridge_without": 0.02 * (N - 1)}),
        ({"l2": 0.02, "lr": 0.1, "steps": 50, "convention": "reference"},
         {"lr": 0.1 / N, "lr_without": 0.1 / (N - 1), "steps": 50}),
    ],
    ids=["flow", "limit", "steps", "reference"],
)  # fmt: skip
def test_leave_one_out_is_the_dual_forms_change(options, training, made):
    task, (x, y), x_test = made
    K, K_test = blocks.ntk(task, x), blocks.ntk(task, x_test, x)
    residual = nn.functional.one_hot(y, C) - K.outputs
    options_ = {"ridge": 0.02 * N, "return_changes": True} | training
    want = unique_information_from_kernel(K.matrix, residual, K_test.matrix, **options_).change_test[0]
    got = attribution(task, (x, y), x_test, **options)
    assert got.shape == (N, M, C) and got.dtype == torch.float64
    assert_same(got, want)


def test_the_last_layer_is_never_sketched(made):
    task, (x, y), x_test = made
    last = Task(task.model, params=["2.weight", "2.bias"])
    K, K_test = blocks.ntk(last, x, outputs="trace"), blocks.ntk(last, x_test, x, outputs="trace")
    residual = nn.functional.one_hot(y, C) - K.outputs
    want = unique_information_from_shared_kernel(
        K.matrix, residual, K_test.matrix, ridge=0.9, ridge_without=0.8, return_changes=True
    )
    assert_same(attribution(task, (x, y), x_test, l2=0.1, layers="last", dim=2), want.change_test[0])


def test_influence_is_the_change_to_first_order(made):
    """By hand, at convergence on the summed loss: -J_test A^-1 J_i^T e_i."""
    task, (x, y), x_test = made
    J, J_test = (blocks.features.features(task, z) for z in (x, x_test))
    rows = J.rows.flatten(0, 1)
    A = rows.mT @ rows + 0.9 * torch.eye(rows.shape[1]).double()
    r = nn.functional.one_hot(y, C) - J.outputs
    e = r - J.rows @ torch.linalg.solve(A, rows.mT @ r.flatten())
    back = torch.linalg.solve(A, torch.einsum("nck,nc->kn", J.rows, e))  # [P, N]
    want = -(J_test.rows @ back).permute(2, 0, 1)
    assert_same(attribution(task, (x, y), x_test, kind="influence", l2=0.1, convention="sum"), want)


def test_all_forms_of_data_give_the_same_bits(made):
    task, (x, y), x_test = made
    want = attribution(task, (x, y), x_test, time=2.0, dim=16)
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    tests = TensorDataset(x_test, torch.zeros(M).long())
    assert torch.equal(attribution(task, loader, tests, time=2.0, dim=16), want)
    assert torch.equal(attribution(task, data.samples_of((x, y)), x_test.numpy(), time=2.0, dim=16), want)


def test_tests_may_come_in_blocks_and_seeds_matter(made):
    task, train, x_test = made
    want = attribution(task, train, x_test, time=2.0, dim=16)
    blocks_ = [attribution(task, train, some, time=2.0, dim=16) for some in x_test.split(4)]
    assert_same(torch.cat(blocks_, 1), want)
    assert not torch.allclose(attribution(task, train, x_test, time=2.0, dim=16, seed=1), want)


def test_the_model_is_left_as_it_is_and_progress_is_told(made):
    task, train, x_test = made
    before, told = [p.clone() for p in task.model.parameters()], []
    got = attribution(task, train, x_test, time=2.0, progress=lambda *step: told.append(step))
    assert all(torch.equal(p, q) for p, q in zip(task.model.parameters(), before, strict=True))
    assert not got.requires_grad and all(p.grad is None for p in task.model.parameters())
    assert told == [("features", N, N), ("features", M, M), ("attribution", 0, 1), ("attribution", 1, 1)]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "trak"}, "attribution: kind must be one of 'leave_one_out', 'influence'; got 'trak'"),
        ({"time": [1.0, 2.0]}, r"attribution: time must be one number; got \[1.0, 2.0\]. Call once for each"),
        ({"lr": 0.1, "steps": [5, 6]}, r"attribution: steps must be one number; got \[5, 6\]"),
        ({"convention": "median"}, "convention must be one of"),
        ({"sketch": "dense"}, "sketch must be one of"),
        ({"layers": "3.*"}, "every entry of layers must be one of"),
        ({"l2": -1.0}, "l2 must be a finite number, at least 0; got -1.0"),
        ({"dim": 0}, "dim must be a whole number from 1"),
        ({"lr": 0.1}, "lr and steps go together; got lr without steps"),
        ({"memory_limit": 1e9}, "attribution: memory_limit must be a whole number of bytes above 0; got 1000000000.0"),
        ({"seed": -1}, r"seed must be 0 to 2\^64 - 1; got -1"),
        (
            {"memory_limit": 1 << 20},
            r"attribution: needs .* of memory, of which 1296 bytes are the result, 9 training by 6 t",
        ),
    ],
)
def test_bad_options_are_refused(options, message, made):
    task, train, x_test = made
    with pytest.raises(errors.ConfigError, match=message):
        attribution(task, train, x_test, **{"l2": 0.1, **options})


def test_a_result_over_the_limit_is_refused_with_its_size(made):
    """2,000 by 100,000 by 3 numbers of 8 bytes are 4578 MiB; nothing is computed before."""
    task, (x, y), x_test = made
    train = (x[:1].expand(2000, -1), y[:1].expand(2000))
    with pytest.raises(errors.ConfigError, match=r"4578 MiB are the result, .* limit of 4096 MiB. Call it on blocks"):
        attribution(task, train, x_test[:1].expand(100_000, -1), time=1.0)


def test_bad_data_is_refused(made):
    task, (x, y), x_test = made
    shuffled = DataLoader(TensorDataset(x, y), shuffle=True)
    with pytest.raises(errors.DataError, match="a loader must not shuffle"):
        attribution(task, shuffled, x_test, time=1.0)
    bad = x_test.clone()
    bad[2, 1] = torch.nan
    with pytest.raises(errors.DataError, match="x must be finite; got nan in sample 2"):
        attribution(task, (x, y), bad, time=1.0)
    with pytest.raises(errors.ConfigError, match="needs at least two samples; got 1"):
        attribution(task, (x[:1], y[:1]), x_test, time=1.0)
