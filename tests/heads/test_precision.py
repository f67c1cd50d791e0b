"""Every precision keeps the error it states, beside float64, at the loss and the scale it says."""

import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from marginface.heads import IdentityHead
from marginface.heads.precision import PRECISIONS, multiplies_bfloat16
from marginface.heads.streaming import CHUNK
from marginface.losses import LOSSES, make_loss

every_precision = pytest.mark.parametrize("precision", list(PRECISIONS))


@pytest.fixture(autouse=True)
def units_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that rounding is tested on every machine, by emulation where there are none."""
    monkeypatch.setattr("marginface.heads.precision.multiplies_bfloat16", lambda device: True)


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
    """Gradients of features and class vectors, the latter as an update in the walk sees them.

    A walk that stores no gradient has no memory in which products could wait for free, so what the
    precision says of them is done.
    """
    features, labels, prototypes = inputs
    head = IdentityHead(*prototypes.shape, make_loss(name), chunk=chunk, precision=precision).to(
        dtype
    )
    with torch.no_grad():
        head.prototypes.copy_(prototypes)
    descent = SGD(head.parameters(), lr=0.0, momentum=0.9)  # its first momentum is the gradient
    head.update_in_walk(descent)
    leaf = features.to(dtype, copy=True).requires_grad_()
    torch.manual_seed(0)
    head(leaf, labels).backward()
    velocity = descent.state[head.prototypes]["momentum_buffer"]
    return leaf.grad.double(), velocity.double()


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


@pytest.mark.parametrize("rows", [16, 17])
@pytest.mark.parametrize("name", ["arcface", "adaface", "magface"])
def test_products_wait_in_the_gradient_where_they_fit(name: str, rows: int) -> None:
    """Up to as many rows as dimensions: exact, though the precision keeps float16 cosines."""
    features, labels, prototypes = problem(rows, 300, 16, 0.0)
    found = []
    for precision in ("float32", "float32-cached"):
        head = IdentityHead(300, 16, make_loss(name), chunk=64, precision=precision)
        with torch.no_grad():
            head.prototypes.copy_(prototypes)
        value = head(features, labels)
        value.backward(retain_graph=True)
        first = head.prototypes.grad.clone()
        value.backward()  # the memory is given away: computed again
        torch.testing.assert_close(head.prototypes.grad, 2 * first, rtol=1e-2, atol=1e-2)
        found.append(first)
    assert torch.equal(*found) == (rows <= 16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arcface", "adaface"])
def test_waiting_products_are_exact_at_85742_classes(name: str) -> None:
    features, labels, prototypes = problem(64, 85_742, 512, 0.07)
    head = IdentityHead(85_742, 512, make_loss(name), chunk=2048)
    with torch.no_grad():
        head.prototypes.copy_(prototypes)
    leaf = features.clone().requires_grad_()
    head(leaf, labels).backward()
    exact = gradients(name, (features, labels, prototypes), torch.float64)
    for found, expected in zip((leaf.grad, head.prototypes.grad), exact, strict=True):
        assert float((found.double() - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("precision", ["bfloat16", "bfloat16-cached"])
def test_without_units_for_bfloat16_products_are_float32(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = problem(16, 500, 64, 0.0)
    plain = precision.replace("bfloat16", "float32")
    rounded = gradients("cosface", inputs, torch.float32, precision=precision)
    monkeypatch.setattr("marginface.heads.precision.multiplies_bfloat16", lambda device: False)
    found = gradients("cosface", inputs, torch.float32, precision=precision)
    expected = gradients("cosface", inputs, torch.float32, precision=plain)
    assert torch.equal(found[1], expected[1])
    assert not torch.equal(rounded[1], expected[1])


def test_graphics_processors_have_units_for_bfloat16() -> None:
    assert multiplies_bfloat16("cuda")
    assert isinstance(multiplies_bfloat16("cpu"), bool)
