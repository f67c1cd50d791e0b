"""How recognition and reconstruction train each other: every choice with its default."""

import math
from dataclasses import dataclass

from marginface.errors import unknown_name

VIEW_TERMS = ("canon", "flip", "cycle")
FR_INPUTS = ("image", "canon", "canon+depth", "image+canon+depth")
STATISTICS = ("kept", "shared")
IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """Describe the reconstruction branch of a run.

        L = L_FR + λ_reco·L_reco + λ_canon·L_FR(canonical face) + λ_view·L_view

    Args:
        size: Working resolution S in pixels, a multiple of 16.
        width: Channels of the networks, a multiple of 8; 64 as in the antecedents.
        decoder_input: What depth and albedo are decoded from: `image`, or the name of a backbone
            stage whose feature map it is.
        has_confidence: Whether σ per pixel is learnt, for the Laplace form of the photometric term.
        depth_range: Largest shift of the head in depth; 0 keeps it at its distance.
        planes: Trial depths of the ray march.
        reco_weight: λ_reco.
        canon_weight: λ_canon at the end of its ramp.
        view_weight: λ_view.
        flip_weight: λ_f of the mirrored reconstruction, within L_reco.
        perceptual_weight: λ_p of the distance between features, within L_reco.
        perceptual_stage: Backbone stage whose output is the feature φ.
        smooth_weight: λ_sm of the depth's steepness, within L_reco.
        view_terms: Which terms L_view is the sum of.
        ramp_start: Share of the run before which λ_canon is 0; early canonical faces mean nothing.
        ramp_end: Share of the run from which λ_canon is whole.
        canon_statistics: `kept` keeps the backbone's running batch statistics to real pictures,
            `shared` lets canonical faces move them too.
        fr_input: What the recogniser looks at; other than `image`, it looks a second time at what
            was reconstructed, and its first convolution is widened by channels of zero weight.
        lr: Learning rate of Adam over the reconstruction networks, the same throughout.
        weight_decay: Of Adam.
    """

    size: int = 64
    width: int = 64
    decoder_input: str = "layer3"
    has_confidence: bool = False
    depth_range: float = 0.0
    planes: int = 48
    reco_weight: float = 1.0
    canon_weight: float = 0.5
    view_weight: float = 0.1
    flip_weight: float = 0.5
    perceptual_weight: float = 1.0
    perceptual_stage: str = "layer2"
    smooth_weight: float = 0.01
    view_terms: tuple[str, ...] = ("canon", "flip")
    ramp_start: float = 0.1
    ramp_end: float = 0.25
    canon_statistics: str = "kept"
    fr_input: str = "image"
    lr: float = 1e-4
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        weights = ("reco", "canon", "view", "flip", "perceptual", "smooth")
        for name in (*(f"{part}_weight" for part in weights), "weight_decay"):
            _not_negative(name, getattr(self, name))
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"reconstruction.lr must be a finite number above 0, got {self.lr}")
        if not 0 <= self.ramp_start <= self.ramp_end <= 1:
            raise ValueError(
                "reconstruction.ramp_start and ramp_end must be rising shares of the run in "
                f"[0, 1], got {self.ramp_start} and {self.ramp_end}"
            )
        for term in self.view_terms:
            if term not in VIEW_TERMS:
                raise unknown_name("reconstruction.view_terms", term, VIEW_TERMS)
        if self.fr_input not in FR_INPUTS:
            raise unknown_name("reconstruction.fr_input", self.fr_input, FR_INPUTS)
        if self.canon_statistics not in STATISTICS:
            raise unknown_name("reconstruction.canon_statistics", self.canon_statistics, STATISTICS)

    def canon_weight_at(self, share: float) -> float:
        """Return λ_canon when a share of the run in [0, 1] is done.

        Example:
            >>> ReconstructionConfig().canon_weight_at(0.175)
            0.25
        """
        if share <= self.ramp_start and self.ramp_start > 0:
            return 0.0
        if share >= self.ramp_end:
            return self.canon_weight
        part = (share - self.ramp_start) / (self.ramp_end - self.ramp_start)
        return round(self.canon_weight * part, 12)


def _not_negative(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"reconstruction.{name} must be 0 or a finite number above, got {value}")
