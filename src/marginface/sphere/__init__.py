"""The unit hypersphere: its geometry, and the von Mises-Fisher distribution on it."""

from marginface.sphere.geometry import (
    SHORTEST,
    clamp_cosine,
    inverse_lengths,
    normalise,
    rotate_cosine,
    sine_from_cosine,
)
from marginface.sphere.vmf import mean_resultant_length, relative_log_normaliser

__all__ = [
    "SHORTEST",
    "clamp_cosine",
    "inverse_lengths",
    "mean_resultant_length",
    "normalise",
    "relative_log_normaliser",
    "rotate_cosine",
    "sine_from_cosine",
]
