"""Normals of a depth map, and its shading by one distant light.

    n = t_u × t_v / |t_u × t_v|,  t_u = P(u+1, v) - P(u-1, v),  t_v = P(u, v+1) - P(u, v-1)
    J = 2·[(1 + a)/2 · (k_a + k_d · max(0, ⟨n, l⟩))] - 1,  l = (l_x, l_y, 1)/|(l_x, l_y, 1)|

Normals point away from the camera: a plane facing it has n = (0, 0, 1), and the light direction
follows the same convention. J is the canonical picture; it is not clamped.

Source: Wu et al., CVPR 2020, arXiv:1911.11130, section 3.
"""

import torch
from torch.nn.functional import pad

from marginface.axes import Float, Tensor
from marginface.rendering.camera import Camera, depth_to_points


def normals_from_depth(
    depth: Float[Tensor, "batch height width"], camera: Camera
) -> Float[Tensor, "batch height width 3"]:
    """Return unit normals from central differences; the outermost pixels get (0, 0, 1)."""
    points = depth_to_points(depth, camera)
    tangent_u = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    tangent_v = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    cross = torch.linalg.cross(tangent_u, tangent_v, dim=-1)
    inner = cross / (torch.linalg.vector_norm(cross, dim=-1, keepdim=True) + 1e-7)
    framed = pad(inner, (0, 0, 1, 1, 1, 1))
    is_border = pad(torch.zeros_like(inner[..., 0]), (1, 1, 1, 1), value=1.0)
    return torch.cat((framed[..., :2], (framed[..., 2] + is_border)[..., None]), dim=-1)


def light_from_unit(raw: Float[Tensor, "batch 4"]) -> Float[Tensor, "batch 4"]:
    """Turn a network's outputs in [-1, 1] into a light: ambient and diffuse in [0, 1], l_x, l_y."""
    return torch.cat(((1 + raw[:, :2]) / 2, raw[:, 2:]), dim=1)


def shade(
    albedo: Float[Tensor, "batch channels height width"],
    normals: Float[Tensor, "batch height width 3"],
    light: Float[Tensor, "batch 4"],
) -> Float[Tensor, "batch channels height width"]:
    """Light the albedo.

    Args:
        albedo: Colours in [-1, 1].
        normals: Unit normals pointing away from the camera.
        light: Ambient k_a, diffuse k_d, and the direction's l_x, l_y.
    """
    direction = torch.cat((light[:, 2:], torch.ones_like(light[:, :1])), dim=1)
    direction = direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    facing = (normals * direction[:, None, None, :]).sum(-1).clamp_min(0)
    k_a, k_d = light[:, 0, None, None], light[:, 1, None, None]
    strength = (k_a + k_d * facing)[:, None]
    return (1 + albedo) * strength - 1
