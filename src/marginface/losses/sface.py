"""SFace: no softmax and no margin; two sigmoids say when to stop pulling and when to stop pushing.

    L = -⌊r_intra(θ_y)⌋·cos θ_y + Σ_{j≠y} ⌊r_inter(θ_j)⌋·cos θ_j        ⌊·⌋: constant, no gradient
    r_intra(θ) = s / (1 + e^{-k(θ - a)}),   r_inter(θ) = s / (1 + e^{k(θ - b)})

Source: Zhong et al., "SFace", IEEE TIP 2021, arXiv:2205.12010.
Differs: the cosine inside the arc cosine is kept within ±1, where the authors' code returns NaN.
    Defaults a and b are those published for CASIA-WebFace; for MS1MV2 the authors give 0.90, 1.20.
Gradient: -r_intra for cos θ_y and r_inter for cos θ_j, as in the paper; it is not the slope of the
    value, so watch the own cosine rather than the loss.
"""

from typing import ClassVar, Literal

import torch

from marginface.axes import Float, Int, Tensor
from marginface.losses.base import Loss, OwnClass
from marginface.losses.options import check_angle, check_positive


class SFace(Loss):
    """Pull a row until `intra_rad` from its class, push it until `inter_rad` from the others.

    Args:
        scale: Largest speed s, greater than 0.
        slope: k of both sigmoids, per radian, greater than 0.
        intra_rad: a, the angle with the own class where pulling stops, in [0, π].
        inter_rad: b, the angle with another class where pushing stops, in [0, π].
    """

    paper = "SFace, IEEE TIP 2021"
    arxiv = "2205.12010"
    formula = "-⌊r_intra(θ_y)⌋·cos θ_y + Σ ⌊r_inter(θ_j)⌋·cos θ_j"
    pool: ClassVar[Literal["logsumexp", "sum"]] = "sum"

    def __init__(
        self,
        *,
        scale: float = 64.0,
        slope: float = 80.0,
        intra_rad: float = 0.87,
        inter_rad: float = 1.20,
    ) -> None:
        super().__init__()
        check_positive("scale", scale)
        check_positive("slope", slope)
        check_angle("intra_rad", intra_rad, high=torch.pi)
        check_angle("inter_rad", inter_rad, high=torch.pi)
        self.scale = scale
        self.slope = slope
        self.intra_rad = intra_rad
        self.inter_rad = inter_rad

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return -⌊r_intra(θ_y)⌋·cos θ_y."""
        return -self._speed(own.cosine, self.slope, self.intra_rad) * own.cosine

    def others(
        self, cosines: Float[Tensor, "batch classes"], own: OwnClass
    ) -> Float[Tensor, "batch classes"]:
        """Return ⌊r_inter(θ_j)⌋·cos θ_j."""
        return self._speed(cosines, -self.slope, self.inter_rad) * cosines

    def row_losses(
        self, target: Float[Tensor, " batch"], pooled: Float[Tensor, " batch"], own: OwnClass
    ) -> Float[Tensor, " batch"]:
        """Add the two sums; the others are summed, not averaged."""
        return target + pooled

    def logits(
        self,
        cosines: Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"],
        own: OwnClass,
    ) -> Float[Tensor, "batch classes"]:
        """Return s·cos θ_j: there is no softmax, so this only ranks the classes."""
        return self.scale * cosines

    def own_curve(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return r_intra(θ_y)·cos θ_y, higher is nearer as in the softmax losses."""
        return -self.target(own)

    def _speed(
        self, cosines: Float[Tensor, "*rows"], slope: float, middle_rad: float
    ) -> Float[Tensor, "*rows"]:
        angle_rad = cosines.detach().clamp(-1, 1).acos_()
        # In place: over all classes the memory of four more matrices costs more than the sums.
        return angle_rad.sub_(middle_rad).mul_(slope).sigmoid_().mul_(self.scale)
