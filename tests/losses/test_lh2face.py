"""LH2Face against the numbers and laws that its specification states, through the head."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from marginface.heads import IdentityHead
from marginface.losses import LH2Face, OwnClass, make_loss
from marginface.sphere import normalise, relative_log_normaliser

NO_PROXIES = (0.0, 0.0, 0.0)
FAMILIES = ["anchor", "angular", "likelihood"]
every_chunk = pytest.mark.parametrize("chunk", [None, 1, 2, 5])


def head_on(prototypes: Tensor, chunk: int | None = None, **options: object) -> IdentityHead:
    head = IdentityHead(*prototypes.shape, make_loss("lh2face", **options), chunk=chunk)
    head.to(prototypes.dtype)
    with torch.no_grad():
        head.prototypes.copy_(prototypes)
    return head


def toy() -> tuple[Tensor, Tensor, Tensor]:
    features = torch.tensor([[3, 4, 0], [0, 0, 10]], dtype=torch.float64)
    return features, torch.tensor([1, 2]), torch.eye(3, dtype=torch.float64)


def drawn(batch: int = 6, classes: int = 5, dim: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    features = torch.randn(batch, dim, dtype=torch.float64) * 4
    labels = torch.randint(0, classes, (batch,))
    return features, labels, torch.randn(classes, dim, dtype=torch.float64)


def gradients_of(head: IdentityHead, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    leaf = features.clone().requires_grad_()
    to_features, to_prototypes = torch.autograd.grad(head(leaf, labels), [leaf, head.prototypes])
    return to_features, to_prototypes


@every_chunk
def test_equal_lengths_are_cosface(chunk: int | None) -> None:
    features, labels, prototypes = drawn()
    features = normalise(features) * 17
    ours = head_on(prototypes, chunk, proxy_weights=NO_PROXIES)
    cosface = IdentityHead(5, 8, make_loss("cosface", scale=17.0, margin_cosine=0.35)).double()
    cosface.load_state_dict({"prototypes": prototypes})
    torch.testing.assert_close(
        ours(features, labels), cosface(features, labels), rtol=0, atol=1e-12
    )
    _, to_prototypes = gradients_of(ours, features, labels)
    _, expected = gradients_of(cosface, features, labels)
    torch.testing.assert_close(to_prototypes, expected, rtol=0, atol=1e-12)


def test_the_normaliser_cancels_in_the_softmax() -> None:
    features, labels, prototypes = drawn()
    head = head_on(prototypes, proxy_weights=NO_PROXIES)
    densities = head.logits(features, labels)
    densities = densities - relative_log_normaliser(features.norm(dim=1), 8)[:, None]
    torch.testing.assert_close(
        F.cross_entropy(densities, labels), head(features, labels), rtol=1e-13, atol=0
    )


@every_chunk
def test_golden_softmax(chunk: int | None) -> None:
    features, labels, prototypes = toy()
    head = head_on(prototypes, chunk, proxy_weights=NO_PROXIES)
    assert head(features, labels).item() == pytest.approx(0.92337586, abs=5e-9)
    rows = F.cross_entropy(head.logits(features, labels), labels, reduction="none")
    assert rows.tolist() == pytest.approx([1.84549905, 0.00125266848], abs=5e-9)
    head = head_on(prototypes, chunk, proxy_weights=NO_PROXIES, margin_ratio=0.0)
    assert head(features, labels).item() == pytest.approx(0.16332672, abs=5e-9)


@every_chunk
def test_golden_proxy_terms(chunk: int | None) -> None:
    features, labels, prototypes = toy()
    for kappa, phi in ((5.0, 2.69736951), (10.0, 7.00426772)):
        found = relative_log_normaliser(torch.tensor(kappa, dtype=torch.float64), 3)
        assert found.item() == pytest.approx(phi, abs=5e-9)
    head = head_on(prototypes, chunk)
    value = head(features, labels).item()
    terms = {"vmf": 0.92337586, "pps": 0.27757258, "pns": 0.49592481, "pp": 1.65517581}
    for name, term in terms.items():
        assert head.last_statistics[name].item() == pytest.approx(term, abs=5e-9)
    assert value == pytest.approx(sum(terms.values()), abs=2e-8)


@every_chunk
def test_golden_terms_of_the_other_families(chunk: int | None) -> None:
    """By hand: cosines 0.6, 0.8, 0 and 0, 0, 1; prototypes at right angles."""
    features, labels, prototypes = toy()
    head = head_on(prototypes, chunk, proxy_family="angular")
    head(features, labels)
    near = math.acos(1 - 1e-6)
    expected = {
        "pps": (math.acos(0.8) + near) / (2 * math.pi),
        "pns": -(math.acos(0.6) + 3 * math.pi / 2) / (4 * math.pi),
        "pp": -0.5,
    }
    found = {name: head.last_statistics[name].item() for name in expected}
    assert found == pytest.approx(expected, rel=1e-10)
    head = head_on(prototypes, chunk, proxy_family="likelihood")
    head(features, labels)
    expected = {
        "pps": (2.69736951 - 4 + 7.00426772 - 10) / 2,
        "pns": (math.log((math.exp(3) + 1) / 2) - 2.69736951 - 7.00426772) / 2,
        "pp": 0.0,
    }
    found = {name: head.last_statistics[name].item() for name in expected}
    assert found == pytest.approx(expected, abs=1e-8)


def softmax_parts(head: IdentityHead, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """p_ij and the unit prototypes."""
    with torch.no_grad():
        return head.logits(features, labels).softmax(dim=1), normalise(head.prototypes)


@every_chunk
def test_softmax_gradient_is_a_difference_of_prototypes(chunk: int | None) -> None:
    features, labels, prototypes = drawn()
    head = head_on(prototypes, chunk, proxy_weights=NO_PROXIES)
    found, _ = gradients_of(head, features, labels)
    p, units = softmax_parts(head, features, labels)
    torch.testing.assert_close(found, (p @ units - units[labels]) / 6, rtol=1e-10, atol=1e-14)


def central_difference(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    steps = torch.eye(at.numel(), dtype=at.dtype).reshape(-1, *at.shape) * 1e-5
    slopes = [(function(at + step) - function(at - step)) / 2e-5 for step in steps]
    return torch.stack(slopes).reshape(at.shape).detach()


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_against_central_differences(family: str) -> None:
    features, labels, prototypes = drawn(batch=4, dim=3)
    # At rest the running mean is the constant that the mean is for the gradient.
    head = head_on(prototypes, 2, mean_norm="ema", initial_norm=11.0, proxy_family=family).eval()
    found, _ = gradients_of(head, features, labels)
    expected = central_difference(lambda x: head(x, labels), features)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


@every_chunk
def test_a_mean_with_gradient_adds_a_radial_term_and_nothing_else(chunk: int | None) -> None:
    features, labels, prototypes = drawn()
    constant = head_on(prototypes, chunk)
    variable = head_on(prototypes, chunk, detach_mean=False)
    assert constant(features, labels).item() == variable(features, labels).item()
    difference = (
        gradients_of(variable, features, labels)[0] - gradients_of(constant, features, labels)[0]
    )
    p, _ = softmax_parts(constant, features, labels)
    missing = 1 - p[torch.arange(6), labels]
    expected = 0.35 / 6 * missing.mean() * normalise(features)
    torch.testing.assert_close(difference, expected, rtol=1e-9, atol=1e-14)


def test_gradient_with_a_variable_mean_against_central_differences() -> None:
    features, labels, prototypes = drawn(batch=4, dim=3)
    alone = head_on(prototypes, 2, detach_mean=False, proxy_weights=NO_PROXIES)
    numbers = central_difference(lambda x: alone(x, labels), features)
    torch.testing.assert_close(gradients_of(alone, features, labels)[0], numbers, rtol=0, atol=1e-8)


def test_limit_of_short_features() -> None:
    classes = 10572
    head = head_on(
        torch.randn(classes, 4, dtype=torch.float64),
        1024,
        proxy_weights=NO_PROXIES,
        mean_norm="ema",
        initial_norm=22.6,
    ).eval()
    value = head(torch.randn(3, 4, dtype=torch.float64) * 1e-9, torch.arange(3)).item()
    limit = math.log1p((classes - 1) * math.exp(0.35 * 22.6))
    assert value == pytest.approx(limit, abs=1e-6)  # the running mean is kept in float32
    assert value == pytest.approx(17.1759, abs=5e-5)


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_length_pays_where_the_own_class_is_nearest(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(6, 4, generator=generator, dtype=torch.float64) * 5
    prototypes = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    nearest = (normalise(features) @ normalise(prototypes).T).argmax(dim=1)
    head = head_on(prototypes, 2, proxy_weights=NO_PROXIES)
    to_features, _ = gradients_of(head, features, nearest)
    assert ((to_features * normalise(features)).sum(dim=1) <= 1e-15).all()


@pytest.mark.parametrize("chunk", [None, 37])
@pytest.mark.parametrize("family", FAMILIES)
def test_finite_from_tiny_to_huge_lengths(family: str, chunk: int | None) -> None:
    lengths = torch.logspace(-3, 3, 24)
    features = F.normalize(torch.randn(24, 512)) * lengths[:, None]
    labels = torch.arange(24) % 7
    head = head_on(torch.randn(80, 512), chunk, proxy_family=family)
    to_features, to_prototypes = gradients_of(head, features, labels)
    assert math.isfinite(head(features, labels).item())
    assert to_features.isfinite().all()
    assert to_prototypes.isfinite().all()


@every_chunk
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_one_person(family: str, chunk: int | None) -> None:
    """Its column of own rows alone is what would turn -∞ into NaN."""
    features, _, prototypes = drawn()
    head = head_on(prototypes, chunk, proxy_family=family)
    for gradient in gradients_of(head, features, torch.full((6,), 3)):
        assert gradient.isfinite().all()
    assert head.last_statistics["norm_cosine_correlation"].abs() <= 1
    head(features[:1], torch.tensor([3]))
    assert head.last_statistics["norm_cosine_correlation"] == 0


@every_chunk
def test_a_class_without_positives_gives_nothing_to_pps(chunk: int | None) -> None:
    features, _, prototypes = drawn()
    labels = torch.tensor([0, 2, 2, 0, 2, 0])
    only_pps = {"vmf_weight": 0.0, "proxy_weights": (1.0, 0.0, 0.0)}
    head = head_on(prototypes, chunk, **only_pps)
    value = head(features, labels).item()
    _, to_prototypes = gradients_of(head, features, labels)
    assert to_prototypes[[1, 3, 4]].abs().sum() == 0
    assert to_prototypes[[0, 2]].abs().sum() > 0
    fewer = head_on(prototypes[[0, 2]], chunk, **only_pps)
    assert fewer(features, labels // 2).item() == pytest.approx(value, rel=1e-14)


def test_the_mean_of_the_proxy_terms_is_a_constant() -> None:
    """Scaling one row changes μ; only that row's own length may feel it."""
    features, labels, prototypes = drawn()
    only_pp = {"vmf_weight": 0.0, "proxy_weights": (0.0, 0.0, 1.0), "detach_mean": False}
    to_features, to_prototypes = gradients_of(head_on(prototypes, **only_pp), features, labels)
    assert to_features.abs().sum() == 0
    assert to_prototypes.abs().sum() > 0


