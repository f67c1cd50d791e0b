"""What a loss is: an equation over cosines. It owns no class vectors and sees no process group.

A head calls it once per batch, in this order:

    state   = loss.observe(cosine_y, norms)           running statistics, while training
    own     = OwnClass(cosine_y, norms, state)
    target  = loss.target(own)                        the own class's term; draws margins
    terms_j = loss.others(cosines, own)               elementwise, j ≠ y, slice by slice
    pooled  = log Σ_j e^{terms_j}  or  Σ_j terms_j    as `loss.pool` says
    rows    = loss.row_losses(target, pooled, own)    and the head takes their mean

`pooled` is all that crosses slices of the classes, so a head may stream or shard them and stay
exact. A loss with terms over classes rather than rows adds a method of its own to this list; slices
hold whole columns, so such terms are exact slice by slice too.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from marginface.axes import Float, Int, Tensor
from marginface.losses.options import check_positive


@dataclass(frozen=True, slots=True)
class OwnClass:
    """What is known of each row before the other classes are looked at, in float32 or float64.

    Args:
        cosine: Cosine with the own class, shape (batch,), within [-1, 1].
        norms: Lengths of the features, shape (batch,).
        state: What `observe` returned for this batch, without gradient.
    """

    cosine: Tensor
    norms: Tensor
    state: Tensor | None = None


class Loss(nn.Module, ABC):
    """The contract of every loss. `paper`, `arxiv` and `formula` tell users what it is."""

    paper: ClassVar[str]
    arxiv: ClassVar[str]
    formula: ClassVar[str]
    pool: ClassVar[Literal["logsumexp", "sum"]]

    def observe(
        self, cosine_y: Float[Tensor, " batch"], norms: Float[Tensor, " batch"]
    ) -> Float[Tensor, ""] | None:
        """Update running statistics in training mode; return those `others` needs, as a copy."""
        return None

    @abstractmethod
    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return the own class's term; the only place where margins are drawn."""

    @abstractmethod
    def others(
        self, cosines: Float[Tensor, "batch classes"], own: OwnClass
    ) -> Float[Tensor, "batch classes"]:
        """Return the other classes' terms, elementwise; rounding may put cosines just beyond ±1."""

    @abstractmethod
    def row_losses(
        self, target: Float[Tensor, " batch"], pooled: Float[Tensor, " batch"], own: OwnClass
    ) -> Float[Tensor, " batch"]:
        """Join the own class's term and the pooled others into one loss per row."""

    @abstractmethod
    def logits(
        self,
        cosines: Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"],
        own: OwnClass,
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores over all classes that stand behind the loss, for study."""

    def own_curve(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return `target` for plots, `scale` times a cosine: at the mean margin, nothing drawn."""
        return self.target(own)


class SoftmaxLoss(Loss):
    """Softmax cross-entropy: -log(e^target / (e^target + Σ_j e^terms_j)); others are s·cos θ_j.

    Args:
        scale: Logit scale s, greater than 0, without unit.
    """

    pool: ClassVar[Literal["logsumexp", "sum"]] = "logsumexp"

    def __init__(self, *, scale: float) -> None:
        super().__init__()
        check_positive("scale", scale)
        self.scale = scale

    def others(
        self, cosines: Float[Tensor, "batch classes"], own: OwnClass
    ) -> Float[Tensor, "batch classes"]:
        """Scale the cosines."""
        return self.scale * cosines

    def row_losses(
        self, target: Float[Tensor, " batch"], pooled: Float[Tensor, " batch"], own: OwnClass
    ) -> Float[Tensor, " batch"]:
        """Return the cross-entropy; the log-sigmoid keeps small losses exact."""
        return -F.logsigmoid(target - pooled)

    def logits(
        self,
        cosines: Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"],
        own: OwnClass,
    ) -> Float[Tensor, "batch classes"]:
        """Return what the softmax sees: the others' terms with the target in its place."""
        return self.others(cosines, own).scatter(1, labels[:, None], self.target(own)[:, None])


def blend(statistic: Float[Tensor, ""], batch_value: Float[Tensor, ""], momentum: float) -> None:
    """Move a buffer towards the batch's value: new = momentum · batch + (1 - momentum) · old."""
    with torch.no_grad():
        statistic.lerp_(batch_value.detach().to(statistic), momentum)
