import math
import subprocess
import sys
from functools import partial

import pytest
import torch

from marginface.heads import IdentityHead
from marginface.heads.inputs import checked_labels
from marginface.losses import LOSSES, make_loss


def head_of(chunk: int | None = None, name: str = "elasticface-arc-plus") -> IdentityHead:
    generator = torch.Generator().manual_seed(5)
    return IdentityHead(6, 4, make_loss(name), chunk=chunk, generator=generator)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(8, 4, generator=generator) * 20, torch.tensor([0, 5, -1, 2, 2, -1, 3, 1])


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("name", ["elasticface-arc-plus", "adaface", "sface", "lh2face"])
def test_ignored_rows_are_as_if_absent(chunk: int | None, name: str) -> None:
    features, labels = batch()
    with_all, without = features.clone().requires_grad_(), features[labels >= 0].requires_grad_()
    one, two = head_of(chunk, name), head_of(chunk, name)
    torch.manual_seed(0)
    value = one(with_all, labels)
    torch.manual_seed(0)
    expected = two(without, labels[labels >= 0])
    value.backward()
    expected.backward()
    assert value == expected
    assert torch.equal(with_all.grad[labels >= 0], without.grad)
    assert with_all.grad[labels < 0].abs().sum() == 0
    assert torch.equal(one.prototypes.grad, two.prototypes.grad)


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nothing_labelled_gives_zero_with_zero_gradients(chunk: int | None, reduction: str) -> None:
    features, _ = batch()
    features[0] = math.inf
    features.requires_grad_()
    head = head_of(chunk)
    value = head(features, torch.full((8,), -1), reduction=reduction)
    value.backward()
    assert value.item() == 0
    assert features.grad.abs().sum() == 0
    assert head.prototypes.grad.abs().sum() == 0


@pytest.mark.parametrize("chunk", [None, 4])
def test_sum_is_mean_times_labelled_rows(chunk: int | None) -> None:
    features, labels = batch()
    torch.manual_seed(0)
    mean = head_of(chunk)(features, labels)
    torch.manual_seed(0)
    total = head_of(chunk)(features, labels, reduction="sum")
    torch.testing.assert_close(total, 6 * mean)


def test_sums_of_parts_give_the_gradient_of_the_whole() -> None:
    features, labels = batch()
    whole, parts = head_of(name="cosface"), head_of(name="cosface")
    whole(features, labels).backward()
    for rows in (slice(0, 3), slice(3, 8)):
        (parts(features[rows], labels[rows], reduction="sum") / 6).backward()
    torch.testing.assert_close(parts.prototypes.grad, whole.prototypes.grad)


def test_initial_prototypes_come_from_the_generator() -> None:
    assert torch.equal(head_of().prototypes, head_of().prototypes)
    large = IdentityHead(200, 50, make_loss("softmax"))
    assert large.prototypes.std().item() == pytest.approx(0.01, rel=0.05)
    assert large.prototypes.mean().item() == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("chunk", [None, 4])
def test_statistics_of_the_last_batch(chunk: int | None) -> None:
    features, labels = batch()
    head = head_of(chunk)
    head(features.requires_grad_(), labels)
    kept = features.detach()[labels >= 0]
    cosines = torch.cosine_similarity(kept, head.prototypes.detach()[labels[labels >= 0]])
    torch.testing.assert_close(head.last_statistics["own_cosine"], cosines.mean())
    torch.testing.assert_close(head.last_statistics["norm"], kept.norm(dim=1).mean())
    assert not any(value.requires_grad for value in head.last_statistics.values())


