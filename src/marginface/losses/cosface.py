"""CosFace: softmax cross-entropy with a margin subtracted from the own cosine.

    L = -log( e^{s·(cos θ_y - m)} / ( e^{s·(cos θ_y - m)} + Σ_{j≠y} e^{s·cos θ_j} ) )

Source: Wang et al., "CosFace", CVPR 2018, arXiv:1801.09414.
Differs: nothing. (Some public code takes m = 0.40 by default; the paper's is 0.35.)
Gradient: exact; the target falls with the angle on all of [0, π].
"""

from marginface.axes import Float, Tensor
from marginface.losses.base import OwnClass, SoftmaxLoss
from marginface.losses.options import check_fraction


class CosFace(SoftmaxLoss):
    """Subtract `margin_cosine` from the cosine with the own class; leave the others alone.

    Args:
        margin_cosine: Margin m, a difference of cosines, in [0, 1].
        scale: Logit scale s, greater than 0, without unit.
    """

    paper = "CosFace, CVPR 2018"
    arxiv = "1801.09414"
    formula = "CE, target s·(cos θ_y - m)"

    def __init__(self, *, margin_cosine: float = 0.35, scale: float = 64.0) -> None:
        super().__init__(scale=scale)
        check_fraction("margin_cosine", margin_cosine, unit="it is a difference of cosines")
        self.margin_cosine = margin_cosine

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return s·(cos θ_y - m)."""
        return self.scale * (own.cosine - self.margin_cosine)
