"""The Fisher matrix by the kernel of its rows: exact, and never [P, P]."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.layout import layer_of
from infotorch.blocks.weights import own_weights, weights_at
from infotorch.capture import Capture
from infotorch.errors import ConfigError, mebibytes
from infotorch.linalg.definite import Cholesky, checked_eigenvalues
from infotorch.linalg.symmetric import mirror
from infotorch.measures.cross_entropy import between
from infotorch.measures.weights.family import Family
from infotorch.measures.weights.kernels import LayerKernels
from infotorch.measures.weights.posterior import Posterior
from infotorch.measures.weights.problem import Problem
from infotorch.measures.weights.rows import Rows
from infotorch.measures.weights.spectrum import Spectrum

__all__ = ["Dual", "LowRankPosterior"]

WHERE = "weights_information"
RTOL = 1e-10
"""What rounding of a sum of M numbers near 1 may be, relative to their distance from it."""


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """What is asked of the curvature at one s."""

    s: float
    logdet: float
    d_eff: float
    information: float

    @classmethod
    def of(cls, spectrum: Spectrum, s: float) -> "_Numbers":
        return cls(s=s, logdet=spectrum.logdet(s), d_eff=spectrum.d_eff(s), information=spectrum.information(s))


class Dual(Family):
    r"""F = G^T G by :math:`K = G G^\top = R^\top \Theta R`, with Theta the tangent kernel and R roots of the outputs'.

    What is asked of P weights is asked of M = N K rows: :math:`\log|I_P + sG^\top G| = \log|I_M + sGG^\top|`.
    """

    def __init__(self, problem: Problem, *, apart: bool) -> None:
        """``apart`` keeps the kernels of layers, for :meth:`layer_traces`."""
        self.problem = problem
        self._factors: dict[float, Cholesky] = {}
        x, y = problem.whole
        need = problem.gram_bytes(len(y))
        if need > problem.limit:
            raise ConfigError(
                f'{WHERE}: memory_limit must hold the kernels of all outputs for estimator="gram" (needs '
                f'{mebibytes(need)}); got {mebibytes(problem.limit)}. Raise memory_limit, or take estimator="slq" or '
                '"kfac".'
            )
        self.y, root = y, problem.root()
        self.R = root.double()  # [N, C, K]
        N, C, _ = root.shape
        apart = apart or not bool((problem.relative == 1).all())
        self.kernels = LayerKernels(problem=problem, x=x, rows=N * C, apart=apart)
        if apart:
            self.theta = self.R.new_zeros(N * C, N * C)
            for _, part in self.kernels:
                self.theta += part
        else:
            ((_, self.theta),) = self.kernels
        self.K = between(self.R, self.theta, self.R)  # [N*K, N*K]
        mirror(self.K)
        self._numbers: _Numbers | None = None
        w = own_weights(WHERE, problem.task)
        self.rows = Rows(task=problem.task, x=x, root=root, w=w, fallback=problem.fallback)

    @classmethod
    def of(cls, problem: Problem) -> "Dual":
        return cls(problem, apart=problem.per_layer)

    def factor(self, s: float) -> Cholesky:
        """Of I + s K; the last one is kept, for layers, samples and the posterior ask for the same."""
        if s not in self._factors:
            self._factors.clear()
            self._factors[s] = Cholesky(WHERE, s * self.K, 1.0, "the identity", overwrite=True)
        return self._factors[s]

    @cached_property
    def spectrum(self) -> Spectrum:  # type: ignore[override]  # found when it is asked for: it takes longer than all else
        values = checked_eigenvalues(WHERE, torch.linalg.eigvalsh(self.K))
        return Spectrum(theta=values, weight=torch.ones_like(values))

    def check(self, scale: float, beta: float) -> None:
        """As of every family; the numbers at the first scale and beta are found with it, once and for all."""
        s = scale / beta
        if self._numbers is None:
            self._numbers = self._found(s)
        if s != self._numbers.s:
            super().check(scale, beta)

    def _found(self, s: float) -> "_Numbers":
        """By Cholesky; by eigenvalues where the difference of the two numbers has lost its digits."""
        factor = self.factor(s)
        M = len(factor.L)
        logdet, d_eff = factor.logdet(), M - factor.inverse_trace()
        information = 0.5 * (logdet - d_eff)
        if torch.finfo(torch.float64).eps * M <= RTOL * min(d_eff, information):
            return _Numbers(s=s, logdet=logdet, d_eff=d_eff, information=information)
        return _Numbers.of(self.spectrum, s)

    def logdet(self, s: float) -> float:
        return self._at(s).logdet

    def d_eff(self, s: float) -> float:
        return self._at(s).d_eff

    def information(self, s: float) -> float:
        return self._at(s).information

    def stderr(self, s: float) -> None:
        return None

    def layer_parts(self, s: float) -> None:
        return None

    def _at(self, s: float) -> "_Numbers":
        if self._numbers is not None and self._numbers.s == s:
            return self._numbers
        return _Numbers.of(self.spectrum, s)

    def layer_traces(self, s: float) -> dict[str, float] | None:
        if not self.kernels.apart:
            return None
        with weights_at(self.problem.task, self.rows.w):  # kernels that were not kept are computed again
            return self._layer_traces(s)

    def _layer_traces(self, s: float) -> dict[str, float]:
        inverse = torch.cholesky_inverse(self.factor(s).L)
        weights = between(self.R.mT, inverse, self.R.mT)  # R (I + sK)^-1 R^T, [N*C, N*C]
        found = dict.fromkeys(map(layer_of, self.problem.task.shapes), 0.0)
        for path, part in self.kernels:
            found[path] += s * float(torch.dot(weights.flatten(), part.flatten()))
        return found

    def per_sample(self, s: float) -> tuple[Tensor, Tensor] | None:
        if self.problem.labels != "exact":
            return None
        N, C, K = self.R.shape
        across = (self.R.mT @ self.theta.view(N, C, N * C)).view(N * K, N * C)  # R^T Theta
        W = torch.linalg.solve_triangular(self.factor(s).L, across, upper=False).view(N * K, N, C)
        own = self.theta.view(N, C, N, C).diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [N, C, C]
        S = s * (own - s * torch.einsum("mnc,mnd->ncd", W, W))  # J_n M^-1 J_n^T
        curvature = self.R @ self.R.mT  # [N, C, C]
        leverage = torch.einsum("ncd,ndc->n", curvature, S)
        outputs, slopes = self._outputs_and_slopes()
        identity = torch.eye(C, dtype=S.dtype, device=S.device)
        moved = S @ torch.linalg.solve(identity - curvature @ S, slopes.flatten(1)[..., None])
        return leverage, outputs + moved.view_as(outputs)

    def _outputs_and_slopes(self) -> tuple[Tensor, Tensor]:
        """Outputs, and gradients of the losses in them, float64 [N, ...]."""
        task = self.problem.task
        with torch.no_grad(), weights_at(task, self.rows.w):
            outputs = task.outputs(self.rows.x)
        with torch.enable_grad():
            leaf = outputs.double().requires_grad_()
            slopes = torch.autograd.grad(task.losses(leaf, self.y).sum(), leaf)[0]
        return outputs.double(), slopes

    def posterior(self, s: float, **around: Any) -> Posterior:
        return LowRankPosterior(rows=self.rows, root=self.problem.relative.sqrt(), factor=self.factor(s), s=s, **around)


@dataclass(frozen=True, kw_only=True, repr=False)
class LowRankPosterior(Posterior):
    r"""The prior less what the rows tell, :math:`\Sigma = D [I - s G^\top (I + s G G^\top)^{-1} G] D`.

    G is captured again for every product, at the weights of the mean: nothing of size [M, P] or [P, P] is held.
    """

    rows: Rows
    root: Tensor
    """The prior's deviations in the rows' units, [P]."""
    factor: Cholesky
    """Of I + s G G^T."""
    s: float

    def _shrunk(self, V: Tensor) -> Tensor:
        root = self.root[:, None]
        return V - self.s * root * self.rows.back(self.factor.solve(self.rows.times(root * V)))

    def taken(self, cap: Capture) -> Tensor:
        """J (D^2 - Sigma) J^T for the Jacobian J of captured outputs, unit seeds on them, ``alike``; float64 [N, K, K].

        A product J Sigma would take a vector [P] through all data for every row of J; this takes inner products alone.
        """
        across = self.rows.across(cap, self.root * self.deviation)  # J D (G's units), [N*K, M]
        W = torch.linalg.solve_triangular(self.factor.L, across.mT, upper=False)  # [M, N*K]
        W = W.mT.reshape(cap.N, cap.K, -1)
        return self.s * (W @ W.mT)

    def alike(self, cap: Capture) -> bool:
        """Whether that is possible for this capture."""
        return self.rows.alike(cap)

    def taken_bytes(self, K: int) -> int:
        """Bytes of it for a sample of K rows."""
        N, C, _ = self.rows.root.shape
        return 8 * K * (2 * N * C + 3 * len(self.factor.L))

    def _drawn(self, K: int, generator: torch.Generator) -> Tensor:
        """A draw e of the prior, moved by what data at e with noise z say: e - s G^T (I + s K)^-1 (G e + z / sqrt(s)).

        Its covariance is that of the square root's draw, without an eigendecomposition.
        """
        e = self._normal(self.P, K, generator)
        z = self._normal(len(self.factor.L), K, generator)
        root = self.root[:, None]
        seen = self.rows.times(root * e) + z / self.s**0.5
        return e - self.s * root * self.rows.back(self.factor.solve(seen))
