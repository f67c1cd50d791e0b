"""One worked example per loss, and the facts of public code that a loss must not forget.

Two classes at right angles and a unit feature at θ to the first: cos θ_y = cos θ, cos θ_j = sin θ.
"""

import math

import pytest
import torch
from torch import Tensor

from marginface.heads import IdentityHead
from marginface.losses import OwnClass, make_loss
from marginface.losses.elasticface import assign


def at_angle(angle_rad: float, norm: float = 1.0) -> Tensor:
    row = [norm * math.cos(angle_rad), norm * math.sin(angle_rad)]
    return torch.tensor([row], dtype=torch.float64)


def head_of(name: str, **options: object) -> IdentityHead:
    head = IdentityHead(2, 2, make_loss(name, **options)).double()
    with torch.no_grad():
        head.prototypes.copy_(torch.eye(2))
    return head


def value_of(name: str, angle_rad: float, norm: float = 1.0, **options: object) -> float:
    return head_of(name, **options)(at_angle(angle_rad, norm), torch.tensor([0])).item()


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def own(angles: Tensor, norm: float = 20.0) -> OwnClass:
    cosine = torch.cos(angles).requires_grad_()
    return OwnClass(cosine, torch.full_like(angles, norm))


def test_softmax_at_45_degrees_is_log_two() -> None:
    assert value_of("softmax", math.pi / 4) == pytest.approx(math.log(2), rel=1e-12)


def test_cosface_at_45_degrees() -> None:
    # Both logits equal but for s·m = 10·0.35.
    assert value_of("cosface", math.pi / 4, scale=10.0) == pytest.approx(softplus(3.5), rel=1e-12)


def test_arcface_30_and_30_degrees() -> None:
    # Target 4·cos 60° = 2, other 4·cos 60° = 2.
    value = value_of("arcface", math.pi / 6, margin_rad=math.pi / 6, scale=4.0)
    assert value == pytest.approx(math.log(2), rel=1e-12)


@pytest.mark.parametrize(
    ("degrees", "none", "straight"),
    [(20, 0.661, 0.661), (100, -0.625, -0.625), (160, -0.989, -1.179), (175, -0.916, -1.236)],
)
def test_arcface_targets_of_public_code(degrees: int, none: float, straight: float) -> None:
    """The equation turns upward past π - m; pytorch-metric-learning falls on past -1."""
    angles = torch.tensor([math.radians(degrees)], dtype=torch.float64)
    for boundary, expected in (("none", none), ("straight", straight)):
        loss = make_loss("arcface", scale=1.0, boundary=boundary)
        assert loss.target(own(angles)).item() == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(
    ("degrees", "true", "through"),
    [(20, -0.751, -0.342), (100, -0.781, -0.985), (160, 0.150, -0.342)],
)
def test_arcface_slopes_of_public_code(degrees: int, true: float, through: float) -> None:
    """Slope along θ: with the margin, or as insightface has it since late 2022, without."""
    angles = torch.tensor([math.radians(degrees)], dtype=torch.float64)
    values = []
    for gradient, expected in (("true", true), ("straight-through", through)):
        rows = own(angles)
        target = make_loss("arcface", scale=1.0, gradient=gradient).target(rows)
        (slope,) = torch.autograd.grad(target.sum(), rows.cosine)
        assert -slope.item() * math.sin(angles.item()) == pytest.approx(expected, abs=6e-4)
        values.append(target.item())
    assert values[0] == pytest.approx(values[1], abs=1e-15)


def test_sphereface_psi_at_each_knot() -> None:
    # m = 4: ψ at 0, 45, 90, 135, 180 degrees is 1, -1, -3, -5, -7.
    angles = torch.linspace(0, math.pi, 5, dtype=torch.float64)
    rows = own(angles)
    target = make_loss("sphereface", scale=1.0).target(rows)
    torch.testing.assert_close(target, torch.tensor([1, -1, -3, -5, -7], dtype=torch.float64))
    # It rises with the cosine at both ends too, by m² = 16, and is flat at the knots between.
    (slope,) = torch.autograd.grad(target.sum(), rows.cosine)
    torch.testing.assert_close(slope, torch.tensor([16, 0, 0, 0, 16], dtype=torch.float64))


