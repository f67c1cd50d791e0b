"""Recognition and reconstruction together, for two CPU cores."""

from dataclasses import replace
from pathlib import Path

from marginface.recipes.small import small
from marginface.reconstruction import ReconstructionConfig
from marginface.training import LossConfig, TrainConfig


def lh2face(data: Path, *, epochs: float = 18.0) -> TrainConfig:
    """Return a run of LH2Face with its renderer, on some thousand photographs.

    Faces are taken apart at 32 pixels, decoded from the recogniser's second stage. Weights differ
    from their defaults: the picture counts 40 times as much as recognition of the canonical face
    (at the default 2, both the pictures and the recogniser got worse), features are not compared (a
    third of the time), and depth is held smooth, without which it came out too deep and turned
    too little.

    Args:
        data: A packed data set.
        epochs: Length of the run.

    Example:
        >>> lh2face(Path("faces.pack")).reconstruction.decoder_input
        'layer2'
    """
    return replace(
        small(data, epochs=epochs),
        loss=LossConfig(name="lh2face"),
        reconstruction=SMALL_RECONSTRUCTION,
    )


SMALL_RECONSTRUCTION = ReconstructionConfig(
    size=32,
    width=16,
    decoder_input="layer2",
    reco_weight=4.0,
    canon_weight=0.1,
    perceptual_weight=0.0,
    smooth_weight=0.4,
    planes=20,
    lr=1e-3,
)
