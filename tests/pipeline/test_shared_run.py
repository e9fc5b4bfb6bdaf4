"""A run that the first process writes."""

import numpy as np
import pytest

from infotorch import store
from infotorch.errors import StoreError
from infotorch.pipeline.ranks import ALONE
from infotorch.pipeline.shared_run import shared_run
from tests.pipeline.test_scoring import score


def test_it_is_the_run_that_its_writer_writes(tmp_path):
    want = score(tmp_path / "truth", shard_size=4)
    made = store.create(tmp_path / "run", command={}, num_rows=len(want), shard_size=4)
    with shared_run(tmp_path / "run", ALONE, made) as run:
        assert run.missing() == run.do(lambda writer: writer.ranges())
        for start, stop in run.missing():
            run.append(start, want.rows(start, stop))
        assert run.missing() == []
        run.note("fact", {"a": 1})
        run.do(lambda writer: writer.finish())
        np.testing.assert_array_equal(run.scores().values, want.values)
    assert store.open(tmp_path / "run").notes() == {"fact": {"a": 1}}


def test_what_the_writer_refuses_is_raised(tmp_path):
    made = store.create(tmp_path / "run", command={}, num_rows=3)
    with (
        shared_run(tmp_path / "run", ALONE, made) as run,
        pytest.raises(StoreError, match="must have scores of all 3 rows"),
    ):
        run.do(lambda writer: writer.finish())
