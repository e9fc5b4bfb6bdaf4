"""Finite learning problems, enumerated: every information and every risk as a sum over all that can happen.

P points, n training samples, W hypotheses; a training set is an index to base P, its first sample leading. Nothing here
comes from infotorch.
"""

import json
import math
import pathlib
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations, product

import numpy as np

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "bounds"


def load(name):
    """The cases of one golden file."""
    return json.loads((FOLDER / f"{name}.json").read_text())["cases"]


def information(joint):
    """I(A;B) in nats of joint [..., A, B], which sums to 1 over its last two axes."""
    product_law = joint.sum(-1, keepdims=True) * joint.sum(-2, keepdims=True)
    ratio = np.divide(joint, product_law, out=np.ones_like(joint), where=joint > 0)
    return (joint * np.log(ratio)).sum((-2, -1))


def coin_divergence(r, q):
    """d(r‖q) of two coins, nats."""
    return sum(a * math.log(a / b) for a, b in ((r, q), (1 - r, 1 - q)) if a > 0)


def occupied(states, chance):
    """Chance [..., R, W] of the hypotheses summed to one of their states [..., W]: [..., R, number of states]."""
    number, found = np.unique(states, return_inverse=True)
    one_hot = np.eye(len(number))[found.reshape(states.shape)]  # [..., W, number]
    return chance @ one_hot


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A learner with finitely many outcomes."""

    n: int
    """Training samples."""
    p: np.ndarray
    """[P], the chance of each point."""
    chance: np.ndarray
    """[P^n, W], the chance of each hypothesis after each training set."""
    prediction: np.ndarray
    """int [W, P]."""
    loss: np.ndarray
    """[W, P], in [0, 1]."""
    outcomes: np.ndarray | None = None
    """int [seeds, P^n]: the hypothesis of a learner that draws its seed first, all seeds being equally likely."""

    @cached_property
    def sets(self):
        """All training sets, int [P^n, n]."""
        return np.array(list(product(range(len(self.p)), repeat=self.n)))

    def number_of(self, sets):
        """The index of training sets [..., n]."""
        return sets @ len(self.p) ** np.arange(self.n)[::-1]

    @cached_property
    def set_law(self):
        return self.p[self.sets].prod(-1)

    @cached_property
    def gaps(self):
        """(risk [W], train error [P^n, W])."""
        return self.loss @ self.p, self.loss[:, self.sets].mean(-1).T

    def expected(self, values):
        """E of values [P^n, W]."""
        return float(self.set_law @ (self.chance * values).sum(-1))

    @cached_property
    def risks(self):
        risk, train = self.gaps
        return {
            "exp_risk": self.expected(risk + 0 * train),
            "exp_train": self.expected(train),
            "exp_gap": self.expected(risk - train),
            "exp_sq_gap": self.expected((risk - train) ** 2),
        }

    def weight_information(self, u, chance=None):
        """I(W;S_u), u a tuple of places."""
        law = self.set_law[:, None] * (self.chance if chance is None else chance)  # [P^n, W]
        law = law.reshape(*[len(self.p)] * self.n, -1)
        rest = tuple(i for i in range(self.n) if i not in u)
        return float(information(law.sum(rest).reshape(-1, law.shape[-1])))

    @cached_property
    def pools(self):
        """(int [Z, n, 2] all supersamples, their chances [Z])."""
        pools = np.array(list(product(range(len(self.p)), repeat=2 * self.n))).reshape(-1, self.n, 2)
        return pools, self.p[pools].prod((-2, -1))

    @cached_property
    def runs(self):
        """[Z, 2^n, W], the chance of each hypothesis given the supersample and the bits."""
        pools, _ = self.pools
        bits = np.array(list(product((0, 1), repeat=self.n)))  # [2^n, n]
        trained = pools[:, np.arange(self.n), bits]  # [Z, 2^n, n]
        return self.chance[self.number_of(trained)]

    def supersample_information(self, kind, u):
        """I^z(.;J_u), [Z]: kind is W, F (predictions on the pairs of u), L (losses there) or D (loss differences)."""
        pools, _ = self.pools
        runs = self.runs.reshape(len(pools), *[2] * self.n, -1)
        rest = tuple(1 + i for i in range(self.n) if i not in u)
        runs = runs.mean(rest).reshape(len(pools), 2 ** len(u), -1) / 2 ** len(u)  # [Z, 2^m, W]
        return information(occupied(self.states(kind, pools[:, list(u)]), runs))

    def states(self, kind, points):
        """Number of what is seen of each hypothesis at points [Z, ..., 2]: int [Z, W]."""
        if kind == "W":
            return np.broadcast_to(np.arange(len(self.loss)), (len(points), len(self.loss)))
        seen = self.prediction if kind == "F" else np.unique(self.loss, return_inverse=True)[1].reshape(self.loss.shape)
        if kind == "D":
            difference = self.loss[:, points[..., 1]] - self.loss[:, points[..., 0]]  # [W, Z, m]
            parts = np.unique(difference.round(12), return_inverse=True)[1].reshape(difference.shape)
        else:
            parts = seen[:, points].reshape(len(seen), len(points), -1)
        base = int(parts.max()) + 1
        return (parts @ base ** np.arange(parts.shape[-1])).T

    @cached_property
    def pool_law(self):
        return self.pools[1]

    def difference_information(self, i):
        """I(D_i;J_i) with the supersample averaged inside."""
        pools, law = self.pools
        runs = self.runs.reshape(len(pools), *[2] * self.n, -1)
        runs = runs.mean(tuple(1 + k for k in range(self.n) if k != i)) / 2  # [Z, 2, W]
        joint = occupied(self.states("D", pools[:, [i]]), runs)
        return float(information(np.tensordot(law, joint, 1)))

    def leave_one_out(self, kind):
        """(I^z(.;U) [Z], chances [Z]) for supersamples of n + 1 points, one of them left out."""
        pools = np.array(list(product(range(len(self.p)), repeat=self.n + 1)))  # [Z, n+1]
        trained = np.stack([np.delete(pools, u, axis=1) for u in range(self.n + 1)], axis=1)  # [Z, n+1, n]
        runs = self.chance[self.number_of(trained)] / (self.n + 1)
        return information(occupied(self.states(kind, pools), runs)), self.p[pools].prod(-1)

    @cached_property
    def stability(self):
        """Root mean squared moves of a deterministic learner's predictions when sample i is drawn anew, largest over i.

        At the sample itself, at a fresh point, and at another training point.
        """
        assert ((self.chance == 0) | (self.chance == 1)).all()
        P, f = len(self.p), self.prediction[self.chance.argmax(-1)].astype(float)  # [P^n, P]
        itself, fresh, other = np.zeros(self.n), np.zeros(self.n), np.zeros((self.n, self.n))
        for i, z in product(range(self.n), range(P)):
            changed = self.sets.copy()
            changed[:, i] = z
            move = (f - f[self.number_of(changed)]) ** 2  # [P^n, P]
            law = self.set_law * self.p[z]
            at_samples = law @ np.take_along_axis(move, self.sets, axis=1)  # [n]
            itself[i] += at_samples[i]
            fresh[i] += law @ move @ self.p
            other[i] += at_samples * (np.arange(self.n) != i)
        return tuple(math.sqrt(moves.max()) for moves in (itself, fresh, other))


def subsets(n, m):
    return list(combinations(range(n), m))


def problem(spec):
    """The problem that a golden's spec names."""
    n = spec["n"]
    if spec["problem"] == "coin":
        p = float(Fraction(spec["p"]))
        points = [(0, 0), (0, 1)]
        law, hypotheses = [1 - p, p], [(0,), (1,)]
    elif spec["problem"] == "lookup":
        K, flip = spec["K"], float(Fraction(spec["flip"]))
        points = list(product(range(K), (0, 1)))
        law, hypotheses = [(flip if y else 1 - flip) / K for _, y in points], list(product((0, 1), repeat=K))
    else:
        K = spec["K"]
        points = [(x, int(x >= spec["t"])) for x in range(K)]
        law, hypotheses = [1 / K] * K, [tuple(int(x >= w) for x in range(K)) for w in range(K + 1)]
    prediction = np.array([[w[x] for x, _ in points] for w in hypotheses])
    loss = (prediction != np.array([y for _, y in points])).astype(float)
    chance = np.array([rule(spec, [points[i] for i in s], hypotheses) for s in product(range(len(points)), repeat=n)])
    return Problem(n=n, p=np.array(law), chance=chance, prediction=prediction, loss=loss)


