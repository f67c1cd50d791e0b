"""LH2Face: the length of a feature is the concentration of a distribution, and proxies join in.

    κ_i = |x_i|,   μ = mean of κ,   p(w | x_i) = C_d(κ_i)·e^{κ_i·cos θ_i}       (von Mises-Fisher)
    L_vMF = -log( e^{κ·cos θ_y - 0.35·μ} / ( e^{κ·cos θ_y - 0.35·μ} + Σ_{j≠y} e^{κ·cos θ_j} ) )
    L     = v·L_vMF + a·L_pps + b·L_pns + c·L_pp                   terms of proxies: see `proxies`

The normaliser C_d(κ_i) is common to all classes of a row and cancels in the softmax; in the proxy
terms, which pool rows of different length, it does not. With all lengths equal to s, L_vMF is
CosFace(s, 0.35).

Source: Xie et al., "LH2Face: Loss function for Hard High-quality Face", 2025, arXiv:2506.23555.
Differs: this is a reconstruction, not a reproduction. The paper's body was not available to us.
    Quoted from it in public: κ = |x|, the margin 0.35·mean length, the vMF log-density as the
    similarity and the plain sum of the four terms. Ours, with our confidence: the row is the
    distribution and the proxy the vector (85 %); the margin is subtracted in a softmax of
    log-densities (75 %); the mean is over the batch (80 %) and a constant (60 %); what pps, pns
    and pp stand for (95 %); their formulas (`anchor` 40 %, the other two families 25 % each). Every
    choice of ours but the first two is an option. The paper's renderer is no part of a loss.
Gradient: exact; μ is a constant unless detach_mean=False, and in the proxy terms always.
"""

import torch

from marginface.axes import Bool, Float, Tensor
from marginface.losses.base import Batch, OwnClass, SoftmaxLoss, blend
from marginface.losses.options import (
    check_at_least_zero,
    check_choice,
    check_fraction,
    check_numbers,
    check_positive,
)
from marginface.losses.proxies import FAMILIES, FAMILY_OF, SIMILARITIES, mean_of

SHORTEST_COUNTED = 1e-3
LONGEST_COUNTED = 100.0


