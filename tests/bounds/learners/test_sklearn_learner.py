"""Classifiers of scikit-learn as learners: any inputs, any labels, every seed set, and refused in words."""

import pickle

import numpy as np
import pytest
import scipy.sparse

from infotorch.bounds.grids.cells import Extra
from infotorch.bounds.learners.sklearn_learner import sklearn_learner
from infotorch.errors import ConfigError, DataError, MissingExtraError

pytest.importorskip("sklearn", reason="no scikit-learn: it comes with the dev extra")

from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

N = 60
EXTRA = Extra(k1=0, k2=0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4)).round(2)
Y = (X[:, 0] + 0.5 * RNG.normal(size=N) > 0).astype(int) + (X[:, 1] > 1)
TRAIN, ALL = np.arange(0, N, 2), np.arange(N)


def said(learner, train=TRAIN, seed=0):
    return learner(train, seed, EXTRA)(ALL)


def test_a_run_is_fit_and_predict():
    model = RandomForestClassifier(5)
    learner = sklearn_learner(model, X, Y)
    expected = RandomForestClassifier(5, random_state=3).fit(X[TRAIN], Y[TRAIN]).predict(X)
    found = said(learner, seed=2**40 + 3)
    assert found.dtype == np.int64 and found.tolist() == expected.tolist()
    assert not hasattr(model, "estimators_") and model.random_state is None
    assert pickle.loads(pickle.dumps(learner))(TRAIN, 2**40 + 3, EXTRA)(ALL).tolist() == expected.tolist()


def test_every_seed_among_the_parameters_is_set():
    model = make_pipeline(StandardScaler(), BaggingClassifier(SGDClassifier(max_iter=5, tol=None), 3))
    inner = SGDClassifier(max_iter=5, tol=None, random_state=9)
    expected = make_pipeline(StandardScaler(), BaggingClassifier(inner, 3, random_state=9)).fit(X[TRAIN], Y[TRAIN])
    learner = sklearn_learner(model, X, Y)
    assert said(learner, seed=9).tolist() == expected.predict(X).tolist()
    assert len({said(learner, seed=seed).tobytes() for seed in range(4)}) > 1


class Forgetful(DecisionTreeClassifier):
    """Draws from NumPy's own generator."""

    def fit(self, x, y):
        return super().fit(x, np.random.permutation(y))


def test_a_classifier_that_has_no_seed_follows_it_too():
    learner = sklearn_learner(Forgetful(), X, Y)
    np.random.seed(5)
    first = said(learner)
    drawn = np.random.rand()
    np.random.seed(6)
    assert first.tolist() == said(learner).tolist() != said(learner, seed=1).tolist()
    np.random.seed(5)
    assert drawn == np.random.rand()


def frame(values):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(values, index=RNG.permutation(N), columns=list("abcd"))


@pytest.mark.parametrize("form", [scipy.sparse.csr_matrix, scipy.sparse.coo_array, frame, np.ndarray.tolist])
def test_inputs_of_any_form_give_the_same(form):
    model = DecisionTreeClassifier()
    assert said(sklearn_learner(model, form(X), Y)).tolist() == said(sklearn_learner(model, X, Y)).tolist()


def test_texts():
    texts = [f"{'good' if y else 'bad'} {n}" for n, y in enumerate(Y > 0)]
    learner = sklearn_learner(make_pipeline(CountVectorizer(), MultinomialNB()), texts, np.where(Y > 0, "yes", "no"))
    assert learner.classes.tolist() == ["no", "yes"] and learner.num_classes == 2
    assert learner.labels.tolist() == (Y > 0).astype(int).tolist() == said(learner).tolist()


@pytest.mark.parametrize("names", [["x", "ab", "c"], [-7, 0, 100], [-1.0, 0.0, 2.0], [False, True, True]])
def test_labels_of_any_kind_are_numbered(names):
    given = np.array(names)[Y]
    learner = sklearn_learner(DecisionTreeClassifier(), X, given)
    assert learner.labels.dtype == np.int64
    assert learner.classes[learner.labels].tolist() == given.tolist()
    assert said(learner)[TRAIN].tolist() == learner.labels[TRAIN].tolist()  # a tree knows what it was fitted on


def test_training_samples_that_lack_a_class():
    """Predictions keep the numbers of the whole pool's classes."""
    train = np.flatnonzero(Y != 1)
    learner = sklearn_learner(LogisticRegression(), X, Y)
    assert set(said(learner, train).tolist()) == {0, 2}
    only = np.flatnonzero(Y == 2)
    with pytest.raises(ValueError, match="at least 2 classes"):
        LogisticRegression().fit(X[only], Y[only])
    assert (
        said(learner, only).tolist() == [2] * N == said(sklearn_learner(DecisionTreeClassifier(), X, Y), only).tolist()
    )


class Shifted(DecisionTreeClassifier):
    """Predicts what it was never told."""

    def predict(self, x):
        return super().predict(x) + 0.5


REFUSED = {
    "a class": (lambda: sklearn_learner(LogisticRegression, X, Y), ConfigError, "got the class Logistic"),
    "regression": (lambda: sklearn_learner(LinearRegression(), X, Y), ConfigError, "classifier .*; got LinearReg"),
    "none": (lambda: sklearn_learner(None, X, Y), ConfigError, "classifier of scikit-learn; got NoneType"),
    "lengths": (lambda: sklearn_learner(LogisticRegression(), X, Y[1:]), DataError, r"must be \[60\], .*; got \[59\]"),
    "types": (
        lambda: sklearn_learner(LogisticRegression(), X, np.array([None, "a"] * 30, object)),
        DataError, "labels must be of one type, .*; got .*NoneType.*Convert",
    ),
    "nan": (
        lambda: sklearn_learner(LogisticRegression(), X, np.where(np.arange(N) == 4, np.nan, Y)),
        DataError, "every item must have a label; got nan at item 4",
    ),
    "checkpoints": (
        lambda: sklearn_learner(LogisticRegression(), X, Y)(TRAIN, 0, Extra(k1=0, k2=0, checkpoints=(1, 2))),
        ConfigError, r"must be without checkpoints; got \[1, 2\]\. Its estimators are fitted in one go",
    ),
    "predictions": (
        lambda: said(sklearn_learner(Shifted(), X, Y)), DataError, r"predictions must be labels of y; got .*\.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    make, error, text = REFUSED[name]
    with pytest.raises(error, match=f"^sklearn_learner: .*{text}"):
        make()


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.base", None)
    with pytest.raises(MissingExtraError, match=r'sklearn_learner: needs sklearn\.base; .*"infotorch\[sklearn\]"'):
        sklearn_learner(LogisticRegression(), X, Y)
