"""What each process of a group computes for `test_sharding`; also what one process alone does."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import SGD

from marginface.heads import IdentityHead
from marginface.losses import make_loss

ROWS = 9
# Of a few classes there are more dimensions than rows and proxies, of the others fewer: products
# wait in the gradient, or are computed again.
DIM, LARGE_DIM = 6, 20
Case = tuple[str, dict[str, Any], int, int | None]


def dim_of(classes: int) -> int:
    return LARGE_DIM if classes < ROWS else DIM


def problem(classes: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    dim = dim_of(classes)
    features = torch.randn(ROWS, dim, generator=generator, dtype=torch.float64) * 12
    prototypes = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, classes, (ROWS,), generator=generator)
    labels[0], labels[1], labels[8] = classes - 1, 0, 0
    return features, prototypes, labels


def share_of_rows() -> slice:
    """Uneven shares: the first process takes two rows, the last all that is left."""
    if not dist.is_initialized():
        return slice(0, ROWS)
    rank, size = dist.get_rank(), dist.get_world_size()
    ends = [min(2 + 3 * r, ROWS) for r in range(size)]
    ends[-1] = ROWS
    return slice(0 if rank == 0 else ends[rank - 1], ends[rank])


def head_of(name: str, options: dict[str, Any], classes: int, **switches: Any) -> IdentityHead:
    group = dist.group.WORLD if dist.is_initialized() else None
    loss = make_loss(name, **options)
    head = IdentityHead(classes, dim_of(classes), loss, process_group=group, **switches).double()
    _, prototypes, _ = problem(classes)
    with torch.no_grad():
        head.prototypes.copy_(prototypes[head.classes.start : head.classes.stop])
    return head


def seed_first() -> None:
    """Only process 0 has the seed that one process would have."""
    torch.manual_seed(11 if not dist.is_initialized() or dist.get_rank() == 0 else 99)


def one_step(case: Case) -> dict[str, Tensor]:
    """Value, gradients and statistics of one batch."""
    name, options, classes, chunk = case
    head = head_of(name, options, classes, chunk=chunk)
    features, _, labels = problem(classes)
    mine = share_of_rows()
    leaf = features[mine].clone().requires_grad_()
    seed_first()
    value = head(leaf, labels[mine])
    value.backward()
    return {
        "value": value.detach(),
        "features": leaf.grad,
        "prototypes": head.prototypes.grad,
        "own_cosine": head.last_statistics["own_cosine"],
        **{key: item.clone() for key, item in head.loss.named_buffers()},
    }


def descent(name: str, sample_rate: float, *, in_walk: bool) -> dict[str, Tensor]:
    """Some steps of gradient descent; the class vectors at the end, and how many moved at last."""
    head = head_of(name, {}, 13, chunk=2, sample_rate=sample_rate)
    optimizer = SGD(head.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01)
    if in_walk:
        head.update_in_walk(optimizer)
    features, _, labels = problem(13)
    mine = share_of_rows()
    seed_first()
    for _ in range(4):
        before = head.prototypes.detach().clone()
        head(features[mine], labels[mine]).backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = (head.prototypes.detach() != before).any(dim=1)
    return {"prototypes": head.prototypes.detach(), "moved": moved}


def everything(cases: list[Case]) -> dict[Any, dict[str, Tensor]]:
    """Return the results of all checks of this process, by check."""
    results: dict[Any, dict[str, Tensor]] = {}
    for number, case in enumerate(cases):
        results[number] = one_step(case)
    for name in ("arcface", "sface", "lh2face"):
        for in_walk in (False, True):
            results["descent", name, in_walk] = descent(name, 1.0, in_walk=in_walk)
    results["sampled"] = descent("elasticface-arc-plus", 0.5, in_walk=True)
    results["sampled lh2face"] = descent("lh2face", 0.5, in_walk=True)
    for family in ("angular", "likelihood"):
        results["one person", family] = one_person(family)
    results["first"] = first_prototypes()
    results["logits"] = logits()
    results["random"] = own_random_numbers()
    results["unlabelled"] = unlabelled()
    return results


def one_person(family: str) -> dict[str, Tensor]:
    """One batch of one person, of whose process a tenth of the classes is that person alone."""
    head = head_of("lh2face", {"proxy_family": family}, 13, sample_rate=0.1)
    features, _, _ = problem(13)
    mine = share_of_rows()
    leaf = features[mine].clone().requires_grad_()
    value = head(leaf, torch.full((len(leaf),), 3))
    value.backward()
    return {"value": value.detach(), "features": leaf.grad, "prototypes": head.prototypes.grad}


def first_prototypes() -> dict[str, Tensor]:
    group = dist.group.WORLD if dist.is_initialized() else None
    torch.manual_seed(4)
    head = IdentityHead(9_001, 3, make_loss("softmax"), process_group=group)
    return {"prototypes": head.prototypes.detach(), "next": torch.rand(1)}


def logits() -> dict[str, Tensor]:
    head = head_of("arcface", {}, 13)
    features, _, labels = problem(13)
    mine = share_of_rows()
    return {"logits": head.logits(features[mine], labels[mine]).detach()}


def own_random_numbers() -> dict[str, Tensor]:
    """The number a process draws after a step; only the first may have been moved by the step."""
    head = head_of("elasticface-arc", {}, 13)
    features, _, labels = problem(13)
    mine = share_of_rows()
    seed_first()
    head(features[mine], labels[mine])
    return {"next": torch.rand(1)}


def unlabelled() -> dict[str, Tensor]:
    """Batches of which only one process, or none, has labels."""
    head = head_of("arcface", {}, 13, chunk=4)
    features, _, labels = problem(13)
    mine = share_of_rows()
    only_first = torch.where(torch.arange(ROWS) < 2, labels.abs(), -1)
    value = head(features[mine], only_first[mine])
    nothing = head(features[mine], torch.full_like(labels, -1)[mine])
    nothing.backward()
    return {"value": value.detach(), "nothing": nothing.detach()}
