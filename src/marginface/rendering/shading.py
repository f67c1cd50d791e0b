"""Normals of a depth map, and its shading by one distant light.

    n = t_u × t_v / |t_u × t_v|,  t_u = P(u+1, v) - P(u-1, v),  t_v = P(u, v+1) - P(u, v-1)
    J = 2·[(1 + a)/2 · (k_a + k_d · max(0, ⟨n, l⟩))] - 1,  l = (l_x, l_y, 1)/|(l_x, l_y, 1)|

Normals point away from the camera: a plane facing it has n = (0, 0, 1), and the light direction
follows the same convention. J is the canonical picture; it is not clamped.

Source: Wu et al., CVPR 2020, arXiv:1911.11130, section 3.
Differs: lengths are taken in pixels, so that the 1e-7 that guards the division no longer shortens
    every normal by 0.3 %.
"""

import torch
from torch.nn.functional import pad

from marginface.axes import Float, Tensor
from marginface.rendering.camera import Camera, check_depth


def normals_from_depth(
    depth: Float[Tensor, "batch height width"], camera: Camera
) -> Float[Tensor, "batch height width 3"]:
    """Return unit normals from central differences; the outermost pixels get (0, 0, 1)."""
    return torch.stack(normal_axes(depth, camera), dim=-1)


def normal_axes(
    depth: Float[Tensor, "batch height width"], camera: Camera
) -> list[Float[Tensor, "batch height width"]]:
    """Return the x, y and z of the unit normals as three maps."""
    check_depth(depth, camera)
    # Axis by axis: a cross product over a last axis of 3 takes five times as long.
    steps = camera.steps(depth) * camera.focal_px
    axes = (depth * steps, depth * steps[:, None], depth * camera.focal_px)
    u_x, u_y, u_z = (axis[:, 1:-1, 2:] - axis[:, 1:-1, :-2] for axis in axes)
    v_x, v_y, v_z = (axis[:, 2:, 1:-1] - axis[:, :-2, 1:-1] for axis in axes)
    n_x, n_y, n_z = u_y * v_z - u_z * v_y, u_z * v_x - u_x * v_z, u_x * v_y - u_y * v_x
    length = (n_x * n_x + n_y * n_y + n_z * n_z).sqrt() + 1e-7
    return [
        pad(axis / length, (1, 1, 1, 1), value=border)
        for axis, border in ((n_x, 0.0), (n_y, 0.0), (n_z, 1.0))
    ]


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
    facing = facing_light(list(normals.unbind(-1)), light[:, 2:])
    k_a, k_d = light[:, 0, None, None], light[:, 1, None, None]
    strength = (k_a + k_d * facing)[:, None]
    return (1 + albedo) * strength - 1


def facing_light(
    normals: list[Float[Tensor, "batch height width"]], light_xy: Float[Tensor, "batch 2"]
) -> Float[Tensor, "batch height width"]:
    """Return max(0, ⟨n, l⟩) for the direction l = (l_x, l_y, 1)/|…|."""
    direction = torch.cat((light_xy, torch.ones_like(light_xy[:, :1])), dim=1)
    direction = direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    x, y, z = direction[..., None, None].unbind(1)
    return (normals[0] * x + normals[1] * y + normals[2] * z).clamp_min(0)
