"""The learning rate at chosen steps, by hand."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.training import ScheduleConfig
from marginface.training.schedule import rate_at


def rates(total: int, **options: object) -> list[float]:
    schedule = ScheduleConfig(**options)  # type: ignore[arg-type]
    return [rate_at(step, total=total, schedule=schedule) for step in range(total)]


def test_warmup_rises_evenly_and_reaches_one_when_it_ends() -> None:
    assert rates(6, kind="constant", warmup_steps=3) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_step_drops_at_its_milestones() -> None:
    found = rates(10, kind="step", milestones=(0.3, 0.8), gamma=0.1)
    assert found == pytest.approx([1.0] * 3 + [0.1] * 5 + [0.01] * 2, rel=1e-12)


def test_polynomial_falls_to_its_end() -> None:
    assert rates(4, kind="polynomial") == [1.0, 0.75, 0.5, 0.25]
    assert rates(4, kind="polynomial", power=2.0) == [1.0, 0.5625, 0.25, 0.0625]
    assert rates(4, kind="polynomial", final_ratio=0.2) == pytest.approx([1.0, 0.8, 0.6, 0.4])


def test_cosine_halves_in_the_middle_after_the_warmup() -> None:
    found = rates(10, kind="cosine", warmup_steps=2)
    assert found[2] == 1.0
    assert found[6] == pytest.approx(0.5)
    assert found[9] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)


def test_the_published_drops_of_elasticface_are_met() -> None:
    # Epochs 7, 13, 19 and 24 of 26, 295,672 steps: the drops of the released training.
    shares = tuple(epoch / 26 for epoch in (7, 13, 19, 24))
    schedule = ScheduleConfig(kind="step", milestones=shares)
    for step in (79_604, 147_836, 216_068, 272_928):
        before = rate_at(step - 1, total=295_672, schedule=schedule)
        assert rate_at(step, total=295_672, schedule=schedule) == pytest.approx(0.1 * before)


@given(
    kind=st.sampled_from(["polynomial", "cosine"]),
    total=st.integers(1, 400),
    warmup=st.integers(0, 500),
    end=st.floats(0, 1),
)
def test_after_the_warmup_the_rate_never_rises_nor_leaves_its_range(
    kind: str, total: int, warmup: int, end: float
) -> None:
    found = rates(total, kind=kind, warmup_steps=warmup, final_ratio=end)
    after = found[warmup:]
    assert all(earlier >= later for earlier, later in itertools.pairwise(after))
    assert all(0 < rate <= 1 for rate in found)


def test_a_step_past_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"step must lie in \[0, 5\), got 5"):
        rate_at(5, total=5, schedule=ScheduleConfig())
