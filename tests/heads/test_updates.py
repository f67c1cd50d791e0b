"""Descent inside the walk equals the optimiser after it, step for step."""

import copy

import pytest
import torch
from torch.optim import SGD, Adam

from marginface.heads import IdentityHead
from marginface.losses import LOSSES, make_loss

CLASSES, DIM, ROWS = 11, 6, 7


def head_of(name: str, **options) -> IdentityHead:
    generator = torch.Generator().manual_seed(5)
    return IdentityHead(CLASSES, DIM, make_loss(name), generator=generator, **options).double()


def optimizer_of(head: IdentityHead, momentum: float = 0.9) -> SGD:
    return SGD(head.parameters(), lr=0.3, momentum=momentum, weight_decay=0.01)


def descend(
    head: IdentityHead, optimizer: SGD, steps: int = 5, *, rate_falls: bool = True
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    seen = []
    torch.manual_seed(3)
    for step in range(steps):
        features = torch.randn(ROWS, DIM, generator=generator, dtype=torch.float64) * 12
        labels = torch.randint(-1, CLASSES, (ROWS,), generator=generator)
        labels[0] = labels[1] = 4
        features.requires_grad_()
        optimizer.param_groups[0]["lr"] = 0.3 / (step + 1) if rate_falls else 0.3
        head(features, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(features.grad)
    return seen


@pytest.mark.parametrize("chunk", [None, 1, 4, 100])
@pytest.mark.parametrize("name", list(LOSSES))
def test_equals_the_optimizer_after_the_walk(name: str, chunk: int | None) -> None:
    one, two = head_of(name, chunk=chunk), head_of(name)
    inside, after = optimizer_of(one), optimizer_of(two)
    one.update_in_walk(inside)
    seen, expected = descend(one, inside), descend(two, after)
    torch.testing.assert_close(seen, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one.prototypes, two.prototypes, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        inside.state[one.prototypes]["momentum_buffer"],
        after.state[two.prototypes]["momentum_buffer"],
        rtol=1e-10,
        atol=1e-10,
    )
    assert one.prototypes.grad is None


def test_follows_an_optimizer_that_loaded_its_state() -> None:
    """Loading gives it new groups and a new momentum; both must be the ones that are used."""
    one, two = head_of("arcface", chunk=3), head_of("arcface")
    inside, after = optimizer_of(one), optimizer_of(two)
    one.update_in_walk(inside)
    for head, optimizer in ((one, inside), (two, after)):
        descend(head, optimizer)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        descend(head, optimizer)
    torch.testing.assert_close(one.prototypes, two.prototypes, rtol=1e-10, atol=1e-10)


def test_without_momentum_nothing_is_kept() -> None:
    one, two = head_of("arcface", chunk=3), head_of("arcface")
    inside, after = optimizer_of(one, 0.0), optimizer_of(two, 0.0)
    one.update_in_walk(inside)
    descend(one, inside)
    descend(two, after)
    torch.testing.assert_close(one.prototypes, two.prototypes, rtol=1e-10, atol=1e-10)
    assert not inside.state


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_float32_equals_to_its_rounding(precision: str) -> None:
    one, two = head_of("cosface", chunk=4, precision=precision), head_of("cosface")
    one.float()
    inside, after = optimizer_of(one), optimizer_of(two)
    one.update_in_walk(inside)
    for head, optimizer in ((one, inside), (two, after)):
        generator = torch.Generator().manual_seed(7)
        features = torch.randn(ROWS, DIM, generator=generator, dtype=torch.float64)
        head(features.to(head.prototypes.dtype), torch.arange(ROWS)).backward()
        optimizer.step()
    tolerance = 1e-5 if precision == "float32" else 0.02
    error = (one.prototypes - two.prototypes).norm() / two.prototypes.norm()
    assert error < tolerance


def test_a_value_without_backward_moves_nothing() -> None:
    head = head_of("softmax", chunk=4)
    before = head.prototypes.detach().clone()
    head.update_in_walk(optimizer_of(head))
    head(torch.randn(ROWS, DIM, dtype=torch.float64), torch.arange(ROWS))
    with torch.no_grad():
        head(torch.randn(ROWS, DIM, dtype=torch.float64), torch.arange(ROWS))
    assert torch.equal(head.prototypes, before)


def test_a_batch_without_labels_moves_nothing() -> None:
    head = head_of("softmax", chunk=4)
    optimizer = optimizer_of(head)
    head.update_in_walk(optimizer)
    before = head.prototypes.detach().clone()
    features = torch.randn(ROWS, DIM, dtype=torch.float64, requires_grad=True)
    head(features, torch.full((ROWS,), -1)).backward()
    optimizer.step()
    assert torch.equal(head.prototypes, before)
    assert features.grad.abs().sum() == 0


def test_a_second_backward_is_refused() -> None:
    """The class vectors it would differentiate are no longer there."""
    head = head_of("softmax", chunk=4)
    head.update_in_walk(optimizer_of(head))
    value = head(torch.randn(ROWS, DIM, dtype=torch.float64), torch.arange(ROWS))
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass for each forward pass"):
        value.backward()


def test_two_forward_passes_before_a_backward_are_refused() -> None:
    """The first of their ways back moves what the second would differentiate."""
    head = head_of("softmax", chunk=4)
    head.update_in_walk(optimizer_of(head))
    features, labels = torch.randn(ROWS, DIM, dtype=torch.float64), torch.arange(ROWS)
    both = head(features, labels) + head(2 * features, labels)
    with pytest.raises(RuntimeError, match="one backward pass for each forward pass, before the"):
        both.backward()
    # A pass whose value was thrown away is none of them.
    head(features, labels)
    head(features, labels).backward()


def test_only_plain_descent_over_the_class_vectors() -> None:
    head = head_of("softmax", chunk=4)
    with pytest.raises(ValueError, match=r"updates in the walk need torch.optim.SGD, got Adam"):
        head.update_in_walk(Adam(head.parameters()))
    with pytest.raises(ValueError, match=r"must hold head.prototypes, got one without them"):
        head.update_in_walk(SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1))
    optimizer = SGD(head.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    with pytest.raises(ValueError, match="need nesterov=False, got True"):
        head.update_in_walk(optimizer)


@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_classes_left_out_keep_place_and_momentum(rate: float) -> None:
    head = head_of("arcface", chunk=2, sample_rate=rate)
    optimizer = optimizer_of(head)
    head.update_in_walk(optimizer)
    descend(head, optimizer)
    velocity = optimizer.state[head.prototypes]["momentum_buffer"]
    labels = torch.tensor([2, 2, 9])
    for _ in range(4):
        before, momentum = head.prototypes.detach().clone(), velocity.clone()
        head(torch.randn(3, DIM, dtype=torch.float64) * 9, labels).backward()
        moved = (head.prototypes != before).any(dim=1)
        assert int(moved.sum()) == -(-int(rate * 10 * CLASSES) // 10)
        assert bool(moved[2])
        assert bool(moved[9])
        assert torch.equal((velocity != momentum).any(dim=1), moved)


def test_sampled_update_is_that_of_the_chosen_classes_alone() -> None:
    """The reference: a head of only the classes that moved, with its own optimiser."""
    head = head_of("cosface", chunk=2, sample_rate=0.5)
    optimizer = optimizer_of(head)
    head.update_in_walk(optimizer)
    descend(head, optimizer)
    velocity = optimizer.state[head.prototypes]["momentum_buffer"]
    before, momentum = head.prototypes.detach().clone(), velocity.clone()
    features = torch.randn(3, DIM, dtype=torch.float64) * 9
    head(features, torch.tensor([2, 2, 9])).backward()
    chosen = (head.prototypes != before).any(dim=1).nonzero()[:, 0]
    small = IdentityHead(len(chosen), DIM, make_loss("cosface")).double()
    small.load_state_dict({"prototypes": before[chosen]})
    reference = optimizer_of(small)
    reference.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]
    reference.state[small.prototypes]["momentum_buffer"] = momentum[chosen]
    small(features, torch.searchsorted(chosen, torch.tensor([2, 2, 9]))).backward()
    reference.step()
    torch.testing.assert_close(head.prototypes[chosen], small.prototypes)