def test_plotted_curve_is_the_scale_times_psi_whatever_the_length() -> None:
    angles = torch.tensor([math.pi / 4], dtype=torch.float64)
    for options, expected in (({}, -1.0), ({"scale": 8.0}, -8.0)):
        curve = make_loss("sphereface", **options).own_curve(own(angles, norm=20.0))
        assert curve.item() == pytest.approx(expected, rel=1e-12)


def test_plotted_curve_of_a_drawn_margin_is_at_its_mean() -> None:
    angles = torch.tensor([0.3], dtype=torch.float64)
    curve = make_loss("elasticface-arc", std_rad=0.4, scale=2.0).own_curve(own(angles))
    assert curve.item() == pytest.approx(2 * math.cos(0.8), rel=1e-12)


def test_sphereface_takes_the_length_as_scale() -> None:
    # At 45 degrees |x|·ψ = -3, the other |x|·cos 45°.
    assert value_of("sphereface", math.pi / 4, norm=3.0) == pytest.approx(
        softplus(3 * math.sqrt(0.5) + 3), rel=1e-12
    )


def test_curricularface_weighs_the_hard_class() -> None:
    # θ = 60°: cos θ_y = 0.5, cos θ_j = √¾ > cos(60° + m), so it is hard; t = 0.01·0.5.
    t, cosine_j = 0.005, math.sqrt(0.75)
    expected = softplus(2 * cosine_j * (t + cosine_j) - 2 * math.cos(math.pi / 3 + 0.5))
    head = head_of("curricularface", scale=2.0)
    value = head(at_angle(math.pi / 3), torch.tensor([0]))
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert head.loss.hardness.item() == pytest.approx(t, rel=1e-12)


def test_curricularface_leaves_easy_classes_alone() -> None:
    # θ = 20°: cos θ_j = sin 20° = 0.342 lies below cos(20° + m) = 0.661.
    angle = math.radians(20)
    expected = softplus(2 * math.sin(angle) - 2 * math.cos(angle + 0.5))
    assert value_of("curricularface", angle, scale=2.0) == pytest.approx(expected, rel=1e-12)


def test_magface_middle_of_its_bounds() -> None:
    # |x| = 60 is half way: m = 0.625; g = 60/110² + 1/60.
    angle = math.radians(30)
    cross_entropy = softplus(4 * math.sin(angle) - 4 * math.cos(angle + 0.625))
    expected = cross_entropy + 35 * (60 / 110**2 + 1 / 60)
    assert value_of("magface", angle, norm=60.0, scale=4.0) == pytest.approx(expected, rel=1e-12)


def test_magface_easy_margin_jumps_at_90_degrees() -> None:
    angles = torch.tensor([math.pi / 2 - 1e-9, math.pi / 2 + 1e-9], dtype=torch.float64)
    before, after = make_loss("magface", scale=1.0).target(own(angles, 10.0)).tolist()
    assert before == pytest.approx(-math.sin(0.45), abs=1e-8)
    assert after == pytest.approx(0, abs=1e-8)
    none = make_loss("magface", scale=1.0, boundary="none").target(own(angles, 10.0))
    assert none[1].item() == pytest.approx(-math.sin(0.45), abs=1e-8)


def test_magface_pulls_short_features_longer() -> None:
    head = head_of("magface")
    features = at_angle(0.3, 20.0).requires_grad_()
    (gradient,) = torch.autograd.grad(head(features, torch.tensor([0])), features)
    assert (gradient * features.detach()).sum() < 0