def test_detached_lengths_of_the_likelihood() -> None:
    features, labels, prototypes = drawn()
    options = {"proxy_family": "likelihood", "vmf_weight": 0.0, "proxy_weights": (1.0, 0.0, 0.0)}
    free, _ = gradients_of(head_on(prototypes, **options), features, labels)
    held, _ = gradients_of(head_on(prototypes, **options, detach_norm=True), features, labels)
    units = normalise(features)
    radial = (free * units).sum(dim=1, keepdim=True)
    assert radial.abs().min() > 0
    torch.testing.assert_close(held, free - radial * units, rtol=1e-10, atol=1e-13)


def test_running_mean_moves_before_use_and_counts_lengths_up_to_a_hundred() -> None:
    prototypes = torch.eye(2, dtype=torch.float64)
    head = head_on(prototypes, mean_norm="ema", momentum=0.25, proxy_weights=NO_PROXIES)
    head(torch.tensor([[40.0, 0], [0, 1000]], dtype=torch.float64), torch.tensor([0, 1]))
    assert head.loss.norm_mean.item() == pytest.approx(0.75 * 20 + 0.25 * 70)
    own = OwnClass(torch.tensor([1.0]), torch.tensor([50.0]))
    assert head.loss.target(own).item() == pytest.approx(50 - 0.35 * 32.5)


