import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marginface.heads import IdentityHead
from marginface.heads.sampling import choose_classes
from marginface.losses import LOSSES, make_loss


@given(
    count=st.integers(1, 60),
    rate=st.floats(0.01, 1),
    seed=st.integers(0, 99),
    share=st.floats(0, 1),
    least=st.integers(1, 2),
)
def test_present_classes_are_always_chosen(
    count: int, rate: float, seed: int, share: float, least: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    present = torch.randperm(count, generator=generator)[: int(share * count)].sort().values
    chosen = choose_classes(count, rate, present, generator, least=least)
    assert set(present.tolist()) <= set(chosen.tolist())
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == max(int(-(-rate * count // 1)), len(present), min(least, count))


def test_the_others_are_chosen_evenly() -> None:
    present = torch.tensor([0, 5])
    generator = torch.Generator().manual_seed(0)
    times = torch.zeros(40)
    for _ in range(2000):
        times[choose_classes(40, 0.5, present, generator)] += 1
    assert times[present].tolist() == [2000, 2000]
    others = times[times < 2000] / 2000
    assert len(others) == 38
    assert others.mean().item() == pytest.approx(18 / 38)
    assert others.std().item() < 4 * (0.25 / 2000) ** 0.5


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("name", list(LOSSES))
def test_equals_a_head_of_the_chosen_classes(name: str, chunk: int | None) -> None:
    head = IdentityHead(20, 5, make_loss(name), sample_rate=0.4, chunk=chunk).double()
    features = (torch.randn(6, 5, dtype=torch.float64) * 10).requires_grad_()
    labels = torch.tensor([3, 3, 11, -1, 0, 19])
    torch.manual_seed(1)
    value = head(features, labels)
    value.backward()
    chosen = head.prototypes.grad.abs().sum(dim=1).nonzero()[:, 0]
    if len(chosen) < 8:  # SFace pushes away only the near ones, so some of the chosen have none
        assert name == "sface"
        torch.manual_seed(1)
        chosen = chosen_by(head, labels[labels >= 0])
    assert len(chosen) == 8
    small = IdentityHead(8, 5, make_loss(name)).double()
    with torch.no_grad():
        small.prototypes.copy_(head.prototypes[chosen])
    inner = torch.searchsorted(chosen, labels).where(labels >= 0, -1)
    leaf = features.detach().requires_grad_()
    torch.manual_seed(1)
    expected = small(leaf, inner)
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(features.grad, leaf.grad)
    torch.testing.assert_close(head.prototypes.grad[chosen], small.prototypes.grad)


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in LOSSES]
    + [("lh2face", {"proxy_family": family}) for family in ("angular", "likelihood")],
)
def test_a_batch_of_one_person_meets_another_class(
    name: str, options: dict[str, str], chunk: int | None
) -> None:
    # A tenth of ten classes would be the own one alone.
    head = IdentityHead(10, 8, make_loss(name, **options), sample_rate=0.1, chunk=chunk)
    features = (torch.randn(4, 8) * 10).requires_grad_()
    value = head(features, torch.full((4,), 3))
    value.backward()
    assert value.isfinite()
    assert features.grad.isfinite().all()
    moved = head.prototypes.grad.abs().sum(dim=1) > 0
    assert moved[3]
    assert moved.sum() == 2


def chosen_by(head: IdentityHead, labels: torch.Tensor) -> torch.Tensor:
    return head._sampled(labels)


def test_rate_one_draws_nothing_and_evaluation_visits_all() -> None:
    features, labels = torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    generator = torch.Generator().manual_seed(0)
    full = IdentityHead(20, 5, make_loss("arcface"), sample_rate=1.0, generator=generator)
    generator = torch.Generator().manual_seed(0)
    some = IdentityHead(20, 5, make_loss("arcface"), sample_rate=0.3, generator=generator)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    value = full(features, labels)
    assert torch.equal(before, torch.get_rng_state())
    assert some(features, labels) < value
    assert torch.equal(some.eval()(features, labels), value)
