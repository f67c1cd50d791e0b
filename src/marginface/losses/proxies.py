"""Three readings of LH2Face's terms: positive proxy-sample, negative proxy-sample, proxy-proxy.

P⁺ are the classes present in the batch of B rows, C all classes, μ the mean length (a constant),
κ_i the length of row i, and ℓ_ij = κ_i·cos θ_ij - Φ_d(κ_i) the vMF log-density of proxy j:

    anchor      pps = 1/|P⁺|·Σ_{j∈P⁺} log(1 + Σ_{i: y_i=j} e^{-(ℓ_ij - δμ)})
                pns = 1/C·Σ_j log(1 + Σ_{i: y_i≠j} e^{ℓ_ij + δμ})
                pp  = 1/|P⁺|·Σ_{j∈P⁺} log(1 + Σ_{k≠j} e^{μ·(cos(w_j, w_k) + δ)})
    angular     pps = mean_i θ_{i,y_i} / π
                pns = -mean_{i, j≠y_i} θ_ij / π
                pp  = -mean_{j∈P⁺, k≠j} ∠(w_j, w_k) / π
    likelihood  pps = -mean_i ℓ_{i,y_i}
                pns = mean_i log( 1/(C-1)·Σ_{j≠y_i} e^{ℓ_ij} )
                pp  = mean_{j∈P⁺} log( 1/(C-1)·Σ_{k≠j} e^{μ·cos(w_j, w_k)} )

Source: `anchor` is Kim et al., "Proxy Anchor Loss", CVPR 2020, arXiv:2003.13911, whose α·cos θ
    becomes ℓ (so in Kirchhof et al., ECCV 2022, arXiv:2207.03784) and whose α·δ becomes μ·δ;
    similarity "cosine" is Proxy-Anchor itself, α·cos θ and α·δ. `angular` are the intra and inter
    losses of the ArcFace paper, arXiv:1801.07698. `likelihood` starts from SCF's objective, Li et
    al., CVPR 2021.
Differs: that any of these are the terms of LH2Face is a guess; see `lh2face`.
Gradient: exact; Φ's is A_d. Angles are taken at cosines within ±(1 - 1e-6), none flows beyond.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from marginface.axes import Bool, Float, Tensor
from marginface.losses.base import Batch, OwnClass
from marginface.sphere import relative_log_normaliser

FAMILIES = ("anchor", "angular", "likelihood")
SIMILARITIES = ("vmf", "cosine")
NEAREST_TO_ONE = 1 - 1e-6


@dataclass(frozen=True, kw_only=True)
class ProxyTerms(ABC):
    """What the families share; μ comes in as `own.state`.

    Args:
        weights: Of pps, pns and pp; a term of weight 0 is not computed.
        offset: δ.
        scale: α of the similarity "cosine", None for "vmf".
        norm_range: Where κ is clamped before Φ is evaluated.
        detaches_norm: Whether κ is a constant in the `pps` of `likelihood`.
    """

    weights: tuple[float, ...]
    offset: float = 0.1
    scale: float | None = None
    norm_range: tuple[float, ...] = (1.0, 1000.0)
    detaches_norm: bool = False

    @property
    def class_sums(self) -> int:
        """Return how many sums over the classes `class_terms` gives."""
        return 0

    @property
    def uses_density(self) -> bool:
        """Return whether a term needs ℓ, and so Φ."""
        return self.scale is None and (self.weights[0] > 0 or self.weights[1] > 0)

    def prepare(self, own: OwnClass) -> Float[Tensor, " batch"] | None:
        """Return Φ_d(κ) of each row, κ clamped to `norm_range`, where a term needs it."""
        if not self.uses_density:
            return None
        return relative_log_normaliser(own.norms.clamp(*self.norm_range), own.dim)

    def class_terms(
        self,
        cosines: Float[Tensor, "rows classes"],
        is_own: Bool[Tensor, "rows classes"],
        own: OwnClass,
    ) -> Float[Tensor, " sums"]:
        """Return sums over these classes of terms that join rows."""
        raise NotImplementedError(f"{type(self).__name__} has no terms of classes")

    def batch_terms(self, own: OwnClass, batch: Batch) -> dict[str, Tensor]:
        """Return the terms whose weight is not 0, times their weight."""
        terms = {"pps": self.pps, "pns": self.pns, "pp": self.pp}
        return {
            name: weight * term(own, batch)
            for (name, term), weight in zip(terms.items(), self.weights, strict=True)
            if weight > 0
        }

    @abstractmethod
    def pps(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Return the term that draws samples to their own proxy."""

    @abstractmethod
    def pns(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Return the term that keeps samples from the other proxies."""

    @abstractmethod
    def pp(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Return the term that keeps proxies apart."""


class Anchor(ProxyTerms):
    """Pool the rows of a class softly: its hardest rows count most."""

    @property
    def class_sums(self) -> int:
        """Return 1, for pns."""
        return int(self.weights[1] > 0)

    def class_terms(
        self,
        cosines: Float[Tensor, "rows classes"],
        is_own: Bool[Tensor, "rows classes"],
        own: OwnClass,
    ) -> Float[Tensor, " sums"]:
        """Return Σ_j log(1 + Σ_{i: y_i≠j} e^{ℓ_ij + offset})."""
        samples = len(cosines) - own.proxies
        slope, shift = (row[:samples, None] for row in self._line(own))
        exponents = slope * cosines[:samples] + (shift + self._offset(own))
        # The lowest number, not -∞: in a column of own rows alone -∞ would give NaN gradients.
        exponents = exponents.masked_fill(is_own[:samples], torch.finfo(cosines.dtype).min)
        return _log1p_exp(exponents.logsumexp(dim=0)).sum()[None]

    def pps(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Pool the own similarities class by class."""
        slope, shift = self._line(own)
        exponents = self._offset(own) - (slope * own.cosine + shift)
        is_member = torch.unique(batch.labels)[:, None] == batch.labels
        lowest = torch.finfo(exponents.dtype).min
        return _log1p_exp(torch.where(is_member, exponents, lowest).logsumexp(dim=1)).mean()

    def pns(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Divide the sum by all classes."""
        return batch.sums[0] / batch.classes

    def pp(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Add the offset to the pool of each proxy row."""
        return _log1p_exp(batch.pooled_proxies + self._offset(own)).mean()

    def _line(self, own: OwnClass) -> tuple[Tensor, Tensor]:
        """Return slope and shift of each row's similarity as a function of its cosine."""
        if self.scale is not None:
            return torch.full_like(own.norms, self.scale), torch.zeros_like(own.norms)
        return own.norms, -phi_of(own)

    def _offset(self, own: OwnClass) -> Tensor | float:
        return self.offset * (mean_of(own) if self.scale is None else self.scale)


class Angular(ProxyTerms):
    """Average angles."""

    @property
    def uses_density(self) -> bool:
        """Return False."""
        return False

    @property
    def class_sums(self) -> int:
        """Return 2: for pns and for pp."""
        return 2 if self.weights[1] > 0 or self.weights[2] > 0 else 0

    def class_terms(
        self,
        cosines: Float[Tensor, "rows classes"],
        is_own: Bool[Tensor, "rows classes"],
        own: OwnClass,
    ) -> Float[Tensor, " sums"]:
        """Return the sums of the angles of the samples and of the proxy rows."""
        angles = _angles(cosines).masked_fill(is_own, 0)
        samples = len(cosines) - own.proxies
        return torch.stack([angles[:samples].sum(), angles[samples:].sum()])

    def pps(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Average the angles with the own class."""
        return _angles(own.cosine).mean() / math.pi

    def pns(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Average the angles of the samples with the other classes."""
        return -batch.sums[0] / (math.pi * len(batch.labels) * (batch.classes - 1))

    def pp(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Average the angles of the present classes with all others."""
        return -batch.sums[1] / (math.pi * len(batch.pooled_proxies) * (batch.classes - 1))


class Likelihood(ProxyTerms):
    """Average log-densities. Unbounded below: alone it draws κ to A_d^{-1}(cos θ), hundreds."""

    def pps(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Average the negative log-density of the own proxy."""
        norms, phi = own.norms, phi_of(own)
        if self.detaches_norm:
            norms, phi = norms.detach(), phi.detach()
        return (phi - norms * own.cosine).mean()

    def pns(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Average the log of the other proxies' mean density."""
        return (batch.pooled - phi_of(own)).mean() - math.log(batch.classes - 1)

    def pp(self, own: OwnClass, batch: Batch) -> Float[Tensor, ""]:
        """Average the same between proxies."""
        return batch.pooled_proxies.mean() - math.log(batch.classes - 1)


FAMILY_OF: dict[str, type[ProxyTerms]] = dict(
    zip(FAMILIES, (Anchor, Angular, Likelihood), strict=True)
)


def mean_of(own: OwnClass) -> Float[Tensor, ""]:
    """Return μ, without gradient: what `observe` found, or else the mean of these rows."""
    return own.norms.detach().mean() if own.state is None else own.state


def phi_of(own: OwnClass) -> Float[Tensor, " rows"]:
    """Return Φ of each row, prepared once for the batch."""
    if own.prepared is None:
        raise ValueError("own.prepared must hold what prepare(own) returned, got None")
    return own.prepared


def _angles(cosines: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    return torch.acos(cosines.clamp(-NEAREST_TO_ONE, NEAREST_TO_ONE))


def _log1p_exp(exponents: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """Return log(1 + e^x), exact at both ends; PyTorch's softplus is 2e-9 off from 20 on."""
    return -F.logsigmoid(-exponents)