def test_own_curve_is_a_cosine() -> None:
    cosine = torch.tensor([1.0, 0.0])
    own = OwnClass(cosine, torch.full((2,), 20.0))
    torch.testing.assert_close(make_loss("lh2face").own_curve(own), cosine - 0.35)


@pytest.mark.parametrize("chunk", [None, 2])
def test_sum_is_mean_times_labelled_rows(chunk: int | None) -> None:
    features, labels, prototypes = drawn()
    labels[2] = -1
    head = head_on(prototypes, chunk)
    total = head(features, labels, reduction="sum")
    torch.testing.assert_close(total, 5 * head(features, labels))


def test_statistics_are_the_terms_and_the_spread_of_lengths() -> None:
    features, labels, prototypes = drawn()
    head = head_on(prototypes, 2, proxy_weights=(0.5, 0.0, 2.0))
    value = head(features.requires_grad_(), labels)
    found = head.last_statistics
    assert "pns" not in found  # its weight is 0
    torch.testing.assert_close(found["vmf"] + found["pps"] + found["pp"], value.detach())
    norms = features.detach().norm(dim=1)
    torch.testing.assert_close(found["norm_p05"], norms.quantile(0.05))
    torch.testing.assert_close(found["norm_p95"], norms.quantile(0.95))
    cosines = torch.cosine_similarity(features.detach(), prototypes[labels])
    expected = torch.corrcoef(torch.stack([norms, cosines]))[0, 1]
    torch.testing.assert_close(found["norm_cosine_correlation"], expected)
    assert not any(number.requires_grad for number in found.values())


