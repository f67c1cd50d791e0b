"""Normalised softmax: cross-entropy over scaled cosines, without a margin.

    L = -log( e^{s·cos θ_y} / Σ_j e^{s·cos θ_j} )

Source: Wang et al., "NormFace: L2 Hypersphere Embedding for Face Verification", ACM MM 2017,
    arXiv:1704.06369.
Differs: the scale s is fixed, not learnt.
Gradient: exact.
"""

from marginface.axes import Float, Tensor
from marginface.losses.base import OwnClass, SoftmaxLoss


class Softmax(SoftmaxLoss):
    """Compare cosines and nothing else; the baseline every margin is measured against.

    Args:
        scale: Logit scale s, greater than 0, without unit.
    """

    paper = "NormFace, ACM MM 2017"
    arxiv = "1704.06369"
    formula = "CE of s·cos θ_j"

    def __init__(self, *, scale: float = 64.0) -> None:
        super().__init__(scale=scale)

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return s·cos θ_y."""
        return self.scale * own.cosine
