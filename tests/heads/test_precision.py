"""Every precision keeps the error it states, beside float64, at the loss and the scale it says."""

import pytest
import torch
from torch import Tensor

from marginface.heads import IdentityHead
from marginface.heads.pooling import CHUNK
from marginface.heads.precision import PRECISIONS
from marginface.losses import LOSSES, make_loss

every_precision = pytest.mark.parametrize("precision", list(PRECISIONS))


def problem(batch: int, classes: int, dim: int, mean: float) -> tuple[Tensor, Tensor, Tensor]:
    """A batch half trained: rows near their classes, and classes that share a direction.

    Args:
        mean: Cosine that two classes have on average.
    """
    generator = torch.Generator().manual_seed(batch + classes)
    shared = torch.randn(dim, generator=generator)
    prototypes = torch.randn(classes, dim, generator=generator)
    prototypes = (1 - mean) ** 0.5 * prototypes + mean**0.5 * shared
    labels = torch.randint(0, classes, (batch,), generator=generator)
    noise = torch.randn(batch, dim, generator=generator)
    return prototypes[labels] + 1.5 * noise, labels, 0.01 * prototypes


def gradients(
    name: str,
    inputs: tuple[Tensor, Tensor, Tensor],
    dtype: torch.dtype,
    *,
    precision: str = "float32",
    chunk: int | None = 1024,
) -> tuple[Tensor, Tensor]:
    features, labels, prototypes = inputs
    head = IdentityHead(*prototypes.shape, make_loss(name), chunk=chunk, precision=precision).to(
        dtype
    )
    with torch.no_grad():
        head.prototypes.copy_(prototypes)
    leaf = features.to(dtype, copy=True).requires_grad_()
    torch.manual_seed(0)
    head(leaf, labels).backward()
    return leaf.grad.double(), head.prototypes.grad.double()


def errors(name: str, inputs: tuple[Tensor, Tensor, Tensor], precision: str) -> list[float]:
    exact = gradients(name, inputs, torch.float64)
    found = gradients(name, inputs, torch.float32, precision=precision)
    return [float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]


@every_precision
@pytest.mark.parametrize("mean", [0.0, 0.07])
@pytest.mark.parametrize("name", ["arcface", "cosface", "adaface", "elasticface-arc", "sface"])
def test_error_is_as_stated(name: str, mean: float, precision: str) -> None:
    inputs = problem(48, 3000, 512, mean)
    assert max(errors(name, inputs, precision)) <= PRECISIONS[precision].gradient_error


@pytest.mark.slow
@every_precision
@pytest.mark.parametrize("mean", [0.0, 0.07])
@pytest.mark.parametrize("name", ["arcface", "sface"])
def test_error_is_as_stated_at_85742_classes(name: str, mean: float, precision: str) -> None:
    inputs = problem(64, 85_742, 512, mean)
    assert max(errors(name, inputs, precision)) <= PRECISIONS[precision].gradient_error


@every_precision
@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_runs_in_every_precision(name: str, precision: str) -> None:
    """Fewer dimensions have larger cosines and so larger errors, but not by another order."""
    inputs = problem(16, 500, 64, 0.0)
    assert max(errors(name, inputs, precision)) <= 10 * PRECISIONS[precision].gradient_error


def test_rounding_is_really_done() -> None:
    inputs = problem(48, 3000, 128, 0.0)
    plain, kept, half, both = (max(errors("arcface", inputs, name)) for name in PRECISIONS)
    assert plain < 1e-5 < kept < half
    assert kept < both


def test_any_other_precision_than_float32_streams_without_a_chunk() -> None:
    inputs = problem(8, 2500, 16, 0.0)
    streamed = gradients("arcface", inputs, torch.float32, precision="bfloat16", chunk=CHUNK)
    whole = gradients("arcface", inputs, torch.float32, precision="bfloat16", chunk=None)
    torch.testing.assert_close(streamed, whole)