class Watch(TorchDispatchMode):
    """Keeps the number of cells of the largest tensor that appeared."""

    cells = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for output in result if isinstance(result, tuple | list) else [result]:
            if isinstance(output, Tensor):
                self.cells = max(self.cells, output.numel())
        return result


@pytest.mark.parametrize("family", FAMILIES)
def test_streaming_never_forms_a_matrix_over_all_classes(family: str) -> None:
    batch, classes, dim, chunk = 48, 2000, 4, 64
    features, labels = torch.randn(batch, dim), torch.arange(batch)
    cells = {}
    for size in (None, chunk):
        head = IdentityHead(classes, dim, make_loss("lh2face", proxy_family=family), chunk=size)
        with Watch() as watch:
            head(features.requires_grad_(), labels).backward()
        cells[size] = watch.cells
    assert cells[None] >= 2 * batch * classes
    # The gradient of the prototypes; a column of samples or proxies alone would be 96,000.
    assert cells[chunk] == classes * dim


def test_one_walk_forward_and_one_back(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = {"others": 0, "class_terms": 0}
    for method in visits:
        original = getattr(LH2Face, method)

        def counted(self, *arguments, name=method, original=original):
            visits[name] += 1
            return original(self, *arguments)

        monkeypatch.setattr(LH2Face, method, counted)
    features, labels, prototypes = drawn(classes=10)
    value = head_on(prototypes, 4)(features.requires_grad_(), labels)
    assert visits == {"others": 3, "class_terms": 3}
    value.backward()
    assert visits == {"others": 6, "class_terms": 6}


@pytest.mark.parametrize("weights", [[1, 0, 0], NO_PROXIES])
def test_terms_of_weight_zero_cost_nothing(weights: object) -> None:
    loss = make_loss("lh2face", proxy_weights=weights)
    assert not loss.has_proxy_rows
    assert loss.class_sums == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin_ratio": -1.0}, "margin_ratio must be finite and at least 0, got -1.0"),
        ({"proxy_weights": (1.0, 1.0)}, r"proxy_weights must be 3 numbers, got \(1.0, 1.0\)"),
        ({"proxy_weights": (1.0, -2.0, 1.0)}, "proxy_weights must be finite and at least 0"),
        ({"norm_range": (5.0, 5.0)}, r"norm_range must rise, got \(5.0, 5.0\)"),
        ({"mean_norm": "bach"}, "did you mean 'batch'"),
        ({"proxy_family": "ancor"}, "did you mean 'anchor'"),
        ({"proxy_similarity": "cosin"}, "did you mean 'cosine'"),
        (
            {"detach_mean": False, "mean_norm": "ema"},
            "detach_mean=False needs mean_norm='batch', got 'ema'",
        ),
        (
            {"proxy_similarity": "cosine", "proxy_family": "angular"},
            "proxy_similarity='cosine' needs proxy_family='anchor', got 'angular'",
        ),
        ({"detach_norm": True}, "detach_norm needs proxy_family='likelihood', got 'anchor'"),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_loss("lh2face", **options)
