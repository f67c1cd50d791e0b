"""LH2Face's other half: a picture becomes depth, albedo, light and view, and is drawn again.

Recognition and reconstruction train each other through the renderer; what is published of it is
little, so this room is a reconstruction of the paper in both senses (see docs/reconstruction.md).
"""

from marginface.reconstruction.config import ReconstructionConfig
from marginface.reconstruction.depth_errors import normal_angle_error, scale_invariant_error
from marginface.reconstruction.model_file import (
    SavedReconstructor,
    load_reconstructor,
    save_reconstructor,
)
from marginface.reconstruction.objective import Objective
from marginface.reconstruction.reconstructor import Reconstructor, Scene

__all__ = [
    "Objective",
    "ReconstructionConfig",
    "Reconstructor",
    "SavedReconstructor",
    "Scene",
    "load_reconstructor",
    "normal_angle_error",
    "save_reconstructor",
    "scale_invariant_error",
]
