"""ElasticFace: a margin drawn anew for every row, added to the angle or taken from the cosine.

    Arc: z_y = s·cos(θ_y + E)        Cos: z_y = s·(cos θ_y - E)        E ~ Normal(m, σ²)
    L = -log( e^{z_y} / ( e^{z_y} + Σ_{j≠y} e^{s·cos θ_j} ) )
    "+": the batch's draws are handed out by rank: the largest cos θ_y gets the smallest margin.

Source: Boutros et al., "ElasticFace", CVPR Workshops 2022, arXiv:2109.09416.
Differs: nothing by default; draws are not truncated, ties of "+" keep the order of the rows.
    ordering="released" is what the authors' code does in "+": it indexes the sorted draws with
    the sorting order instead of the rank, so that margin and cosine are all but unrelated. The same
    code takes σ = 0.02 for Cos+, the paper 0.025. boundary="straight" is explained in ArcFace.
Gradient: exact, through the margin; none flows through the draws or their order.
"""

from abc import abstractmethod

import torch

from marginface.axes import Float, Tensor
from marginface.losses.angular import BOUNDARIES, add_margin
from marginface.losses.base import OwnClass, SoftmaxLoss
from marginface.losses.options import check_angle, check_choice, check_fraction

ORDERINGS = ("rank", "released")


