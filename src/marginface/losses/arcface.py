"""ArcFace: softmax cross-entropy with an additive angular margin.

    L = -log( e^{s·cos(θ_y + m)} / ( e^{s·cos(θ_y + m)} + Σ_{j≠y} e^{s·cos θ_j} ) )

Source: Deng et al., "ArcFace", CVPR 2019, arXiv:1801.07698, eq. 3.
Differs: nothing by default. boundary="straight" is the branch of much public code: past
    θ_y = π - m, where eq. 3 rises again, the target is cos θ_y - m·sin m.
    gradient="straight-through" is what the authors' code does since late 2022: the value of
    eq. 3, the slope of s·cos θ_y.
Gradient: exact, through the margin: s·sin(θ_y + m) / sin θ_y with respect to cos θ_y. It turns
    negative past π - m with boundary="none". At cos θ_y = ±1, where it has no limit, s·cos m.
"""

import torch

from marginface.axes import Float, Tensor
from marginface.losses.angular import BOUNDARIES, add_margin
from marginface.losses.base import OwnClass, SoftmaxLoss
from marginface.losses.options import check_angle, check_choice


class ArcFace(SoftmaxLoss):
    """Add `margin_rad` to the angle with the own class; leave the others alone.

    Args:
        margin_rad: Margin m, in radians, in [0, π/2]. The paper's 0.5 is 28.6 degrees.
        scale: Logit scale s, greater than 0, without unit.
        boundary: Past θ_y = π - m, "none" keeps the equation, "straight" the falling branch.
        gradient: "true", or "straight-through" to leave the margin out of the slope.
    """

    paper = "ArcFace, CVPR 2019"
    arxiv = "1801.07698"
    formula = "CE, target s·cos(θ_y + m)"

    def __init__(
        self,
        *,
        margin_rad: float = 0.5,
        scale: float = 64.0,
        boundary: str = "none",
        gradient: str = "true",
    ) -> None:
        super().__init__(scale=scale)
        check_angle("margin_rad", margin_rad)
        check_choice("boundary", boundary, BOUNDARIES)
        check_choice("gradient", gradient, ("true", "straight-through"))
        self.margin_rad = margin_rad
        self.boundary = boundary
        self.gradient = gradient

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return s·cos(θ_y + m)."""
        margins = torch.full_like(own.cosine, self.margin_rad)
        cosine = add_margin(own.cosine, margins, self.boundary)
        if self.gradient == "straight-through":
            cosine = own.cosine + (cosine - own.cosine).detach()
        return self.scale * cosine
