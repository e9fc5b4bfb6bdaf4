"""What a worker does with a job, and which predictions are taken."""

import concurrent.futures as futures
import random
import threading
import time

import numpy as np
import pytest
import torch

from infotorch import bounds
from infotorch.bounds.grids.cells import Extra, Failure, Job, Learner, Trained, cell_of, may_be_labels, seeded, train
from infotorch.bounds.grids.grid import Grid
from infotorch.errors import DataError

N, C = 5, 3
TRAIN, INDICES = np.array([3, 1, 7, 9, 4]), np.array([3, 2, 1, 0, 7, 8, 9, 6, 5, 4])


def job(cells=1, checkpoints=()):
    k2 = tuple(range(cells))
    seeds = tuple(11 + each for each in k2)
    return Job(k1=1, k2=k2, train=(TRAIN,) * cells, seeds=seeds, indices=INDICES, checkpoints=checkpoints)


def learnt(train_fn=None, ensemble=None, cells=1, checkpoints=(), threads=1):
    learner = Learner(train_fn=train_fn, ensemble=ensemble, threads=threads, ensemble_size=cells, digest="3f2a1c")
    return train(learner, job(cells, checkpoints))


def test_a_learner_is_told_of_its_cell():
    told = []

    def train_fn(indices, seed, extra):
        told.append((indices.tolist(), seed, extra))
        indices[:] = 0  # its own copy
        return lambda asked: asked * 0 + len(told)

    found = learnt(train_fn, cells=2, checkpoints=(4,))
    extras = [Extra(k1=1, k2=k2, checkpoints=(4,)) for k2 in (0, 1)]
    assert told == [(TRAIN.tolist(), 11, extras[0]), (TRAIN.tolist(), 12, extras[1])] and TRAIN[0] == 3
    assert [each.tolist() for each in found.predictions] == [[1] * 10, [2] * 10]
    versions = f"torch {torch.__version__}, numpy {np.__version__}, learner 3f2a1c, threads 1"
    assert found.seconds > 0 and found.versions == versions


def test_an_ensemble_is_told_of_all():
    def ensemble(cells, indices, checkpoints=()):
        assert [(each.tolist(), seed) for each, seed in cells] == [(TRAIN.tolist(), 11), (TRAIN.tolist(), 12)]
        said = np.stack([indices + seed for _, seed in cells])
        return torch.from_numpy(said) if not checkpoints else (said, said / 30)

    found = learnt(ensemble=ensemble, cells=2)
    assert found.predictions[1].tolist() == (INDICES + 12).tolist()
    assert found.versions.endswith(", learner 3f2a1c, threads 1, ensemble_size 2")
    both = learnt(ensemble=ensemble, cells=2, checkpoints=(4,)).predictions[0]
    assert both[0].tolist() == (INDICES + 11).tolist() and both[1].tolist() == ((INDICES + 11) / 30).tolist()
    few = learnt(ensemble=lambda cells, indices: np.zeros((1, 10)), cells=2)
    assert few.reason == "ShapeError: ensemble: predictions must be those of 2 cells; got 1. Return [E, M]."


def test_whatever_a_learner_raises_is_one_line_with_its_trace():
    def raises(error):
        def train_fn(indices, seed, extra):
            raise error

        return learnt(train_fn)

    found = raises(ValueError("too few\nsamples"))
    assert isinstance(found, Failure) and found.reason == "ValueError: too few"
    assert "in train_fn" in found.trace
    assert raises(KeyError()).reason == "KeyError: (no text)"
    assert raises(SystemExit(3)).reason == "SystemExit: 3"
    assert len(raises(ValueError("x" * 9999)).reason) < 400
    with pytest.raises(KeyboardInterrupt):
        raises(KeyboardInterrupt())
    said = learnt(lambda indices, seed, extra: 3).reason
    assert said == (
        "ConfigError: train_fn: it must return a function of indices; got int. "
        "Return a function that gives the predicted labels of pool indices."
    )


