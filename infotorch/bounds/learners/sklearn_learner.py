"""Any classifier of scikit-learn as the learner of a grid of runs."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from infotorch import errors
from infotorch.bounds.grids.cells import Extra, Predict, seeded

__all__ = ["SklearnLearner", "sklearn_learner"]

WHERE = "sklearn_learner"
SEEDS = 2**32
"""scikit-learn takes seeds below it."""


def sklearn_learner(estimator: Any, x: Any, y: Any) -> "SklearnLearner":
    """A ``train_fn`` for ``infotorch.bounds.run``: a clone of the estimator in each run, fitted on its samples.

    Every ``random_state`` among the estimator's parameters, those of a pipeline's steps included, is set to the run's
    seed modulo 2^32. The estimator is given the labels as they are in ``y``, and what it predicts is turned into the
    number of the class. Training samples of one class alone, which most classifiers refuse, make a learner that
    predicts this class.

    Args:
        estimator: A classifier with ``fit`` and ``predict``, pipelines and searches included; it is left as it is.
        x: The pool's inputs: an array, a sparse matrix, a pandas frame, or a list, of texts for instance.
        y: The pool's labels [pool_size], numbers or text.

    Returns:
        The learner; its ``labels``, int64 [pool_size], and ``num_classes`` are for ``run``, and ``classes`` has what
        each number stands for.

    Raises:
        ConfigError: ``estimator`` is not a classifier.
        DataError: ``x`` and ``y`` disagree, or labels can't be told apart.
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> learner = sklearn_learner(LogisticRegression(), x, y)  # doctest: +SKIP
        >>> run(plan(len(y), 75, 3, 20), learner, "runs/logistic", labels=learner.labels)  # doctest: +SKIP
    """
    base = errors.require(WHERE, "sklearn.base", "sklearn")
    if isinstance(estimator, type) or not hasattr(estimator, "get_params") or not base.is_classifier(estimator):
        got = f"the class {estimator.__name__}" if isinstance(estimator, type) else type(estimator).__name__
        raise errors.ConfigError(
            f"{WHERE}: estimator must be a classifier of scikit-learn; got {got}. Pass LogisticRegression() or another."
        )
    if hasattr(x, "tocsr"):  # of the sparse forms it's the one that rows are taken from
        x = x.tocsr()
    given = np.asarray(y)
    size = x.shape[0] if hasattr(x, "shape") else len(x)
    if given.shape != (size,):
        raise errors.DataError(
            f"{WHERE}: y must be [{size}], one label for each of x; got {list(given.shape)}. "
            "Pass inputs and labels of the same pool."
        )
    try:
        classes, labels = np.unique(given, return_inverse=True)
    except TypeError as error:
        raise errors.DataError(
            f"{WHERE}: labels must be of one type, so that they can be sorted; got {error}. "
            "Convert them to numbers or to text."
        ) from error
    if classes.dtype.kind == "f" and np.isnan(classes).any():
        raise errors.DataError(
            f"{WHERE}: every item must have a label; got nan at item {int(np.argmax(np.isnan(given)))}. Leave it out."
        )
    return SklearnLearner(estimator=estimator, x=x, y=given, classes=classes, labels=labels.astype(np.int64))


@dataclass(frozen=True, kw_only=True, eq=False)
class SklearnLearner:
    """What ``sklearn_learner`` returns."""

    estimator: Any
    """The classifier, not fitted."""
    x: Any
    """The pool's inputs."""
    y: np.ndarray
    """[pool_size], the labels as they were given."""
    classes: np.ndarray
    """[C], the different labels, sorted."""
    labels: np.ndarray
    """int64 [pool_size], each label's place in ``classes``."""

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.classes)

    def __call__(self, train_indices: np.ndarray, seed: int, extra: Extra) -> Predict:
        """A classifier fitted on ``train_indices``, as a function from indices [M] to labels int64 [M].

        Raises:
            ConfigError: The run has checkpoints.
            DataError: A prediction is none of the classes.
        """
        if extra.checkpoints:
            raise errors.ConfigError(
                f"{WHERE}: a run of scikit-learn must be without checkpoints; got {list(extra.checkpoints)}. "
                "Its estimators are fitted in one go: leave out checkpoints."
            )
        present = np.unique(self.labels[train_indices])
        if len(present) == 1:
            return partial(_constant, int(present[0]))
        estimator = errors.require(WHERE, "sklearn.base", "sklearn").clone(self.estimator)
        states = [name for name in estimator.get_params() if name.split("__")[-1] == "random_state"]
        estimator.set_params(**dict.fromkeys(states, seed % SEEDS))
        with seeded(seed):
            estimator.fit(_rows(self.x, train_indices), self.y[train_indices])
        return partial(self._predict, estimator)

    def _predict(self, estimator: Any, indices: np.ndarray) -> np.ndarray:
        found = np.asarray(estimator.predict(_rows(self.x, indices)))
        places = np.searchsorted(self.classes, found).clip(max=len(self.classes) - 1)
        wrong = self.classes[places] != found
        if wrong.any():
            raise errors.DataError(
                f"{WHERE}: predictions must be labels of y; got {found[wrong][0]!r}. "
                "Let the estimator predict classes of what it was fitted on."
            )
        return places.astype(np.int64)


def _constant(label: int, indices: np.ndarray) -> np.ndarray:
    return np.full(len(indices), label, np.int64)


def _rows(x: Any, indices: np.ndarray) -> Any:
    if hasattr(x, "iloc"):
        return x.iloc[indices]
    if isinstance(x, list | tuple):
        return [x[place] for place in indices]
    return x[indices]