def test_logits_are_what_the_softmax_sees() -> None:
    features, labels = batch()
    head = head_of(name="arcface")
    logits = head.logits(features, labels)
    assert logits.shape == (8, 6)
    expected = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-1)
    torch.testing.assert_close(head(features, labels), expected)
    is_own = torch.nn.functional.one_hot(labels.clamp(min=0), 6).bool() & (labels >= 0)[:, None]
    cosines = torch.cosine_similarity(features[:, None], head.prototypes[None], dim=2)
    torch.testing.assert_close(logits[~is_own], 64 * cosines[~is_own])
    assert (logits[is_own] < 64 * cosines[is_own]).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_logits_have_a_row_for_every_ignored_row(name: str) -> None:
    """Its scores are cosines times the loss's scale, and the other rows are as without it."""
    features, labels = batch()
    head = head_of(name=name)
    torch.manual_seed(0)
    logits = head.logits(features.requires_grad_(), labels)
    torch.manual_seed(0)
    kept = head.logits(features[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(logits[labels >= 0], kept)
    cosines = torch.cosine_similarity(features[:, None], head.prototypes[None], dim=2)
    ignored = labels < 0
    assert cosines[ignored].max() < math.cos(0.5)  # nothing that CurricularFace weighs anew
    is_scaled_by_length = name in ("sphereface", "lh2face")
    scale = features.norm(dim=1)[ignored, None] if is_scaled_by_length else 64
    torch.testing.assert_close(logits[ignored], scale * cosines[ignored])
    alone = head.logits(features, torch.full_like(labels, -1))
    torch.testing.assert_close(alone[ignored], logits[ignored])
    alone.sum().backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_value_is_float32_or_float64(chunk: int | None, dtype: torch.dtype) -> None:
    features, labels = batch()
    leaf = features.to(dtype).requires_grad_()
    head = head_of(chunk)
    value = head(leaf, labels)
    value.backward()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert leaf.grad.dtype == dtype
    assert head.prototypes.grad.dtype == torch.float32


@pytest.mark.parametrize("chunk", [None, 4])
def test_autocast_changes_nothing(chunk: int | None) -> None:
    features, labels = batch()
    plain = head_of(chunk, "arcface")(features, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head_of(chunk, "arcface")(features, labels), plain)


@pytest.mark.parametrize("frozen", ["prototypes", "features"])
@pytest.mark.parametrize("chunk", [None, 4])
def test_one_side_may_be_frozen(frozen: str, chunk: int | None) -> None:
    features, labels = batch()
    head, whole = head_of(chunk, "magface"), head_of(chunk, "magface")
    whole(features.clone().requires_grad_(), labels).backward()
    if frozen == "prototypes":
        head.prototypes.requires_grad_(False)
        head(features.requires_grad_(), labels).backward()
        assert head.prototypes.grad is None
        assert features.grad.abs().sum() > 0
    else:
        head(features, labels).backward()
        torch.testing.assert_close(head.prototypes.grad, whole.prototypes.grad)


@pytest.mark.parametrize("chunk", [None, 4])
def test_prototypes_without_direction_get_no_gradient(chunk: int | None) -> None:
    features, labels = batch()
    head = head_of(chunk, "cosface")
    with torch.no_grad():
        head.prototypes[2] = 0
    head(features, labels).backward()
    assert head.prototypes.grad.isfinite().all()
    assert head.prototypes.grad[2].abs().sum() == 0
    assert head.prototypes.grad[1].abs().sum() > 0


def test_streaming_never_forms_the_whole_matrix() -> None:
    """Largest tensor of the streamed pass: the gradient of the prototypes, not batch × classes."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        cells = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            outputs = result if isinstance(result, tuple | list) else [result]
            for output in outputs:
                if isinstance(output, torch.Tensor) and output.layout == torch.strided:
                    self.cells = max(self.cells, output.numel())
            return result

    features, labels = torch.randn(96, 4), torch.arange(96)
    cells = {}
    for chunk in (None, 16):
        head = IdentityHead(600, 4, make_loss("arcface"), chunk=chunk)
        with Largest() as largest:
            head(features.requires_grad_(), labels).backward()
        cells[chunk] = largest.cells
    assert cells[None] >= 96 * 600
    assert cells[16] == 600 * 4


@pytest.mark.parametrize("chunk", [None, 4])
def test_prototypes_gradient_is_dense_and_accumulates(chunk: int | None) -> None:
    features, labels = batch()
    head = head_of(chunk, "arcface")
    head(features, labels).backward()
    once = head.prototypes.grad.clone()
    head(features, labels).backward()
    assert head.prototypes.grad.layout == torch.strided
    torch.testing.assert_close(head.prototypes.grad, 2 * once)


def message_of(call) -> str:
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    return str(caught.value)


def test_labels_out_of_range() -> None:
    features, labels = batch()
    labels[3] = 6
    assert message_of(lambda: head_of()(features, labels)) == (
        "labels must lie in [0, 5], or be -1 to ignore a row, got 6; "
        "is num_identities that of the data set?"
    )
    labels[3] = -2
    assert "got -2" in message_of(lambda: head_of()(features, labels))


def test_shapes_and_types_without_the_annotation_check() -> None:
    features, labels = batch()
    check = partial(checked_labels, classes=6, dim=4)
    assert message_of(lambda: check(features[:, :3], labels)) == (
        "features must have shape (batch, 4), got (8, 3)"
    )
    assert message_of(lambda: check(features, labels[:2])) == (
        "labels must have shape (8,), got (2,)"
    )
    assert message_of(lambda: check(features, labels.float())) == (
        "labels must be int64 class indices, got torch.float32"
    )
    assert message_of(lambda: head_of()(features, labels, reduction="men")) == (
        "reduction must be one of mean, sum; got 'men'; did you mean 'mean'?"
    )


def test_switches() -> None:
    loss = make_loss("softmax")
    assert message_of(lambda: IdentityHead(1, 4, loss)) == (
        "num_identities must be at least 2, got 1; "
        "one person alone has nobody to be told apart from"
    )
    assert message_of(lambda: IdentityHead(3, 0, loss)) == "dim must be at least 1, got 0"
    assert message_of(lambda: IdentityHead(3, 4, loss, chunk=0)) == (
        "chunk must be None or at least 1 class, got 0"
    )
    for rate in (0.0, 1.5, -1.0, float("nan")):
        assert message_of(lambda rate=rate: IdentityHead(3, 4, loss, sample_rate=rate)) == (
            f"sample_rate must lie in (0, 1], got {rate}"
        )
    assert message_of(lambda: IdentityHead(3, 4, loss, precision="float8")).startswith(
        "precision must be one of float32, float32-cached, bfloat16, bfloat16-cached; got 'float8'"
    )


def test_int32_labels_and_an_empty_batch() -> None:
    features, labels = batch()
    head = head_of(name="cosface")
    torch.testing.assert_close(head(features, labels.int()), head(features, labels))
    assert head(features[:0], labels[:0]).item() == 0


COMPILED = """
import torch
from marginface.heads import IdentityHead
from marginface.losses import make_loss

torch.manual_seed(0)
features, labels = torch.randn(8, 4), torch.tensor([0, 5, -1, 2, 2, -1, 3, 1])
for chunk in (None, 4):
    head = IdentityHead(6, 4, make_loss("arcface"), chunk=chunk)
    compiled = torch.compile(head, backend="eager")
    torch.testing.assert_close(compiled(features, labels), head(features, labels))
"""


@pytest.mark.slow
def test_compiled_keeps_the_value() -> None:
    """In a process of its own: the annotation check of the tests cannot be traced. About 15 s."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True)
