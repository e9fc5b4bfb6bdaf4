"""The samples of a run beside their scores."""

import dataclasses

import numpy as np
from torch import Tensor

from infotorch import store
from infotorch.data import Samples, pictures_of, sample_rows, thumbnails
from infotorch.measures.measure import Progress
from infotorch.task import Task

__all__ = ["keep_samples", "near", "with_classes"]

BATCH = 256


def with_classes(task: Task, samples: Samples) -> Samples:
    """The samples with whole labels of a binary loss, which takes floating point, as the classes that they are."""
    y = samples.y
    if task.loss == "binary_cross_entropy" and y.is_floating_point() and bool((y == y.round()).all()):
        return dataclasses.replace(samples, y=y.long().reshape(len(y), -1)[:, 0])
    return samples


def near(task: Task, samples: Samples) -> Samples:
    """Streamed samples on the model's device; those in memory are where their owner wants them."""
    if isinstance(samples.x, Tensor):
        return samples
    device = next(task.model.parameters()).device
    return dataclasses.replace(samples, x=dataclasses.replace(samples.x, device=device), y=samples.y.to(device))


def keep_samples(run: store.RunWriter, samples: Samples, progress: Progress | None) -> None:
    """Writes the samples' shards that are not there yet."""
    if samples.images is None and isinstance(samples.x, Tensor) and (images := pictures_of(samples.x)) is not None:
        samples = dataclasses.replace(samples, images=images)
    ranges = run.ranges()
    for done, (start, stop) in enumerate(ranges):
        if not run.has_samples(start):
            run.put_samples(start, sample_rows(samples, start, stop, _small_pictures(samples, start, stop)))
        if progress:
            progress("keeping samples", done + 1, len(ranges))


def _small_pictures(samples: Samples, start: int, stop: int) -> np.ndarray | None:
    """Of streamed inputs, which are never all in memory, where they are shaped like pictures."""
    x = samples.x
    if samples.images is not None or isinstance(x, Tensor) or pictures_of(x[:1]) is None:
        return None
    batches = (pictures_of(batch, x.span) for batch in x.batches(range(start, stop), BATCH))
    return np.concatenate([thumbnails(pictures) for pictures in batches if pictures is not None])
