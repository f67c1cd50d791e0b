"""MagFace: an angular margin that grows with the feature's length, and a pull to longer features.

    a = |x| kept within [l_a, u_a],   m(a) = l_m + (u_m - l_m)·(a - l_a) / (u_a - l_a)
    L = -log( e^{s·cos(θ_y + m(a))} / ( e^{s·cos(θ_y + m(a))} + Σ_{j≠y} e^{s·cos θ_j} ) ) + λ_g·g(a)
    g(a) = a / u_a² + 1 / a

Source: Meng et al., "MagFace", CVPR 2021, arXiv:2103.06627.
Differs: by default the target is cos θ_y where cos θ_y ≤ 0 (the "easy margin" of the authors' code,
    which jumps at 0); boundary="none" adds the margin everywhere. The paper's proof wants λ_g above
    22.6 with these bounds; the authors train with 35.
Gradient: exact, through m(a) and g(a) to the length; none outside [l_a, u_a].
"""

import math

import torch

from marginface.axes import Float, Tensor
from marginface.losses.base import OwnClass, SoftmaxLoss
from marginface.losses.options import (
    check_angle,
    check_at_least_zero,
    check_choice,
    check_number,
    check_positive,
)
from marginface.sphere import rotate_cosine


class MagFace(SoftmaxLoss):
    """Add a margin that rises linearly with the length of the feature.

    Args:
        lower_norm: l_a, the length with the smallest margin.
        upper_norm: u_a, the length with the largest margin, above `lower_norm`.
        lower_margin_rad: l_m, in radians, in [0, π/2].
        upper_margin_rad: u_m, in radians, in [l_m, π/2].
        lambda_g: Weight of the length's regulariser, at least 0.
        scale: Logit scale s, greater than 0, without unit.
        boundary: "easy" leaves the margin out where cos θ_y ≤ 0, "none" adds it everywhere.
    """

    paper = "MagFace, CVPR 2021"
    arxiv = "2103.06627"
    formula = "CE, target s·cos(θ_y + m(|x|)), plus λ_g·g(|x|)"

    def __init__(
        self,
        *,
        lower_norm: float = 10.0,
        upper_norm: float = 110.0,
        lower_margin_rad: float = 0.45,
        upper_margin_rad: float = 0.8,
        lambda_g: float = 35.0,
        scale: float = 64.0,
        boundary: str = "easy",
    ) -> None:
        super().__init__(scale=scale)
        check_positive("lower_norm", lower_norm)
        check_number("upper_norm", upper_norm)
        if not lower_norm < upper_norm < math.inf:
            raise ValueError(
                f"upper_norm must be above lower_norm = {lower_norm}, got {upper_norm}"
            )
        check_angle("lower_margin_rad", lower_margin_rad)
        check_angle("upper_margin_rad", upper_margin_rad)
        if upper_margin_rad < lower_margin_rad:
            raise ValueError(
                f"upper_margin_rad must be at least lower_margin_rad = {lower_margin_rad}, got "
                f"{upper_margin_rad}; the margin grows with the length"
            )
        check_at_least_zero("lambda_g", lambda_g)
        check_choice("boundary", boundary, ("easy", "none"))
        self.lower_norm = lower_norm
        self.upper_norm = upper_norm
        self.lower_margin_rad = lower_margin_rad
        self.upper_margin_rad = upper_margin_rad
        self.lambda_g = lambda_g
        self.boundary = boundary

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return s·cos(θ_y + m(a))."""
        a = self._lengths(own)
        slope = (self.upper_margin_rad - self.lower_margin_rad) / (
            self.upper_norm - self.lower_norm
        )
        margins = self.lower_margin_rad + slope * (a - self.lower_norm)
        cosine = rotate_cosine(own.cosine, margins)
        if self.boundary == "easy":
            cosine = torch.where(own.cosine > 0, cosine, own.cosine)
        return self.scale * cosine

    def row_losses(
        self, target: Float[Tensor, " batch"], pooled: Float[Tensor, " batch"], own: OwnClass
    ) -> Float[Tensor, " batch"]:
        """Add λ_g·g(a) to the cross-entropy."""
        a = self._lengths(own)
        regulariser = a / self.upper_norm**2 + 1 / a
        return super().row_losses(target, pooled, own) + self.lambda_g * regulariser

    def _lengths(self, own: OwnClass) -> Float[Tensor, " batch"]:
        return own.norms.clamp(self.lower_norm, self.upper_norm)
