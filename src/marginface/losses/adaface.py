"""AdaFace: an angular and a cosine margin that trade places with the image's quality, read off |x|.

    ẑ = clip( h·(|x| - μ) / (σ + ε), -1, 1 ),   μ and σ running mean and deviation of the lengths
    T = cos( clip(θ_y - m·ẑ, ε, π - ε) ) - (m + m·ẑ)
    L = -log( e^{s·T} / ( e^{s·T} + Σ_{j≠y} e^{s·cos θ_j} ) )

Source: Kim et al., "AdaFace", CVPR 2022, arXiv:2204.00964.
Differs: as in the authors' code, every cosine is first kept within ±(1 - ε), ε = 1e-3; lengths
    count from 1e-3 to 100; μ and σ start at 20 and 100 and move before use:
    new = t·batch + (1 - t)·old. A batch of one row has no deviation and moves μ only.
Gradient: exact; ẑ is a constant. None where a clip holds.
"""

import math

import torch

from marginface.axes import Float, Tensor
from marginface.losses.base import OwnClass, SoftmaxLoss, blend
from marginface.losses.options import check_fraction, check_number

EPSILON = 1e-3


class AdaFace(SoftmaxLoss):
    """Weigh hard rows up when their feature is long, down when it is short.

    Args:
        margin: m, both the angle in radians and the difference of cosines, in [0, 1].
        h: Width of the band of lengths that moves the margin, in deviations, in [0, 1].
        scale: Logit scale s, greater than 0, without unit.
        momentum: Weight t of the batch in the running statistics, in [0, 1].
    """

    paper = "AdaFace, CVPR 2022"
    arxiv = "2204.00964"
    formula = "CE, target s·(cos(θ_y - m·ẑ) - m - m·ẑ), ẑ from |x|"
    norm_mean: Tensor
    norm_std: Tensor

    def __init__(
        self,
        *,
        margin: float = 0.4,
        h: float = 0.333,
        scale: float = 64.0,
        momentum: float = 0.01,
    ) -> None:
        super().__init__(scale=scale)
        check_number("margin", margin)
        hint = f"if it is in degrees, pass math.radians({margin})" if margin > 2 else ""
        check_fraction("margin", margin, unit=hint)
        check_fraction("h", h)
        check_fraction("momentum", momentum)
        self.margin = margin
        self.h = h
        self.momentum = momentum
        self.register_buffer("norm_mean", torch.tensor(20.0))
        self.register_buffer("norm_std", torch.tensor(100.0))

    def observe(self, cosine_y: Float[Tensor, " batch"], norms: Float[Tensor, " batch"]) -> None:
        """Move μ and σ towards the batch's."""
        if not self.training:
            return
        lengths = norms.detach().clamp(EPSILON, 100)
        blend(self.norm_mean, lengths.mean(), self.momentum)
        if lengths.shape[0] > 1:
            blend(self.norm_std, lengths.std(), self.momentum)

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return s·T."""
        lengths = own.norms.detach().clamp(EPSILON, 100)
        z = self.h * (lengths - self.norm_mean) / (self.norm_std + EPSILON)
        quality = z.clamp(-1, 1).to(own.cosine.dtype)
        angle = torch.acos(own.cosine.clamp(-1 + EPSILON, 1 - EPSILON))
        angle = (angle - self.margin * quality).clamp(EPSILON, math.pi - EPSILON)
        return self.scale * (torch.cos(angle) - (self.margin + self.margin * quality))

    def others(
        self, cosines: Float[Tensor, "batch classes"], own: OwnClass
    ) -> Float[Tensor, "batch classes"]:
        """Scale the cosines, kept within ±(1 - ε)."""
        return self.scale * cosines.clamp(-1 + EPSILON, 1 - EPSILON)
