"""Information in the weights against golden values, plain truths in float64, and what holds by definition."""

import pytest
import torch

from infotorch import weights_information
from tests.measures.weights.golden_nets import CASES, case, rows

COLUMNS = {"full": ("gram", "dense"), "diag": ("diag",), "block": ("block",), "kfac": ("kfac",)}
RTOL = {torch.float64: 1e-10, torch.float32: 1e-3}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", COLUMNS)
def test_golden_information(name, kind, dtype):
    task, data, values = case(name, dtype)
    for estimator in COLUMNS[kind]:
        for row in rows(values):
            got = weights_information(
                task,
                data,
                beta=row["beta"],
                prior_var=row["lam2"],
                prior_mean=values["w0"],
                estimator=estimator,
                draws=0,
                per_layer=False,
            )
            if kind != "kfac" or not name.startswith("emb"):  # whose golden leaves embedding and norm out
                assert got.logdet == pytest.approx(row[f"logdet_{kind}"], rel=RTOL[dtype])
                assert got.d_eff == pytest.approx(row[f"deff_{kind}"], rel=RTOL[dtype])
            if kind != "kfac":
                assert got.nats == pytest.approx(row[f"kl_{kind}"], rel=RTOL[dtype])
            if kind == "full":
                assert got.learning_capacity == pytest.approx(row["learning_capacity"], rel=RTOL[dtype])
