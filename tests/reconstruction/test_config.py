"""The ramp of λ_canon and what the config refuses."""

import pytest

from marginface.reconstruction import ReconstructionConfig


@pytest.mark.parametrize(
    ("share", "weight"), [(0.0, 0.0), (0.1, 0.0), (0.175, 0.25), (0.25, 0.5), (1.0, 0.5)]
)
def test_ramp(share: float, weight: float) -> None:
    assert ReconstructionConfig().canon_weight_at(share) == pytest.approx(weight)


def test_no_ramp_begins_at_once() -> None:
    config = ReconstructionConfig(ramp_start=0.0, ramp_end=0.0)
    assert config.canon_weight_at(0.0) == config.canon_weight


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reco_weight", -1.0),
        ("canon_weight", float("nan")),
        ("lr", 0.0),
        ("ramp_end", 0.05),
        ("view_terms", ("cannon",)),
        ("fr_input", "depth"),
        ("canon_statistics", "none"),
    ],
)
def test_refuses(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"reconstruction\."):
        ReconstructionConfig(**{field: value})