def test_generators_follow_the_seed_and_are_as_before_afterwards():
    def drawn():
        return random.random(), np.random.rand(), torch.rand(1).item()

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = [drawn(), drawn()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = drawn()
    with seeded(2**63 - 1):
        inside = drawn()
    with pytest.raises(ValueError, match="x"), seeded(2**63 - 1):
        assert drawn() == inside
        raise ValueError("x")
    with seeded(5):
        assert drawn() != inside
    assert [before, drawn()] == expected


def test_the_number_of_threads_is_the_runs():
    before = torch.get_num_threads()
    told = []
    learnt(lambda indices, seed, extra: lambda asked: told.append(torch.get_num_threads()), threads=before + 2)
    assert told == [before + 2] and torch.get_num_threads() == before


def test_threads_of_one_process_take_turns():
    """Generators are the whole process's: two jobs at once would draw from each other's."""
    inside, most = threading.Semaphore(0), []

    def train_fn(indices, seed, extra):
        inside.release()
        draws = []
        for _ in range(5):
            time.sleep(0.002)
            draws.append(np.random.randint(C))
        most.append(inside._value)
        inside.acquire()
        return lambda asked: np.resize(draws, len(asked))

    with futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: learnt(train_fn).predictions[0].tolist(), range(8)))
    assert most == [1] * 8 and found == [found[0]] * 8


def taken(predictions, checkpoints=()):
    grid = Grid(
        path=None, plan=bounds.plan(20, N, 1, 2, block=2), labels=np.zeros(20, int), num_classes=C,
        checkpoints=checkpoints,
    )  # fmt: skip
    return cell_of(predictions, grid=grid, trained=Trained(predictions=[], seconds=1.5, versions="v"))


def test_predictions_become_a_cell():
    labels, losses = INDICES % C, INDICES / 10
    both = taken((labels, losses))
    assert both.labels.tolist() == labels.reshape(1, N, 2).tolist() and (both.seconds, both.versions) == (1.5, "v")
    np.testing.assert_array_equal(both.losses, losses.reshape(1, N, 2).astype(np.float32))
    assert taken((losses, labels)).labels.tolist() == both.labels.tolist()
    assert taken(losses).labels is None and taken(labels.astype(np.uint8)).losses is None
    assert taken(labels == 1).labels.tolist() == (labels == 1).astype(int).reshape(1, N, 2).tolist()
    assert taken(np.stack([labels] * 2), checkpoints=(1, 2)).labels.shape == (2, N, 2)


def test_floats_that_might_be_labels():
    assert may_be_labels(np.array([0.0, 1.0])) and not may_be_labels(np.array([0.0, 0.5])) and not may_be_labels(None)


REFUSED = {
    "shape": (INDICES[1:], r"predictions must be \[10\], one for each index asked for; got \[9\]\. Return the lab"),
    "logits": (np.zeros((10, C)), r"predictions must be \[10\], .*; got \[10, 3\]"),
    "none": (None, r"predictions must be \[10\], .*; got \[\]"),
    "floats": (INDICES * 1.0, r"in floating point are losses, .* 0 to 1; got 3\.0 in float64\. Return labels as whole"),
    "negative loss": (np.full(10, -0.1), r"from 0 to 1; got -0\.1"),
    "nan": (np.full(10, np.nan), r"from 0 to 1; got nan"),
    "outside": (INDICES, r"predicted labels must be from 0 to 2; got 3\. Return class numbers, or pass num_classes"),
    "negative": (INDICES * 0 - 1, r"from 0 to 2; got -1"),
    "text": (np.array(["a"] * 10), r"must be whole labels, or losses in floating point; got <U1"),
    "two of a kind": ((INDICES * 0, INDICES * 0), r"two predictions must be \(labels, losses\), .*int64, int64"),
    "three": ((INDICES * 0, INDICES / 10, INDICES / 10), r"got \(int64, float64, float64\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_of_predictions(name):
    predictions, text = REFUSED[name]
    with pytest.raises(DataError, match=f"^bounds: .*{text}"):
        taken(predictions)


def test_refusals_at_checkpoints():
    with pytest.raises(
        DataError, match=r"must be \[2, 10\], one for each index asked for at each checkpoint; got \[10\]"
    ):
        taken(INDICES % C, checkpoints=(1, 2))
