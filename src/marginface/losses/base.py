"""What a loss is: an equation over cosines. It owns no class vectors and sees no process group.

A head calls it once per batch, in this order:

    state   = loss.observe(cosine_y, norms)           running statistics, while training
    own     = OwnClass(cosine_y, norms, state)
    target  = loss.target(own)                        the own class's term; draws margins
    terms_j = loss.others(cosines, own)               elementwise, j ≠ y, slice by slice
    pooled  = log Σ_j e^{terms_j}  or  Σ_j terms_j    as `loss.pool` says
    rows    = loss.row_losses(target, pooled, own)    and the head takes their mean

`pooled` is all that crosses slices of the classes, so a head streams, shards or samples them and
stays exact. A loss whose terms are not of single rows may ask for more; the others pay nothing:

    prepared      = loss.prepare(own)                 a number per row, once, for all slices
    proxy rows    `has_proxy_rows`: every class present in the batch once more, its unit prototype
                  in the role of a sample of length `proxy_norm`. These rows stand below the samples
                  in `others` and `class_terms`, which see their number as `own.proxies`
    sums          += loss.class_terms(cosines, is_own, own)     `class_sums` numbers, slice by slice
    batch terms   = loss.batch_terms(own, Batch(...))           added to the mean of the rows

Slices hold whole columns, so terms that join the rows of a class are exact slice by slice too, and
their sums add up over slices: a head that shards the classes adds `sums` over its processes, with
the gradient passed on unchanged, as it joins `pooled`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from marginface.axes import Bool, Float, Int, Tensor
from marginface.losses.options import check_positive


@dataclass(frozen=True, slots=True)
class OwnClass:
    """What is known of each row before the other classes are looked at, in float32 or float64.

    Args:
        cosine: Cosine with the own class, shape (batch,), within [-1, 1].
        norms: Lengths of the features, shape (batch,).
        state: What `observe` returned for this batch, without gradient.
        dim: Length of a feature vector, 0 where only the equation of a row is asked for.
        proxies: How many of the last rows are proxy rows; their cosine is 1.
        prepared: What `prepare` returned, with gradient, 0 for proxy rows; None for nothing.
    """

    cosine: Tensor
    norms: Tensor
    state: Tensor | None = None
    dim: int = 0
    proxies: int = 0
    prepared: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What the walk over the classes leaves for terms that are not of single rows.

    Args:
        labels: Class of each sample, shape (batch,).
        pooled: The pool of each sample, shape (batch,).
        pooled_proxies: The pool of each proxy row, shape (proxies,); empty if none were asked for.
        sums: What `class_terms` returned, summed over all classes, shape (class_sums,).
        classes: Number of classes that were visited.
    """

    labels: Tensor
    pooled: Tensor
    pooled_proxies: Tensor
    sums: Tensor
    classes: int


class Loss(nn.Module, ABC):
    """The contract of every loss. `paper`, `arxiv` and `formula` tell users what it is."""

    paper: ClassVar[str]
    arxiv: ClassVar[str]
    formula: ClassVar[str]
    pool: ClassVar[Literal["logsumexp", "sum"]]
    # Not class variables: they may depend on the options.
    has_proxy_rows: bool = False
    class_sums: int = 0

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
        """Return the other classes' terms, elementwise, in a tensor of their own.

        Rounding may put cosines just beyond ±1. The cosines are the head's buffer: they must stay
        as they are, and terms that shared their memory would be overwritten.
        """

    @abstractmethod
    def row_losses(
        self, target: Float[Tensor, " batch"], pooled: Float[Tensor, " batch"], own: OwnClass
    ) -> Float[Tensor, " batch"]:
        """Join the own class's term and the pooled others into one loss per row."""

    @property
    def scale_of_others(self) -> float | None:
        """Scale s where `others` are s·cos θ and nothing else; None where autograd is needed."""
        return None

    def prepare(self, own: OwnClass) -> Float[Tensor, " batch"] | None:
        """Return what every slice would compute of the rows again, or None; gradients flow."""
        return None

    def proxy_norm(self, own: OwnClass) -> Float[Tensor, ""]:
        """Return the length of the proxy rows, without gradient; asked if `has_proxy_rows`."""
        raise NotImplementedError(f"{type(self).__name__} has no proxy rows")

    def class_terms(
        self,
        cosines: Float[Tensor, "rows classes"],
        is_own: Bool[Tensor, "rows classes"],
        own: OwnClass,
    ) -> Float[Tensor, " sums"]:
        """Return sums over these classes of terms that join rows; asked if `class_sums` > 0."""
        raise NotImplementedError(f"{type(self).__name__} has no terms of classes")

    def batch_terms(self, own: OwnClass, batch: Batch) -> dict[str, Tensor]:
        """Return scalars by name that the head adds to the mean of the rows, and logs."""
        return {}

    def statistics(self, rows: Float[Tensor, " batch"], own: OwnClass) -> dict[str, Tensor]:
        """Return further scalars to log, from the row losses and what is known of each row."""
        return {}

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

    @property
    def scale_of_others(self) -> float | None:
        """Scale s, unless a loss has other terms of its own."""
        return self.scale if type(self).others is SoftmaxLoss.others else None

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
