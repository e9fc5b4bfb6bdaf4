"""Linear algebra in float64 that stands alone: no model, no data."""

from infotorch.linalg.kronecker import kron_logdet
from infotorch.linalg.lanczos import lanczos, spectral_sum

__all__ = ["kron_logdet", "lanczos", "spectral_sum"]