def test_adaface_statistics_move_before_use() -> None:
    # One row of length 70: μ = 0.01·70 + 0.99·20 = 20.5; σ stays 100.
    angle = math.pi / 3
    z = 0.333 * (70 - 20.5) / (100 + 1e-3)
    target = math.cos(angle - 0.4 * z) - (0.4 + 0.4 * z)
    expected = softplus(2 * math.sin(angle) - 2 * target)
    head = head_of("adaface", scale=2.0)
    value = head(at_angle(angle, 70.0), torch.tensor([0]))
    assert value.item() == pytest.approx(expected, rel=1e-9)
    assert head.loss.norm_mean.item() == pytest.approx(20.5, rel=1e-12)
    assert head.loss.norm_std.item() == 100


def test_adaface_deviation_is_the_unbiased_one() -> None:
    loss = make_loss("adaface", momentum=1.0)
    loss.observe(torch.zeros(2), torch.tensor([10.0, 20.0]))
    assert loss.norm_mean.item() == pytest.approx(15)
    assert loss.norm_std.item() == pytest.approx(math.sqrt(50))
    loss.observe(torch.zeros(2), torch.tensor([0.0, 1e6]))
    assert loss.norm_mean.item() == pytest.approx((1e-3 + 100) / 2)


def test_sface_beyond_and_within_its_thresholds() -> None:
    # θ_y = 60° = 1.047 > a: pulls with nearly s. θ_j = 30° = 0.524 < b: pushes with nearly s.
    pull = 64 / (1 + math.exp(-80 * (math.pi / 3 - 0.87)))
    push = 64 / (1 + math.exp(80 * (math.pi / 6 - 1.20)))
    expected = -pull * 0.5 + push * math.sqrt(0.75)
    assert value_of("sface", math.pi / 3) == pytest.approx(expected, rel=1e-12)


def test_sface_lowest_value_is_not_its_best_angle() -> None:
    """The own term is about -38.1 near θ = 0.921 and 0 at θ = 0: the value is no progress bar."""
    angles = torch.linspace(0, math.pi, 10_001, dtype=torch.float64)
    target = make_loss("sface").target(own(angles)).detach()
    assert target.min().item() == pytest.approx(-38.1, abs=0.05)
    assert angles[target.argmin()].item() == pytest.approx(0.921, abs=0.002)
    assert target[0].item() == pytest.approx(0, abs=1e-20)


def test_sface_stops_pushing_at_the_start() -> None:
    """At right angles the speed is about 1e-10 with the class defaults of the authors' code."""
    loss = make_loss("sface", intra_rad=0.80, inter_rad=1.23)
    cosines = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    (speed,) = torch.autograd.grad(loss.others(cosines, own(torch.zeros(1))).sum(), cosines)
    assert speed.item() == pytest.approx(64 / (1 + math.exp(80 * (math.pi / 2 - 1.23))), rel=1e-9)
    assert speed.item() < 1e-9


def with_margins(name: str, margins: list[float], **options: object) -> IdentityHead:
    head = head_of(name, scale=2.0, **options)
    head.loss.sample_margins = lambda count, *, device=None: torch.tensor(margins[:count])
    return head


def test_elasticface_arc_uses_each_rows_draw() -> None:
    head = with_margins("elasticface-arc", [0.25, 0.75])
    features = torch.cat([at_angle(0.5), at_angle(0.2)])
    value = head(features, torch.tensor([0, 0])).item()
    rows = [
        softplus(2 * math.sin(angle) - 2 * math.cos(angle + margin))
        for angle, margin in ((0.5, 0.25), (0.2, 0.75))
    ]
    assert value == pytest.approx(sum(rows) / 2, rel=1e-12)


