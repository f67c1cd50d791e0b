"""SphereFace: softmax cross-entropy with a multiplied angle.

    ψ(θ) = (-1)^k · cos(mθ) - 2k    for θ in [kπ/m, (k+1)π/m],   falling on all of [0, π]
    L = -log( e^{|x|·ψ(θ_y)} / ( e^{|x|·ψ(θ_y)} + Σ_{j≠y} e^{|x|·cos θ_j} ) )

Source: Liu et al., "SphereFace", CVPR 2017, arXiv:1704.08063.
Differs: nothing by default. A number for `scale` replaces the length |x|, as in the losses with
    normalised features. `annealing` λ blends the target as (λ·cos θ_y + ψ(θ_y)) / (1 + λ); the
    authors' training lowers it from 1000 to 5, here it is constant.
Gradient: exact, also through |x|. cos(mθ) is a polynomial of the cosine, so ±1 is harmless.
"""

import math

import torch

from marginface.axes import Float, Tensor
from marginface.losses.base import OwnClass, SoftmaxLoss
from marginface.losses.options import check_at_least_zero


class SphereFace(SoftmaxLoss):
    """Multiply the angle with the own class by `multiplier`.

    Args:
        multiplier: Margin m, a whole number from 1 (no margin) to 8.
        scale: None for the length of each feature (the paper), or one scale s for all.
        annealing: λ ≥ 0; 0 is the equation, larger is gentler.
    """

    paper = "SphereFace, CVPR 2017"
    arxiv = "1704.08063"
    formula = "CE, target |x|·ψ(θ_y), ψ = (-1)^k·cos(mθ) - 2k"

    def __init__(
        self, *, multiplier: int = 4, scale: float | None = None, annealing: float = 0.0
    ) -> None:
        super().__init__(scale=1.0 if scale is None else scale)
        if multiplier not in range(1, 9):
            raise ValueError(f"multiplier must be a whole number from 1 to 8, got {multiplier}")
        check_at_least_zero("annealing", annealing)
        self.multiplier = int(multiplier)
        self.has_fixed_scale = scale is not None
        self.annealing = annealing

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return |x|·(λ·cos θ_y + ψ(θ_y)) / (1 + λ)."""
        return self._scales(own) * self._blended(own.cosine)

    def own_curve(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return the target at length 1, so that the curve does not depend on the feature."""
        return self.scale * self._blended(own.cosine)

    def others(
        self, cosines: Float[Tensor, "batch classes"], own: OwnClass
    ) -> Float[Tensor, "batch classes"]:
        """Return |x|·cos θ_j."""
        return self._scales(own)[:, None] * cosines

    def _blended(self, cosine_y: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        psi = falling_cosine(cosine_y, self.multiplier)
        return (self.annealing * cosine_y + psi) / (1 + self.annealing)

    def _scales(self, own: OwnClass) -> Float[Tensor, " batch"]:
        return torch.full_like(own.norms, self.scale) if self.has_fixed_scale else own.norms


def falling_cosine(cosine: Float[Tensor, " batch"], multiplier: int) -> Float[Tensor, " batch"]:
    """Return ψ(θ) from cos θ.

    Example:
        >>> falling_cosine(torch.tensor([1.0, 0.0, -1.0]), 2)
        tensor([ 1., -1., -3.])
    """
    # Chebyshev: cos(mθ) = 2·cos θ·cos((m-1)θ) - cos((m-2)θ).
    before, cosine_of_multiple = torch.ones_like(cosine), cosine
    for _ in range(multiplier - 1):
        before, cosine_of_multiple = cosine_of_multiple, 2 * cosine * cosine_of_multiple - before
    with torch.no_grad():
        k = torch.floor(torch.acos(cosine.clamp(-1, 1)) * multiplier / math.pi)
        k = k.clamp(max=multiplier - 1)
        sign = 1 - 2 * (k % 2)
    return sign * cosine_of_multiple - 2 * k
