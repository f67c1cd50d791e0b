"""CurricularFace: an angular margin for the own class, and hard other classes that count ever more.

    T = cos(θ_y + m)
    N_j = cos θ_j               if cos θ_j ≤ cos(θ_y + m)
          cos θ_j·(t + cos θ_j) otherwise
    L = -log( e^{s·T} / ( e^{s·T} + Σ_{j≠y} e^{s·N_j} ) )
    t ← α·mean(cos θ_y) + (1 - α)·t    before use

Source: Huang et al., "CurricularFace", CVPR 2020, arXiv:2004.00288.
Differs: by default the target past θ_y = π - m is cos θ_y - m·sin m, as in the authors' code;
    boundary="none" keeps cos(θ_y + m). α = 0.01 is the weight of the new value, as in that code.
Gradient: exact; t is a constant, and so is the comparison.
"""

import torch

from marginface.axes import Float, Tensor
from marginface.losses.angular import BOUNDARIES, add_margin
from marginface.losses.base import OwnClass, SoftmaxLoss, blend
from marginface.losses.options import check_angle, check_choice, check_fraction
from marginface.sphere import rotate_cosine


class CurricularFace(SoftmaxLoss):
    """Weigh other classes by how hard they are, gently at first.

    Args:
        margin_rad: Margin m, in radians, in [0, π/2].
        scale: Logit scale s, greater than 0, without unit.
        momentum: Weight α of the batch in the running mean t, in [0, 1].
        boundary: Past θ_y = π - m, "straight" or "none" (the equation).
    """

    paper = "CurricularFace, CVPR 2020"
    arxiv = "2004.00288"
    formula = "CE, target s·cos(θ_y + m), hard others s·cos θ_j·(t + cos θ_j)"
    hardness: Tensor

    def __init__(
        self,
        *,
        margin_rad: float = 0.5,
        scale: float = 64.0,
        momentum: float = 0.01,
        boundary: str = "straight",
    ) -> None:
        super().__init__(scale=scale)
        check_angle("margin_rad", margin_rad)
        check_fraction("momentum", momentum)
        check_choice("boundary", boundary, BOUNDARIES)
        self.margin_rad = margin_rad
        self.momentum = momentum
        self.boundary = boundary
        self.register_buffer("hardness", torch.zeros(()))

    def observe(
        self, cosine_y: Float[Tensor, " batch"], norms: Float[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Move t towards the batch's mean own cosine; return t."""
        if self.training:
            blend(self.hardness, cosine_y.mean(), self.momentum)
        return self.hardness.to(cosine_y.dtype, copy=True)

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return s·cos(θ_y + m)."""
        return self.scale * add_margin(own.cosine, self._margins(own), self.boundary)

    def others(
        self, cosines: Float[Tensor, "batch classes"], own: OwnClass
    ) -> Float[Tensor, "batch classes"]:
        """Return s·N_j."""
        threshold = rotate_cosine(own.cosine.detach(), self._margins(own))
        hardness = self.hardness if own.state is None else own.state
        is_hard = cosines > threshold[:, None]
        return self.scale * torch.where(is_hard, cosines * (hardness + cosines), cosines)

    def _margins(self, own: OwnClass) -> Float[Tensor, " batch"]:
        return torch.full_like(own.cosine, self.margin_rad)