def test_elasticface_cos_plus_gives_the_easy_row_the_small_margin() -> None:
    head = with_margins("elasticface-cos-plus", [0.25, 0.75])
    # The second row is nearer to its class, so it gets 0.25 although it was drawn 0.75.
    features = torch.cat([at_angle(0.5), at_angle(0.2)])
    value = head(features, torch.tensor([0, 0])).item()
    rows = [
        softplus(2 * math.sin(angle) - 2 * (math.cos(angle) - margin))
        for angle, margin in ((0.5, 0.75), (0.2, 0.25))
    ]
    assert value == pytest.approx(sum(rows) / 2, rel=1e-12)


def test_ignored_rows_draw_nothing() -> None:
    head = with_margins("elasticface-arc", [0.25])
    features = torch.cat([at_angle(1.0), at_angle(0.5)])
    value = head(features, torch.tensor([-1, 0])).item()
    assert value == pytest.approx(softplus(2 * math.sin(0.5) - 2 * math.cos(0.75)), rel=1e-12)


def spearman(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([torch.argsort(torch.argsort(v)).double() for v in (a, b)])
    return torch.corrcoef(ranks)[0, 1].item()


@pytest.mark.parametrize(("count", "released"), [(16, -0.07), (128, -0.01), (512, -0.002)])
def test_ordering_by_rank_and_as_released(count: int, released: float) -> None:
    """The paper's rank correlation is -1. The authors' code has about -1/(N - 1): chance."""
    found = []
    for _ in range(300):
        # In float64, where no two draws are equal.
        cosines = torch.rand(count, dtype=torch.float64)
        draws = torch.randn(count, dtype=torch.float64)
        assert spearman(cosines, assign(draws, cosines, "rank")) == pytest.approx(-1)
        found.append(spearman(cosines, assign(draws, cosines, "released")))
    error = 4 / math.sqrt(300 * (count - 1))  # four standard errors
    assert sum(found) / len(found) == pytest.approx(released, abs=error)


def test_ordering_only_permutes_and_keeps_ties_in_row_order() -> None:
    cosines, draws = torch.tensor([0.5, 0.9, 0.5, 0.9]), torch.tensor([0.3, 0.1, 0.4, 0.2])
    assert assign(draws, cosines, "rank").tolist() == pytest.approx([0.3, 0.1, 0.4, 0.2])
    # Order (2, 3, 1, 0) of these cosines is not its own inverse: the two rules differ.
    cosines = torch.tensor([0.1, 0.2, 0.9, 0.7])
    assert assign(draws, cosines, "rank").tolist() == pytest.approx([0.4, 0.3, 0.1, 0.2])
    assert assign(draws, cosines, "released").tolist() == pytest.approx([0.3, 0.4, 0.2, 0.1])


@pytest.mark.parametrize("name", ["elasticface-arc", "elasticface-cos"])
def test_draws_are_normal_with_the_stated_moments(name: str) -> None:
    loss = make_loss(name)
    mean, std = loss.mean_and_std
    draws = loss.sample_margins(40_000)
    assert draws.shape == (40_000,)
    assert draws.mean().item() == pytest.approx(mean, abs=5 * std / 200)
    assert draws.std().item() == pytest.approx(std, rel=0.02)
    assert draws.max() > mean + 3 * std  # not truncated
    generator = torch.Generator().manual_seed(1)
    again = loss.sample_margins(3, generator=generator)
    torch.testing.assert_close(again, loss.sample_margins(3, generator=generator.manual_seed(1)))


def test_a_negative_draw_is_not_past_the_turn() -> None:
    loss = make_loss("elasticface-arc", scale=1.0, boundary="straight")
    cosine = torch.tensor([-0.999], dtype=torch.float64)
    turned = loss.with_margins(cosine, torch.tensor([-0.2], dtype=torch.float64))
    assert turned.item() == pytest.approx(math.cos(math.acos(-0.999) - 0.2), abs=1e-12)


def test_two_seeds_draw_two_losses() -> None:
    head = head_of("elasticface-arc")
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(head(at_angle(0.5), torch.tensor([0])).item())
    assert values[0] == values[1] != values[2]
