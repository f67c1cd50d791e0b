"""The reconstructor: a picture taken apart into depth, albedo, light and view, and drawn again.

    d = depth(D(x)),  a = tanh A(x),  l = light(tanh L(I)),  v = view(tanh V(I))
    J = Λ(a, d, l) the canonical face,     Î = Π(J, d, v) the picture drawn again

Mirrored depth and albedo under the same light and view must draw the same picture, which ties the
canonical frame to the plane of symmetry of the face.

Source: Wu et al., CVPR 2020, arXiv:1911.11130; He et al., CVPR 2022.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from marginface.axes import Float, Tensor
from marginface.reconstruction.networks import (
    Confidence,
    Decoder,
    Encoder,
    MapEncoder,
    unit_outputs,
)
from marginface.rendering import (
    FAR,
    NEAR,
    Camera,
    March,
    Rendering,
    depth_from_raw,
    light_from_unit,
    normals_from_depth,
    render,
    shade,
    view_from_unit,
)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture taken apart.

    Args:
        depth: Canonical depth in [0.9, 1.1], (batch, S, S).
        albedo: Canonical colours in [-1, 1], (batch, 3, S, S).
        light: Ambient, diffuse, l_x, l_y, (batch, 4).
        view: r_x, r_y, r_z in radians, t_x, t_y, t_z, (batch, 6).
        sigma: σ of pixels for plain and mirrored maps, (batch, 2, S, S); absent without confidence.
        feature_sigma: The same for features, (batch, 2, S/4, S/4).
    """

    depth: Tensor
    albedo: Tensor
    light: Tensor
    view: Tensor
    sigma: Tensor | None = None
    feature_sigma: Tensor | None = None

    def mirrored(self) -> "Scene":
        """Return the scene with depth and albedo mirrored, light and view as they are."""
        return Scene(self.depth.flip(-1), self.albedo.flip(-1), self.light, self.view)


class Reconstructor(nn.Module):
    """Take aligned faces apart and draw them again.

    Args:
        size: Working resolution S in pixels, a multiple of 16.
        width: Channels of the networks, a multiple of 8; 64 as published.
        code: Length of the vectors that depth and albedo are decoded from.
        feature_shape: (channels, height, width) of the recogniser's feature map to decode from;
            None to decode from the picture.
        has_confidence: Whether σ is learnt too.
        depth_range: Largest t_z; 0 keeps the head at its distance.
        planes: Trial depths of the ray march.

    Example:
        >>> scene = Reconstructor(size=32, width=8)(torch.zeros(2, 3, 32, 32))
        >>> scene.depth.shape, scene.view.shape
        (torch.Size([2, 32, 32]), torch.Size([2, 6]))
    """

    def __init__(
        self,
        *,
        size: int = 64,
        width: int = 64,
        code: int = 256,
        feature_shape: tuple[int, int, int] | None = None,
        has_confidence: bool = False,
        depth_range: float = 0.0,
        planes: int = 48,
    ) -> None:
        super().__init__()
        if not 0 <= depth_range <= 0.3:
            raise ValueError(f"depth_range must lie in [0, 0.3], got {depth_range}")
        self.options: dict[str, Any] = {
            "size": size,
            "width": width,
            "code": code,
            "feature_shape": feature_shape,
            "has_confidence": has_confidence,
            "depth_range": depth_range,
            "planes": planes,
        }
        self.size = size
        self.camera = Camera(size)
        self.depth_range = depth_range
        self.feature_shape = feature_shape
        self.march = March(planes=planes)
        half = max(8, width // 2)
        self.depth_encoder = _code_network(size, feature_shape, code, width)
        self.depth_decoder = Decoder(size, code, 1, width=width)
        self.albedo_encoder = _code_network(size, feature_shape, code, width)
        self.albedo_decoder = Decoder(size, code, 3, width=width)
        self.light = Encoder(size, 4, width=half, normalised=False)
        self.view = Encoder(size, 6, width=half, normalised=False)
        self.confidence = Confidence(size, width=width, code=128) if has_confidence else None

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        feature_map: Float[Tensor, "batch channels h w"] | None = None,
    ) -> Scene:
        """Take pictures apart.

        Args:
            images: RGB in [-1, 1], of any size.
            feature_map: What to decode from, if so built.

        Raises:
            ValueError: If a feature map is missing, or given where none is wanted.
        """
        if (feature_map is None) != (self.feature_shape is None):
            promised = "none" if self.feature_shape is None else f"shape {self.feature_shape}"
            came = "none" if feature_map is None else f"{tuple(feature_map.shape[1:])}"
            raise ValueError(f"feature_map must be {promised}, got {came}")
        small = self.resized(images)
        source = small if feature_map is None else feature_map
        raw = self.depth_decoder(self.depth_encoder(source))[:, 0]
        sigma, feature_sigma = (None, None) if self.confidence is None else self.confidence(small)
        return Scene(
            depth=depth_from_raw(raw),
            albedo=torch.tanh(self.albedo_decoder(self.albedo_encoder(source))),
            light=light_from_unit(unit_outputs(self.light, small)),
            view=self.view_of(small),
            sigma=sigma,
            feature_sigma=feature_sigma,
        )

    def resized(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Bring pictures to the working size."""
        return resize_pictures(images, self.size)

    def view_of(self, small: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch 6"]:
        """Return the view of pictures of the working size."""
        return view_from_unit(unit_outputs(self.view, small), depth_range=self.depth_range)

    def canonical(self, scene: Scene) -> Float[Tensor, "batch 3 size size"]:
        """Return the canonical face J of a scene, not clamped."""
        return shade(scene.albedo, normals_from_depth(scene.depth, self.camera), scene.light)

    def draw(self, scene: Scene) -> Rendering:
        """Draw a scene in its own view."""
        return render(
            scene.depth, scene.albedo, scene.light, scene.view, self.camera, march=self.march
        )


def resize_pictures(
    images: Float[Tensor, "batch 3 height width"], side: int
) -> Float[Tensor, "batch 3 side side"]:
    """Resize square pictures, averaging when they shrink; the same pixels if nothing is to do."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(
        images, size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )


def normalised_depth(depth: Float[Tensor, "batch rows columns"]) -> Tensor:
    """Map depth to [-1, 1], near to far, for a network that reads it as a picture."""
    return (depth - NEAR) / (FAR - NEAR) * 2 - 1


def _code_network(
    size: int, feature_shape: tuple[int, int, int] | None, code: int, width: int
) -> nn.Module:
    if feature_shape is None:
        return Encoder(size, code, width=width, normalised=True)
    return MapEncoder(feature_shape, code, width=width)
