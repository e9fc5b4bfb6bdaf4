"""Grids of runs for tests, trained in no time."""

import os
import time

import numpy as np

from infotorch import bounds


def threshold_pool(size=60, seed=0):
    """Inputs [size] in 0..1, and labels of which a fifth are wrong."""
    rng = np.random.default_rng(seed)
    x = rng.random(size)
    y = (x > 0.5).astype(int)
    return x, np.where(rng.random(size) < 0.2, 1 - y, y)


def nearest(x, y):
    """A ``train_fn``: one nearest neighbour, which has no training error."""

    def train_fn(train, seed, extra):
        def predict(indices):
            return y[train][np.abs(x[indices][:, None] - x[train]).argmin(1)]

        return predict

    return train_fn


def slow(train, seed, extra):
    """One nearest neighbour that takes as many seconds as ``PAUSE`` in the environment says."""
    time.sleep(float(os.environ.get("PAUSE", "0")))
    return nearest(*threshold_pool())(train, seed, extra)


def made(folder, *, n=12, K1=2, K2=8, block=4, masks="balanced", train_fn=None, **options):
    """A grid in ``folder``, of one nearest neighbour by default."""
    x, y = threshold_pool()
    plan = bounds.plan(len(y), n, K1, K2, block=block, masks=masks)
    options = {"labels": y, "workers": 1, "probe": False} | options
    return bounds.run(plan, train_fn or nearest(x, y), folder, **options)
