"""A finished run with reconstruction, ready for pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.axes import Float, Tensor
from marginface.backbones.base import Backbone
from marginface.data import to_float
from marginface.data.resized import resize_face
from marginface.recognition import load_model
from marginface.reconstruction import Reconstructor, Scene, load_reconstructor
from marginface.reconstruction.config import IMAGE
from marginface.reconstruction.portrait import Panel, portrait_panels
from marginface.reconstruction.stages import map_at, stage_of
from marginface.training.rundir import MODEL, RECONSTRUCTION


@dataclass(frozen=True, eq=False)
class TrainedReconstruction:
    """The recogniser and the reconstruction networks of one run, in evaluation mode.

    Args:
        backbone: The recogniser.
        networks: The reconstruction.
        decoder_input: `image`, or the stage depth and albedo are decoded from.
        side: Side of the pictures the recogniser takes, in pixels.
    """

    backbone: Backbone
    networks: Reconstructor
    decoder_input: str
    side: int

    @classmethod
    def open(cls, run: Path) -> "TrainedReconstruction":
        """Open the folder of a run.

        Raises:
            ModelFileError: If a file is absent or broken, or the two do not fit.
        """
        backbone, contract = load_model(run / MODEL)
        saved = load_reconstructor(run / RECONSTRUCTION)
        assert isinstance(backbone, Backbone)
        return cls(backbone, saved.reconstructor, saved.decoder_input, contract.input_size[0])

    def untrained(self, *, seed: int = 0) -> "TrainedReconstruction":
        """Return the same with reconstruction networks that have learnt nothing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks = Reconstructor(**self.networks.options).eval()
        return TrainedReconstruction(self.backbone, networks, self.decoder_input, self.side)

    def take_in(self, faces: NDArray[np.uint8]) -> Float[Tensor, "batch 3 side side"]:
        """Return aligned RGB faces (batch, height, width, 3) as the recogniser sees them."""
        resized = np.stack([resize_face(face, (self.side, self.side)) for face in faces])
        return to_float(torch.from_numpy(np.ascontiguousarray(resized.transpose(0, 3, 1, 2))))

    def scene(self, images: Float[Tensor, "batch 3 side side"]) -> Scene:
        """Take pictures apart."""
        with torch.inference_mode():
            scene: Scene = self.networks(images, self._feature_map(images))
            return scene

    def panels(self, images: Float[Tensor, "batch 3 side side"]) -> list[list[Panel]]:
        """Return the panels of each face, see `portrait_panels`."""
        with torch.inference_mode():
            return portrait_panels(self.networks, images, self._feature_map(images))

    def _feature_map(self, images: Tensor) -> Tensor | None:
        if self.decoder_input == IMAGE:
            return None
        stage = stage_of(self.backbone, self.decoder_input, argument="decoder_input")
        return map_at(self.backbone, stage, images)
