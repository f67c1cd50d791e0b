"""One step: the mean over the true batch, clipped in the backbone alone, and never a broken one."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from marginface.data import to_float
from marginface.heads import IdentityHead
from marginface.losses import make_loss
from marginface.training.step import StepOutcome, take_step


class Plain(nn.Module):
    """A network without batch normalisation, whose rows know nothing of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.linear = nn.Linear(4 * 16, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(torch.relu(self.conv(images)), 4)
        return self.linear(pooled.flatten(1))


def parts() -> tuple[Plain, IdentityHead, torch.optim.SGD]:
    backbone = Plain()
    head = IdentityHead(num_identities=5, dim=8, loss=make_loss("cosface", scale=16.0))
    return backbone, head, torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.1)


def batch(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)
    return images, torch.arange(count) % 5


def step(some: Any, images: torch.Tensor, labels: torch.Tensor, **options: Any) -> StepOutcome:
    return take_step(*some, images, labels, **options)


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_accumulated_equals_whole(accumulate: int) -> None:
    whole = parts()
    split = copy.deepcopy(whole)
    images, labels = batch()
    # Unequal shares of labelled rows are what a mean of means gets wrong.
    labels[[0, 1, 2, 3, 7]] = -1
    outcomes = [
        step(whole, images, labels),
        step(split, images, labels, accumulate=accumulate),
    ]
    assert outcomes[0].loss == pytest.approx(outcomes[1].loss, rel=1e-5)
    assert outcomes[0].gradient_norm == pytest.approx(outcomes[1].gradient_norm, rel=1e-4)
    for module in (0, 1):
        for ours, theirs in zip(
            whole[module].parameters(), split[module].parameters(), strict=True
        ):
            torch.testing.assert_close(ours, theirs)
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_it_is_the_plain_step() -> None:
    ours = parts()
    backbone, head, optimizer = copy.deepcopy(ours)
    # A deep copy of an optimiser shares nothing with the copied modules; make its own.
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.1)
    images, labels = batch()
    outcome = step(ours, images, labels)
    value = head(backbone(to_float(images)), labels)
    value.backward()
    optimizer.step()
    assert outcome.loss == pytest.approx(float(value.detach()), rel=1e-6)
    assert outcome.statistics["own_cosine"] == pytest.approx(
        float(head.last_statistics["own_cosine"]), abs=1e-6
    )
    torch.testing.assert_close(ours[0].linear.weight, backbone.linear.weight)
    torch.testing.assert_close(ours[1].prototypes, head.prototypes)


def test_only_the_backbone_is_clipped() -> None:
    free, clipped = parts(), None
    clipped = copy.deepcopy(free)
    images, labels = batch()
    norm = step(free, images, labels).gradient_norm
    outcome = step(clipped, images, labels, clip_norm=norm / 4)
    assert outcome.gradient_norm == pytest.approx(norm)
    torch.testing.assert_close(clipped[0].linear.weight.grad, free[0].linear.weight.grad / 4)
    torch.testing.assert_close(clipped[1].prototypes.grad, free[1].prototypes.grad)


def test_the_head_is_fed_float32_under_bf16() -> None:
    backbone, head, optimizer = parts()
    fed = []
    head.register_forward_pre_hook(lambda _, arguments: fed.append(arguments[0].dtype))
    seen = []
    backbone.linear.register_forward_hook(lambda *arguments: seen.append(arguments[2].dtype))
    images, labels = batch()
    outcome = take_step(backbone, head, optimizer, images, labels, uses_bf16=True)
    assert (seen, fed) == ([torch.bfloat16], [torch.float32])
    assert outcome.is_finite


def test_channels_last_reaches_the_network() -> None:
    some = parts()
    layouts = []
    some[0].register_forward_pre_hook(
        lambda _, arguments: layouts.append(
            arguments[0].is_contiguous(memory_format=torch.channels_last)
        )
    )
    images, labels = batch()
    step(some, images, labels, channels_last=True)
    step(some, images, labels)
    assert layouts == [True, False]


def test_a_broken_row_is_named_and_nothing_moves() -> None:
    some = parts()
    before = copy.deepcopy(some[0].state_dict())
    some[0].register_forward_hook(
        lambda _, __, features: features.index_fill(
            0, torch.tensor([1]), torch.nan if len(features) == 6 else 0.0
        )
    )
    images, labels = batch()
    outcome = step(some, images, labels, accumulate=2)
    assert not outcome.is_finite
    assert outcome.broken_rows == [1]
    for name, tensor in some[0].state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("module", [0, 1])
def test_an_infinite_gradient_moves_nothing(module: int) -> None:
    some = parts()
    before = [copy.deepcopy(part.state_dict()) for part in some[:2]]
    weight = some[0].linear.weight if module == 0 else some[1].prototypes
    weight.register_hook(lambda gradient: gradient.fill_(torch.inf))
    outcome = step(some, *batch())
    assert not outcome.is_finite
    for part, old in zip(some[:2], before, strict=True):
        for name, tensor in part.state_dict().items():
            assert torch.equal(tensor, old[name])
