"""A face taken apart, as pictures to look at: one row of panels a face."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.axes import Bool, Float, Tensor
from marginface.reconstruction.depth_errors import masked_mean
from marginface.reconstruction.reconstructor import Reconstructor, Scene
from marginface.rendering import FAR, NEAR, normals_from_depth, render, shade

PANELS = (
    "input",
    "redrawn",
    "canonical",
    "depth",
    "normals",
    "albedo",
    "lit left",
    "lit right",
    "turned -30",
    "turned +30",
)
Panel = NDArray[np.uint8]
# Side lights as a photographer would set them: a little ambient light, a strong lamp.
SIDE_LIGHTS = ((0.25, 0.9, -1.0, 0.2), (0.25, 0.9, 1.0, 0.2))
TURNS_DEG = (-30.0, 30.0)


def portrait_panels(
    networks: Reconstructor,
    images: Float[Tensor, "batch 3 height width"],
    feature_map: Float[Tensor, "batch channels h w"] | None = None,
) -> list[list[Panel]]:
    """Return the panels of each face, in the order of `PANELS`, RGB uint8 of the working size.

    Args:
        networks: Trained networks, in evaluation mode.
        images: RGB in [-1, 1].
        feature_map: What they decode from, if not the picture.
    """
    with torch.inference_mode():
        scene = networks(images, feature_map)
        maps = [
            to_pictures(networks.resized(images)),
            to_pictures(networks.draw(scene).image),
            to_pictures(networks.canonical(scene)),
            depth_pictures(scene.depth),
            normal_pictures(normals_from_depth(scene.depth, networks.camera)),
            to_pictures(scene.albedo),
            *(to_pictures(_relit(networks, scene, light)) for light in SIDE_LIGHTS),
            *(to_pictures(_turned(networks, scene, degrees)) for degrees in TURNS_DEG),
        ]
    return [list(panels) for panels in zip(*maps, strict=True)]


def to_pictures(values: Float[Tensor, "batch 3 rows columns"]) -> list[Panel]:
    """Return values in [-1, 1], clamped, as RGB uint8 of shape (rows, columns, 3)."""
    levels = ((values.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).contiguous().numpy())


def depth_pictures(depth: Float[Tensor, "batch rows columns"]) -> list[Panel]:
    """Return depth maps as grey pictures: white is near, black is far."""
    shade_of = 1 - 2 * (depth - NEAR) / (FAR - NEAR)
    return to_pictures(shade_of[:, None].expand(-1, 3, -1, -1))


def centred(
    depth: Float[Tensor, "batch rows columns"], mask: Bool[Tensor, "batch rows columns"]
) -> Float[Tensor, "batch rows columns"]:
    """Move each map to a mean depth of 1 over its mask, far outside: how far away says nothing."""
    mean = masked_mean(depth, mask)[:, None, None]
    return torch.where(mask, depth - mean + 1, FAR)


def normal_pictures(normals: Float[Tensor, "batch rows columns 3"]) -> list[Panel]:
    """Return normals as colours: red to the right, green down, blue towards the viewer."""
    return to_pictures(normals.movedim(-1, 1))


def _relit(networks: Reconstructor, scene: Scene, light: tuple[float, ...]) -> Tensor:
    normals = normals_from_depth(scene.depth, networks.camera)
    lights = scene.light.new_tensor(light).expand(len(scene.light), -1)
    return shade(scene.albedo, normals, lights)


def _turned(networks: Reconstructor, scene: Scene, degrees: float) -> Tensor:
    view = torch.zeros_like(scene.view)
    view[:, 1] = math.radians(degrees)
    drawn = render(
        scene.depth, scene.albedo, scene.light, view, networks.camera, march=networks.march
    )
    # White paper where no surface is seen.
    return torch.where(drawn.mask[:, None], drawn.image, 1.0)