class LH2Face(SoftmaxLoss):
    """Let long features ask for more, under a margin in units of the mean length.

    Args:
        margin_ratio: Margin over the mean length, at least 0.
        mean_norm: "batch" for the mean of the batch's lengths; "ema" for a running mean of lengths
            kept within [1e-3, 100], moved while training, before use.
        proxy_family: "anchor", "angular" or "likelihood", the reading of the proxy terms.
        proxy_weights: a, b, c of pps, pns and pp, each at least 0; 0 spares the term's cost.
        vmf_weight: v, at least 0.
        detach_mean: Whether the mean in the margin is a constant; False asks for "batch".
        momentum: Weight of the batch in the running mean, in [0, 1].
        initial_norm: Where the running mean starts, greater than 0.
        proxy_offset: δ of `anchor`, in units of the mean length, at least 0.
        proxy_similarity: Of `anchor`: "vmf", or "cosine" for Proxy-Anchor as published.
        proxy_scale: α of the similarity "cosine", greater than 0.
        norm_range: Lengths are clamped to it where the normaliser Φ is evaluated.
        detach_norm: Whether lengths are constants in `likelihood`'s pps, which else draws them to
            several hundred at d = 512; a weight of at most 0.01 is the other remedy.
    """

    paper = "LH2Face, 2025 (reconstruction)"
    arxiv = "2506.23555"
    formula = "CE, target |x|·cos θ_y - 0.35·mean|x|, others |x|·cos θ_j; plus three proxy terms"
    norm_mean: Tensor

    def __init__(
        self,
        *,
        margin_ratio: float = 0.35,
        mean_norm: str = "batch",
        proxy_family: str = "anchor",
        proxy_weights: tuple[float, ...] | list[float] = (1.0, 1.0, 1.0),
        vmf_weight: float = 1.0,
        detach_mean: bool = True,
        momentum: float = 0.01,
        initial_norm: float = 20.0,
        proxy_offset: float = 0.1,
        proxy_similarity: str = "vmf",
        proxy_scale: float = 32.0,
        norm_range: tuple[float, ...] | list[float] = (1.0, 1000.0),
        detach_norm: bool = False,
    ) -> None:
        super().__init__(scale=1.0)  # the scale of a row is its length
        check_at_least_zero("margin_ratio", margin_ratio)
        check_at_least_zero("vmf_weight", vmf_weight)
        check_at_least_zero("proxy_offset", proxy_offset)
        check_fraction("momentum", momentum)
        check_positive("initial_norm", initial_norm)
        check_positive("proxy_scale", proxy_scale)
        _check_choices(mean_norm, proxy_family, proxy_similarity)
        _check_together(mean_norm, proxy_family, proxy_similarity, detach_mean, detach_norm)
        self.margin_ratio = margin_ratio
        self.mean_norm = mean_norm
        self.proxy_family = proxy_family
        self.proxy_weights = check_numbers("proxy_weights", proxy_weights, 3)
        self.vmf_weight = vmf_weight
        self.detach_mean = detach_mean
        self.momentum = momentum
        self.initial_norm = initial_norm
        self.proxy_offset = proxy_offset
        self.proxy_similarity = proxy_similarity
        self.proxy_scale = proxy_scale
        self.norm_range = _checked_range(norm_range)
        self.detach_norm = detach_norm
        self.proxy_terms = FAMILY_OF[proxy_family](
            weights=self.proxy_weights,
            offset=proxy_offset,
            scale=proxy_scale if proxy_similarity == "cosine" else None,
            norm_range=self.norm_range,
            detaches_norm=detach_norm,
        )
        self.has_proxy_rows = self.proxy_weights[2] > 0
        self.class_sums = self.proxy_terms.class_sums
        self.register_buffer("norm_mean", torch.tensor(float(initial_norm)))

    def observe(
        self, cosine_y: Float[Tensor, " batch"], norms: Float[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return μ without gradient; move the running mean first while training."""
        if self.mean_norm == "batch":
            return norms.detach().mean()
        if self.training:
            counted = norms.detach().clamp(SHORTEST_COUNTED, LONGEST_COUNTED)
            blend(self.norm_mean, counted.mean(), self.momentum)
        return self.norm_mean.to(norms.dtype, copy=True)

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return κ·cos θ_y - m, the margin m a part of the mean length."""
        return own.norms * own.cosine - self.margin_ratio * self._mean(own)

    def others(
        self, cosines: Float[Tensor, "batch classes"], own: OwnClass
    ) -> Float[Tensor, "batch classes"]:
        """Multiply each row's cosines by its length."""
        return own.norms[:, None] * cosines

    def row_losses(
        self, target: Float[Tensor, " batch"], pooled: Float[Tensor, " batch"], own: OwnClass
    ) -> Float[Tensor, " batch"]:
        """Return v times the cross-entropy."""
        return self.vmf_weight * super().row_losses(target, pooled, own)

    def prepare(self, own: OwnClass) -> Float[Tensor, " batch"] | None:
        """Return Φ_d(κ) where a proxy term needs it."""
        return self.proxy_terms.prepare(own)

    def proxy_norm(self, own: OwnClass) -> Float[Tensor, ""]:
        """Return μ, or α for the similarity "cosine"."""
        if self.proxy_similarity == "cosine":
            return torch.full_like(own.norms[0], self.proxy_scale)
        return mean_of(own)

    def class_terms(
        self,
        cosines: Float[Tensor, "rows classes"],
        is_own: Bool[Tensor, "rows classes"],
        own: OwnClass,
    ) -> Float[Tensor, " sums"]:
        """Return the family's sums over classes."""
        return self.proxy_terms.class_terms(cosines, is_own, own)

    def batch_terms(self, own: OwnClass, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted proxy terms `pps`, `pns` and `pp`."""
        return self.proxy_terms.batch_terms(own, batch)

    def statistics(self, rows: Float[Tensor, " batch"], own: OwnClass) -> dict[str, Tensor]:
        """Return the weighted mean `vmf`, the spread of the lengths, and whether they tell ease."""
        ends = torch.quantile(own.norms, own.norms.new_tensor([0.05, 0.95]))
        return {
            "vmf": rows.mean(),
            "norm_p05": ends[0],
            "norm_p95": ends[1],
            "norm_cosine_correlation": _correlation(own.norms, own.cosine),
        }

    def own_curve(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return the target over the length, cos θ_y - m/κ."""
        return self.target(own) / own.norms

    def _mean(self, own: OwnClass) -> Float[Tensor, ""]:
        if not self.detach_mean:
            return own.norms.mean()
        if own.state is None and self.mean_norm == "ema":
            return self.norm_mean.to(own.norms.dtype)
        return mean_of(own)


def _check_choices(mean_norm: str, family: str, similarity: str) -> None:
    check_choice("mean_norm", mean_norm, ("batch", "ema"))
    check_choice("proxy_family", family, FAMILIES)
    check_choice("proxy_similarity", similarity, SIMILARITIES)


def _check_together(
    mean_norm: str, family: str, similarity: str, detach_mean: bool, detach_norm: bool
) -> None:
    """Raise where one option would silently change nothing under another."""
    if not detach_mean and mean_norm != "batch":
        raise ValueError(f"detach_mean=False needs mean_norm='batch', got {mean_norm!r}")
    if similarity != "vmf" and family != "anchor":
        raise ValueError(
            f"proxy_similarity={similarity!r} needs proxy_family='anchor', got {family!r}"
        )
    if detach_norm and family != "likelihood":
        raise ValueError(f"detach_norm needs proxy_family='likelihood', got {family!r}")


def _checked_range(norm_range: tuple[float, ...] | list[float]) -> tuple[float, ...]:
    low, high = check_numbers("norm_range", norm_range, 2)
    if not low < high:
        raise ValueError(f"norm_range must rise, got {norm_range!r}")
    return low, high


def _correlation(a: Float[Tensor, " rows"], b: Float[Tensor, " rows"]) -> Float[Tensor, ""]:
    """Return Pearson's correlation, 0 where one of the two does not vary."""
    a, b = a - a.mean(), b - b.mean()
    size = torch.sqrt((a * a).sum() * (b * b).sum())
    return torch.where(size > 0, (a * b).sum() / torch.where(size > 0, size, 1), 0)
