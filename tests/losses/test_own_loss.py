"""The loss that docs/losses.md writes from outside of the table goes all the ways of the others."""

import re
from pathlib import Path

import pytest
import torch

from marginface.comparison.margins import margin_curve
from marginface.heads import IdentityHead
from marginface.losses import LOSSES, facts_of, make_loss
from marginface.training import LossConfig

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"


@pytest.fixture
def fading(monkeypatch: pytest.MonkeyPatch) -> str:
    (block,) = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    monkeypatch.setitem(LOSSES, "fading", LOSSES["cosface"])  # takes the row away again
    exec(compile(block, str(PAGE), "exec"), {"__name__": "of_the_page"})
    return "fading"


def test_streamed_equals_dense(fading: str) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 3, 3, 9, -1, 5])
    values = []
    for chunk in (None, 4):
        head = IdentityHead(10, 8, make_loss(fading, scale=16.0), chunk=chunk).double()
        with torch.no_grad():
            prototypes = torch.randn(10, 8, generator=torch.Generator().manual_seed(1))
            head.prototypes.copy_(prototypes)
        values.append(head(features, labels))
    torch.testing.assert_close(*values, rtol=1e-11, atol=0)


def test_it_can_be_drawn_and_told(fading: str) -> None:
    curve = margin_curve(LossConfig(name=fading), points=3)
    assert curve["target"] == pytest.approx([0.65, -0.175, -1.0])
    assert facts_of(LOSSES[fading]).defaults == {"margin_cosine": 0.35, "scale": 64.0}