def rule(spec, S, hypotheses):
    """The chance of each hypothesis after the training set S of (x, y)."""
    ys = [y for _, y in S]
    if spec["problem"] == "lookup":
        table = dict(S)  # the last label seen of each x stays
        w = hypotheses.index(tuple(table.get(x, 0) for x in range(spec["K"])))
    elif spec["problem"] == "threshold":
        w = min([x for x, y in S if y == 1], default=spec["K"])
    elif spec["rule"] == "gibbs":
        mass = [math.exp(-spec["beta"] * sum(y != w for y in ys) / len(ys)) for w in (0, 1)]
        return [m / sum(mass) for m in mass]
    else:
        w = {"majority": int(2 * sum(ys) > len(ys)), "first": ys[0], "const": 0, "xor": sum(ys) % 2}[spec["rule"]]
    return [float(k == w) for k in range(len(hypotheses))]


def random_problem(rng, *, n=2, points=3, hypotheses=3, seeds=2, zero_one=False):
    """A learner drawn at random, that draws its seed first; losses are arbitrary numbers in [0, 1], or 0 and 1."""
    outcomes = rng.integers(hypotheses, size=(seeds, points**n))
    prediction = rng.integers(3, size=(hypotheses, points))
    values = rng.integers(2, size=(3, points)) if zero_one else rng.random((3, points)).round(3)
    loss = values[prediction, np.arange(points)].astype(float)  # a loss of the prediction
    chance = np.eye(hypotheses)[outcomes].mean(0)
    p = rng.dirichlet(np.ones(points))
    return Problem(n=n, p=p, chance=chance, prediction=prediction, loss=loss, outcomes=outcomes)


def random_interpolator(rng, *, n=2, points=3, zero_one=True):
    """A learner that labels its training points right and all others at random, by a mixture of two rules."""
    tables = np.array(list(product((0, 1), repeat=points)))  # [W, P], 1 where wrong
    size = np.ones(points) if zero_one else rng.random(points)  # the loss of a wrong label
    chance = np.zeros((points**n, len(tables)))
    for row, S in zip(chance, product(range(points), repeat=n), strict=True):
        right = np.flatnonzero(tables[:, list(S)].sum(1) == 0)
        share = rng.random()
        row[rng.choice(right)] += share
        row[rng.choice(right)] += 1 - share
    p = rng.dirichlet(np.ones(points))
    return Problem(n=n, p=p, chance=chance, prediction=tables, loss=tables * size)
