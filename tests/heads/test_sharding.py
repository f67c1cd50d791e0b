"""A head on several processes computes what one process does, for every loss of the table."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from marginface.losses import LOSSES
from tests.contracts.test_every_loss import CASES
from tests.heads import sharded
from tests.processes import run_on

# 13 classes are uneven on 2, 3 and 4 processes; 5 on 4 leave the last one without any.
ALL: list[sharded.Case] = [(name, options, 13, 2) for name, options in CASES]
ALL += [(name, {}, 13, None) for name in LOSSES]
ALL += [(name, {}, 5, 2) for name in LOSSES]
ALL += [(name, {}, 5, None) for name in list(LOSSES)[1::2]]
on_processes = pytest.mark.parametrize("processes", [1, 2, 3, 4])


@cache
def results_on(processes: int) -> list[dict[Any, dict[str, Tensor]]]:
    return run_on(processes, sharded.everything, ALL)


@cache
def alone() -> dict[Any, dict[str, Tensor]]:
    state = torch.get_rng_state()
    try:
        return sharded.everything(ALL)
    finally:
        torch.set_rng_state(state)


def joined(processes: int, check: Any, key: str) -> Tensor:
    return torch.cat([of_one[check][key] for of_one in results_on(processes)])


@on_processes
@pytest.mark.parametrize("number", range(len(ALL)), ids=lambda n: f"{ALL[n][0]}-{n}")
def test_equals_one_process(processes: int, number: int) -> None:
    expected = alone()[number]
    for key in ("features", "prototypes"):
        torch.testing.assert_close(
            joined(processes, number, key), expected[key], rtol=1e-10, atol=1e-11
        )
    for of_one in results_on(processes):
        for key in expected.keys() - {"features", "prototypes"}:
            torch.testing.assert_close(of_one[number][key], expected[key], rtol=1e-11, atol=1e-12)


@on_processes
@pytest.mark.parametrize("in_walk", [False, True])
@pytest.mark.parametrize("name", ["arcface", "sface", "lh2face"])
def test_descends_as_one_process(processes: int, name: str, in_walk: bool) -> None:
    check = ("descent", name, in_walk)
    expected = alone()["descent", name, False]["prototypes"]
    torch.testing.assert_close(
        joined(processes, check, "prototypes"), expected, rtol=1e-9, atol=1e-10
    )


@on_processes
@pytest.mark.parametrize("check", ["sampled", "sampled lh2face"])
def test_each_process_samples_its_own_classes(processes: int, check: str) -> None:
    moved = joined(processes, check, "moved")
    _, _, labels = sharded.problem(13)
    assert bool(moved[labels[labels >= 0].unique()].all())
    for of_one in results_on(processes):
        mine = of_one[check]["moved"]
        assert -(-len(mine) // 2) <= int(mine.sum()) <= len(mine)
    assert int(moved.sum()) < 13


@on_processes
@pytest.mark.parametrize("family", ["angular", "likelihood"])
def test_a_batch_of_one_person_meets_another_class(processes: int, family: str) -> None:
    for of_one in results_on(processes):
        for found in of_one["one person", family].values():
            assert found.isfinite().all()
    moved = joined(processes, ("one person", family), "prototypes").abs().sum(dim=1) > 0
    assert bool(moved[3])
    assert int(moved.sum()) >= 2


@on_processes
def test_first_prototypes_are_those_of_one_process(processes: int) -> None:
    assert torch.equal(joined(processes, "first", "prototypes"), alone()["first"]["prototypes"])
    for of_one in results_on(processes):
        assert torch.equal(of_one["first"]["next"], alone()["first"]["next"])


@on_processes
def test_logits_of_its_own_rows(processes: int) -> None:
    torch.testing.assert_close(joined(processes, "logits", "logits"), alone()["logits"]["logits"])


@on_processes
def test_only_the_first_process_is_moved_by_the_draws(processes: int) -> None:
    first, *others = [of_one["random"]["next"] for of_one in results_on(processes)]
    assert torch.equal(first, alone()["random"]["next"])
    expected = torch.rand(1, generator=torch.Generator().manual_seed(99))
    assert all(torch.equal(other, expected) for other in others)


@on_processes
def test_labels_on_one_process_or_none(processes: int) -> None:
    for of_one in results_on(processes):
        torch.testing.assert_close(of_one["unlabelled"], alone()["unlabelled"])
        assert of_one["unlabelled"]["nothing"] == 0
