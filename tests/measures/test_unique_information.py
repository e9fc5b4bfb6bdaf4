"""UniqueInformation: the measure equals retraining the linearized network, and refuses what it can't do exactly."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import Task, UniqueInformation, ntk, unique_information_from_kernel
from infotorch.errors import CaptureError, ConfigError, DataError, NumericsError
from tests import oracles

N, M, I, C = 9, 5, 4, 3


def make(rng, outputs=C, num_samples=N):
    model = nn.Sequential(nn.Linear(I, 6), nn.Tanh(), nn.Linear(6, outputs)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, dtype=p.dtype, generator=rng) / 2)
    x = torch.randn(num_samples, I, dtype=torch.float64, generator=rng)
    y = torch.randint(0, max(2, outputs), (num_samples,), generator=rng)
    return model, x, y, torch.randn(M, I, dtype=torch.float64, generator=rng)


def descend(J, residual, kept, *, lr, steps, l2):
    """Change of the weights [P] after literal gradient descent on the mean squared error of the kept samples."""
    J, residual = J[kept], residual[kept]  # [k, C, P], [k, C]
    d = torch.zeros(J.shape[-1], dtype=torch.float64)
    for _ in range(steps):
        error = torch.einsum("ncp,p->nc", J, d) - residual
        d = d - lr * (torch.einsum("ncp,nc->p", J, error) / len(J) + l2 * d)
    return d


def truth(J, J_test, residual, **options):
    """Weights [N], functions [N], predictions without the sample [N, C] by training N + 1 times."""
    everyone = torch.arange(len(J))
    full = descend(J, residual, everyone, **options)
    without = torch.stack([descend(J, residual, everyone[everyone != n], **options) for n in everyone])
    change = without - full  # [N, P]
    functions = torch.einsum("mcp,np->nmc", J_test, change).square().sum((1, 2)) / (2 * len(J_test))
    return change.square().sum(1) / 2, functions, torch.einsum("ncp,np->nc", J, without)


def close(got, want, rtol=1e-8):
    np.testing.assert_allclose(got, np.asarray(want), rtol=rtol, atol=rtol * np.abs(np.asarray(want)).max())


@pytest.mark.parametrize("lr, steps, l2", [(0.05, 40, 0.0), (0.05, 3, 0.1), (0.2, 500, 0.01)])
def test_equals_retraining_the_linearized_network(lr, steps, l2, rng):
    model, x, y, x_test = make(rng)
    scores = UniqueInformation(space="both", lr=lr, steps=steps, l2=l2, test_data=x_test).scores(Task(model), x, y)
    f0 = model(x).detach()
    residual = nn.functional.one_hot(y, C) - f0
    options = {"lr": lr, "steps": steps, "l2": l2}
    weights, functions, own = truth(oracles.jacobian(model, x), oracles.jacobian(model, x_test), residual, **options)
    close(scores["unique_information_weights"].values, weights)
    close(scores["unique_information_functions"].values, functions)
    close(scores["own_residual"].values, (residual - own).norm(dim=1))
    assert scores["suggested_label"].values.tolist() == (f0 + own).argmax(1).tolist()
    assert scores["reliable"].values.all()


def test_infinite_time_is_where_descent_ends(rng):
    model, x, y, x_test = make(rng)
    measure = UniqueInformation(space="both", l2=0.3, test_data=x_test)
    scores = measure.scores(Task(model), x, y)
    residual = nn.functional.one_hot(y, C) - model(x).detach()
    weights, functions, _ = truth(
        oracles.jacobian(model, x), oracles.jacobian(model, x_test), residual, lr=0.2, steps=3000, l2=0.3
    )
    close(scores["unique_information_weights"].values, weights)
    close(scores["unique_information_functions"].values, functions)


def test_binary_task_has_one_output(rng):
    """The targets of one logit are 0 and 1; the suggestion is the side of one half."""
    model, x, y, _ = make(rng, outputs=1)
    task = Task(model, loss="binary_cross_entropy")
    scores = UniqueInformation(lr=0.05, steps=20).scores(task, x, y)
    residual = y[:, None] - model(x).detach()
    weights, _, own = truth(oracles.jacobian(model, x), oracles.jacobian(model, x), residual, lr=0.05, steps=20, l2=0)
    close(scores["unique_information_weights"].values, weights)
    assert scores["suggested_label"].values.tolist() == ((model(x) + own)[:, 0] > 0.5).long().tolist()


def test_regression_suggests_no_label(rng):
    model, x, _, _ = make(rng)
    y = torch.randn(N, C, dtype=torch.float64, generator=rng)
    scores = UniqueInformation(lr=0.05, steps=20).scores(Task(model, loss="mse"), x, y)
    J = oracles.jacobian(model, x)
    close(scores["unique_information_weights"].values, truth(J, J, y - model(x).detach(), lr=0.05, steps=20, l2=0)[0])
    assert "suggested_label" not in scores.columns


def test_several_times_come_from_one_call(rng):
    model, x, y, _ = make(rng)
    both = UniqueInformation(lr=0.05, steps=[5, 40]).scores(Task(model), x, y)
    for steps in (5, 40):
        one = UniqueInformation(lr=0.05, steps=steps).scores(Task(model), x, y)
        close(both[f"unique_information_weights_steps_{steps}"].values, one["unique_information_weights"].values)
        close(both[f"own_residual_steps_{steps}"].values, one["own_residual"].values)


def test_each_time_has_a_column_of_its_own(rng):
    model, x, y, _ = make(rng)
    for option, values, names in (
        ("steps", np.array([1234567, 1234568]), ["_steps_1234567", "_steps_1234568"]),
        ("time", torch.tensor([1.0000001, 3.0], dtype=torch.float64), ["_time_1.0000001", "_time_3"]),
    ):
        options = {"lr": 0.01, "steps": values} if option == "steps" else {"time": values}
        measure = UniqueInformation(l2=0.1, **options)
        assert {f"unique_information_weights{name}" for name in names} < set(measure.scores(Task(model), x, y).columns)
        assert measure.config()[option] == values.tolist()


def test_conventions_differ_as_defined(rng):
    """The sum keeps ridge and time, the reference the ridge alone: plain numbers of the kernel form."""
    model, x, y, _ = make(rng)
    gram = ntk(Task(model), x)
    residual = nn.functional.one_hot(y, C).double() - gram.outputs
    lr, steps, l2 = 0.05, 40, 0.1
    for convention, ridge_without, lr_without in (
        ("sum", N * l2, lr / N),
        ("mean", (N - 1) * l2, lr / (N - 1)),
        ("reference", N * l2, lr / (N - 1)),
    ):
        scores = UniqueInformation(lr=lr, steps=steps, l2=l2, convention=convention).scores(Task(model), x, y)
        plain = unique_information_from_kernel(
            gram.matrix,
            residual,
            ridge=N * l2,
            ridge_without=ridge_without,
            lr=lr / N,
            lr_without=lr_without,
            steps=steps,
        )
        close(scores["unique_information_weights"].values, plain.weights[0], rtol=1e-12)


def test_last_layer_equals_the_full_form_on_that_layer(rng):
    model, x, y, x_test = make(rng)
    options = {"space": "both", "lr": 0.05, "steps": 40, "l2": 0.01, "test_data": x_test}
    fast = UniqueInformation(layers="last", **options).scores(Task(model), x, y)
    full = UniqueInformation(layers=["2.*"], **options).scores(Task(model), x, y)
    for name in ("unique_information_weights", "unique_information_functions", "own_residual"):
        close(fast[name].values, full[name].values)


def test_last_layer_must_be_the_output(rng):
    model, x, y, _ = make(rng)
    with pytest.raises(CaptureError, match="layers='last' needs a final Linear whose output is the model's"):
        UniqueInformation(layers="last", lr=0.05, steps=3).scores(Task(nn.Sequential(model, nn.Tanh()).eval()), x, y)


def test_layers_narrow_what_the_task_selects(rng):
    model, x, y, _ = make(rng)
    options = {"lr": 0.05, "steps": 40}
    head = Task(model, params=["2.*"])
    wide, narrow = (UniqueInformation(layers=layers, **options).scores(head, x, y) for layers in (["*"], "2.*"))
    close(wide["unique_information_weights"].values, narrow["unique_information_weights"].values)
    with pytest.raises(ConfigError, match=r"every entry of layers must be one of .*; got '0.wait'. Did you mean"):
        UniqueInformation(layers=["0.wait"], **options).scores(Task(model), x, y)


def test_last_layer_is_found_by_its_outputs_not_by_its_place(rng):
    class HeadFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.body = nn.Linear(6, C), nn.Linear(I, 6)

        def forward(self, x):
            return self.head(self.body(x).tanh())

    _, x, y, _ = make(rng)
    model, options = HeadFirst().double().eval(), {"lr": 0.05, "steps": 40}
    last = UniqueInformation(layers="last", **options).scores(Task(model), x, y)
    full = UniqueInformation(layers="head.*", **options).scores(Task(model), x, y)
    close(last["unique_information_weights"].values, full["unique_information_weights"].values)


def test_trace_is_exact_where_outputs_share_the_kernel(rng):
    model, x, y, _ = make(rng)
    options = {"lr": 0.05, "steps": 40}
    last = UniqueInformation(layers="last", **options).scores(Task(model), x, y)
    trace = UniqueInformation(layers=["2.*"], outputs="trace", **options).scores(Task(model), x, y)
    close(trace["unique_information_weights"].values, last["unique_information_weights"].values)


def test_ensemble_gives_mean_and_standard_error(rng):
    models, (x, y) = [make(rng)[0] for _ in range(3)], make(rng)[1:3]
    options = {"lr": 0.05, "steps": 40}
    each = [UniqueInformation(**options).scores(Task(m), x, y)["unique_information_weights"].values for m in models]
    scores = UniqueInformation(models=models, **options).scores(Task(models[0]), x, y)
    close(scores["unique_information_weights"].values, np.mean(each, 0))
    close(scores["unique_information_weights_stderr"].values, np.std(each, 0, ddof=1) / math.sqrt(3))


def test_an_ensemble_has_one_number_of_outputs(rng):
    (model, x, y, _), (other, *_) = make(rng), make(rng, outputs=4)
    with pytest.raises(ConfigError, match=r"models must have one number of outputs; got \[3, 4\]"):
        UniqueInformation(l2=0.1, models=[model, other]).scores(Task(model), x, y)


@pytest.mark.parametrize("convention, kept", [("mean", N - 1), ("sum", N)])
def test_cross_entropy_is_one_newton_step(convention, kept, rng):
    """Against direct solves of the local quadratic model in weight space, with and without each sample."""
    model, x, y, x_test = make(rng)
    l2 = 0.2
    measure = UniqueInformation(space="both", loss="cross_entropy_ggn", l2=l2, test_data=x_test, convention=convention)
    scores = measure.scores(Task(model), x, y)
    J, p = oracles.jacobian(model, x), model(x).detach().softmax(1)
    S = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    H = torch.einsum("ncp,ncd,ndq->npq", J, S, J)
    g = torch.einsum("ncp,nc->np", J, p - nn.functional.one_hot(y, C))
    eye = torch.eye(J.shape[-1], dtype=torch.float64)
    full = -torch.linalg.solve(H.sum(0) + N * l2 * eye, g.sum(0))
    without = torch.stack([-torch.linalg.solve(H.sum(0) - H[n] + kept * l2 * eye, g.sum(0) - g[n]) for n in range(N)])
    close(scores["unique_information_weights"].values, (without - full).square().sum(1) / 2)
    q = model(x_test).detach().softmax(1)
    S_test = torch.diag_embed(q) - q[:, :, None] * q[:, None]
    change = torch.einsum("mcp,np->nmc", oracles.jacobian(model, x_test), without - full)
    kl = torch.einsum("nmc,mcd,nmd->n", change, S_test, change) / (2 * M)
    close(scores["unique_information_functions"].values, kl)
    logits = model(x).detach() + torch.einsum("ncp,np->nc", J, without)
    close(scores["own_residual"].values, (nn.functional.one_hot(y, C) - logits.softmax(1)).norm(dim=1))
    assert scores["suggested_label"].values.tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize("convention", ["mean", "sum"])
def test_groups_and_removed_equal_retraining(convention, rng):
    """A group leaves as one; samples already gone are gone from both trainings."""
    model, x, y, _ = make(rng)
    groups = torch.zeros(2, N, dtype=torch.bool)
    groups[0, :2], groups[1, 3:7] = True, True
    options = {"lr": 0.05, "steps": 40, "l2": 0.1}
    got = UniqueInformation(groups=groups, convention=convention, **options).scores(Task(model), x, y)
    J, residual = oracles.jacobian(model, x), nn.functional.one_hot(y, C) - model(x).detach()
    everyone = torch.arange(N)

    def run(kept, of):
        k = len(kept) if convention == "mean" else of
        scale = len(kept) / k  # "sum": the sums of `of` samples, so a mean over fewer is scaled
        return descend(J, residual, kept, lr=options["lr"] * scale, steps=40, l2=options["l2"] / scale)

    full = run(everyone, N)
    want = [(run(everyone[~g], N) - full).square().sum() / 2 for g in groups]
    assert got.index.tolist() == [0, 1]
    close(got["unique_information_weights"].values, torch.stack(want))
    removed = torch.zeros(N, dtype=torch.bool)
    removed[[1, 4]] = True
    got = UniqueInformation(removed=removed, convention=convention, **options).scores(Task(model), x, y)
    left = everyone[~removed]
    full = run(left, len(left))
    want = [(run(left[left != n], len(left)) - full).square().sum() / 2 for n in left]
    close(got["unique_information_weights"].values[left], torch.stack(want))
    gone = got["unique_information_weights"].values[removed]
    assert gone.tolist() == [0, 0], "removing again what is already gone changes nothing"
    prediction = model(x[removed]).detach() + torch.einsum("ncp,p->nc", J[removed], full)
    target = nn.functional.one_hot(y[removed], C)
    close(got["own_residual"].values[removed], (target - prediction).norm(dim=1))


def test_config_is_whole_and_says_what_differs(rng):
    x_test = torch.randn(3, I, generator=rng)
    one = UniqueInformation(space="both", lr=0.1, steps=[1, 2], test_data=x_test).config()
    fields = {field.name for field in dataclasses.fields(UniqueInformation)}
    assert set(one) == fields and one["steps"] == [1, 2]
    other = UniqueInformation(space="both", lr=0.1, steps=[1, 2], test_data=x_test + 1).config()
    assert {k for k in fields if one[k] != other[k]} == {"test_data"}


@pytest.mark.parametrize(
    "options, says",
    [
        (
            {"space": "weight"},
            "space must be one of 'weights', 'functions', 'both'; got 'weight'. Did you mean 'weights'?",
        ),
        ({"space": "both"}, "space='both' needs test_data; got none. Give test_data"),
        ({"l2": -1.0}, "l2 must be a finite number, at least 0; got -1.0"),
        ({"lr": 0.1}, "lr and steps go together; got lr without steps"),
        ({"steps": 3}, "lr and steps go together; got steps without lr"),
        ({"lr": 0.1, "steps": 3, "time": 1.0}, "either time or lr with steps must be given; got both"),
        ({"lr": 0.1, "steps": -3}, "steps must be whole numbers, at least 0; got -3"),
        ({"time": -1.0}, "time must be numbers, at least 0; got -1.0"),
        ({"sigma": 0.0}, "sigma must be a finite number above 0; got 0.0"),
        ({"loss": "cross_entropy_ggn", "lr": 0.1, "steps": 3, "l2": 0.1}, "one Newton step has no time"),
        ({"loss": "cross_entropy_ggn"}, "l2 must be above 0 for loss='cross_entropy_ggn'; got 0.0"),
        ({"lr": 0.1, "steps": []}, "steps must hold a number; got none"),
        ({"time": [1.0, 1.0]}, "time must differ; got [1.0, 1.0]"),
        ({"lr": 0.1, "steps": math.inf}, "steps must be whole numbers, at least 0; got inf"),
        ({"models": []}, "models must name at least one network; got none"),
        ({"dim": 100, "form": "dual"}, "dim belongs to form='primal'; got dim=100 with form='dual'"),
        ({"dim": 0}, "dim must be a whole number from 1 to 2^31; got 0"),
        ({"dim": 10.0}, "dim must be a whole number from 1 to 2^31; got 10.0"),
        ({"seed": -1}, "seed must be 0 to 2^64 - 1; got -1"),
        ({"form": "primal", "outputs": "trace"}, "outputs='trace' is of form='dual'; got form='primal'"),
    ],
)
def test_options_that_contradict_are_refused(options, says):
    with pytest.raises(ConfigError) as error:
        UniqueInformation(**options)
    assert says in str(error.value)


def test_a_single_sample_is_refused(rng):
    model, x, y, _ = make(rng, num_samples=1)
    with pytest.raises(ConfigError, match="at least two samples; got 1"):
        UniqueInformation(l2=0.1).scores(Task(model), x, y)


def test_duplicates_at_infinite_time_without_ridge_are_refused(rng):
    model, x, y, _ = make(rng)
    x[1], y[1] = x[0], y[0]
    with pytest.raises(NumericsError, match=r"K \+ ridge\*I must be positive definite at t=inf"):
        UniqueInformation().scores(Task(model), x, y)


def test_a_divergent_learning_rate_is_refused(rng):
    model, x, y, _ = make(rng)
    with pytest.raises((ConfigError, NumericsError), match="lr"):
        UniqueInformation(lr=50.0, steps=100).scores(Task(model), x, y)


@pytest.mark.parametrize("spoil", ["label", "group"])
def test_bad_labels_and_groups_are_refused_before_any_work(spoil, rng):
    model, x, y, _ = make(rng)
    groups = torch.ones(1, N, dtype=torch.bool) if spoil == "group" else None
    if spoil == "label":
        y[4] = C
    with pytest.raises(DataError, match=r"at sample 4|must leave at least one sample"):
        UniqueInformation(l2=0.1, groups=groups).scores(
            Task(model), x, y, progress=lambda *_: pytest.fail("the kernel was begun")
        )


def test_the_budget_counts_both_kernels_of_cross_entropy(rng):
    """With two classes the solved problem is half as wide as the captured one, and building it costs more."""
    model, x, y, _ = make(rng, outputs=2, num_samples=4000)
    needed = 8 * (8000**2 + 4000**2) + (256 << 20)
    measure = UniqueInformation(l2=0.1, loss="cross_entropy_ggn", form="dual")
    with pytest.raises(ConfigError, match=f"needs {needed / 2**20:,.0f} MiB of memory for 4,000 rows"):
        measure.scores(Task(model), x, y, memory_limit=needed - 1)


def test_a_problem_over_the_budget_is_refused_before_any_work(rng):
    model, x, y, _ = make(rng)
    calls = []
    with pytest.raises(
        ConfigError, match=r"needs 256 MiB of memory for 27 rows; got a limit of 0 MiB\. Give layers='last'"
    ) as error:
        UniqueInformation(l2=0.1, form="dual").scores(
            Task(model), x, y, memory_limit=1000, progress=lambda *step: calls.append(step)
        )
    with pytest.raises(ConfigError, match=r"'primal' needs .* MiB .* Keep the run in a folder \(out\)"):
        UniqueInformation(l2=0.1).scores(Task(model), x, y, memory_limit=1000)
    assert not calls and "outputs='trace'" in str(error.value) and "fewer samples" in str(error.value)