class Elastic(SoftmaxLoss):
    """What the four variants share: the draw, and the order in which it is handed out."""

    paper = "ElasticFace, CVPR Workshops 2022"
    arxiv = "2109.09416"
    ordering: str | None = None

    @property
    @abstractmethod
    def mean_and_std(self) -> tuple[float, float]:
        """Return m and σ of the margins, in the variant's unit."""

    @abstractmethod
    def with_margins(
        self, cosine_y: Float[Tensor, " batch"], margins: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Return the target for margins already drawn."""

    def sample_margins(
        self,
        count: int,
        *,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " count"]:
        """Draw one margin per row, in row order, from the default generator unless one is given."""
        mean, std = self.mean_and_std
        return mean + std * torch.randn(count, device=device, generator=generator)

    def target(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Draw the margins, hand them out and apply them."""
        margins = self.sample_margins(own.cosine.shape[0], device=own.cosine.device)
        margins = margins.to(own.cosine.dtype)
        if self.ordering is not None:
            margins = assign(margins, own.cosine.detach(), self.ordering)
        return self.with_margins(own.cosine, margins)

    def own_curve(self, own: OwnClass) -> Float[Tensor, " batch"]:
        """Return the target at the mean margin."""
        return self.with_margins(own.cosine, torch.full_like(own.cosine, self.mean_and_std[0]))


def assign(
    draws: Float[Tensor, " batch"], cosine_y: Float[Tensor, " batch"], ordering: str
) -> Float[Tensor, " batch"]:
    """Hand out the draws of a batch: by rank as in the paper, or as the authors' code does.

    Example:
        >>> assign(torch.tensor([0.5, 0.4, 0.6]), torch.tensor([0.1, 0.7, 0.3]), "rank")
        tensor([0.6000, 0.4000, 0.5000])
    """
    smallest_first = torch.sort(draws).values
    easiest_first = torch.argsort(cosine_y, descending=True, stable=True)
    if ordering == "released":
        return smallest_first[easiest_first]
    return torch.empty_like(draws).scatter_(0, easiest_first, smallest_first)


class _Arc(Elastic):
    def __init__(self, margin_rad: float, std_rad: float, scale: float, boundary: str) -> None:
        super().__init__(scale=scale)
        check_angle("margin_rad", margin_rad)
        check_angle("std_rad", std_rad)
        check_choice("boundary", boundary, BOUNDARIES)
        self.margin_rad = margin_rad
        self.std_rad = std_rad
        self.boundary = boundary

    @property
    def mean_and_std(self) -> tuple[float, float]:
        return self.margin_rad, self.std_rad

    def with_margins(
        self, cosine_y: Float[Tensor, " batch"], margins: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        return self.scale * add_margin(cosine_y, margins, self.boundary)


class _Cos(Elastic):
    def __init__(self, margin_cosine: float, std_cosine: float, scale: float) -> None:
        super().__init__(scale=scale)
        check_fraction("margin_cosine", margin_cosine, unit="it is a difference of cosines")
        check_fraction("std_cosine", std_cosine, unit="it is a difference of cosines")
        self.margin_cosine = margin_cosine
        self.std_cosine = std_cosine

    @property
    def mean_and_std(self) -> tuple[float, float]:
        return self.margin_cosine, self.std_cosine

    def with_margins(
        self, cosine_y: Float[Tensor, " batch"], margins: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        return self.scale * (cosine_y - margins)


class ElasticFaceArc(_Arc):
    """Add a drawn angle to the angle with the own class.

    Args:
        margin_rad: Mean m of the margin, in radians, in [0, π/2].
        std_rad: Standard deviation σ of the margin, in radians.
        scale: Logit scale s, greater than 0, without unit.
        boundary: Past θ_y = π - E, "none" keeps the equation, "straight" the falling branch.
    """

    formula = "CE, target s·cos(θ_y + E), E ~ N(m, σ²)"

    def __init__(
        self,
        *,
        margin_rad: float = 0.5,
        std_rad: float = 0.05,
        scale: float = 64.0,
        boundary: str = "none",
    ) -> None:
        super().__init__(margin_rad, std_rad, scale, boundary)


class ElasticFaceCos(_Cos):
    """Subtract a drawn margin from the cosine with the own class.

    Args:
        margin_cosine: Mean m of the margin, a difference of cosines, in [0, 1].
        std_cosine: Standard deviation σ of the margin.
        scale: Logit scale s, greater than 0, without unit.
    """

    formula = "CE, target s·(cos θ_y - E), E ~ N(m, σ²)"

    def __init__(
        self, *, margin_cosine: float = 0.35, std_cosine: float = 0.05, scale: float = 64.0
    ) -> None:
        super().__init__(margin_cosine, std_cosine, scale)


class ElasticFaceArcPlus(_Arc):
    """Add drawn angles, the smallest to the rows nearest to their class.

    Args:
        margin_rad: Mean m of the margin, in radians, in [0, π/2].
        std_rad: Standard deviation σ of the margin, in radians.
        scale: Logit scale s, greater than 0, without unit.
        boundary: Past θ_y = π - E, "none" keeps the equation, "straight" the falling branch.
        ordering: "rank" is the paper, "released" the authors' code.
    """

    formula = "CE, target s·cos(θ_y + E), E ~ N(m, σ²) by rank of cos θ_y"

    def __init__(
        self,
        *,
        margin_rad: float = 0.5,
        std_rad: float = 0.0175,
        scale: float = 64.0,
        boundary: str = "none",
        ordering: str = "rank",
    ) -> None:
        super().__init__(margin_rad, std_rad, scale, boundary)
        check_choice("ordering", ordering, ORDERINGS)
        self.ordering = ordering


class ElasticFaceCosPlus(_Cos):
    """Subtract drawn margins, the smallest from the rows nearest to their class.

    Args:
        margin_cosine: Mean m of the margin, a difference of cosines, in [0, 1].
        std_cosine: Standard deviation σ of the margin.
        scale: Logit scale s, greater than 0, without unit.
        ordering: "rank" is the paper, "released" the authors' code.
    """

    formula = "CE, target s·(cos θ_y - E), E ~ N(m, σ²) by rank of cos θ_y"

    def __init__(
        self,
        *,
        margin_cosine: float = 0.35,
        std_cosine: float = 0.025,
        scale: float = 64.0,
        ordering: str = "rank",
    ) -> None:
        super().__init__(margin_cosine, std_cosine, scale)
        check_choice("ordering", ordering, ORDERINGS)
        self.ordering = ordering
