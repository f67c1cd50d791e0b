"""The view under which a turned head lies aligned in its crop.

A detector finds five points of the turned head and a similarity carries them to the template. The
same crop is had without a second resampling by moving the head: its roll, its distance and its
place are chosen so that the projected points already are where the similarity would put them.
"""

import numpy as np
from numpy.typing import NDArray

from marginface.alignment import similarity_transform
from marginface.data.world_conditions import Conditions
from marginface.data.world_fields import PIVOT_HEIGHT, TEMPLATE_SIZE, Grid
from marginface.rendering import Camera

ROUNDS = 3
PIVOT = np.array([0.0, 0.0, 1.0])


def solve_view(
    points: NDArray[np.float64], conditions: Conditions, grid: Grid
) -> NDArray[np.float32]:
    """Return the renderer's view of an aligned crop, with the alignment errors of the conditions.

    Args:
        points: Landmarks: x, y and height in template pixels, (5, 3).
        conditions: Yaw, pitch, and what the alignment gets wrong.
        grid: The canonical grid.
    """
    target = grid.target
    canonical = _to_space(points)
    view = np.array([conditions.pitch_rad, conditions.yaw_rad, 0, 0, 0, 0], dtype=np.float64)
    for _ in range(ROUNDS):
        similarity = similarity_transform(_project(canonical, view, target), size=target.size)
        _apply(similarity, canonical, view, target)
    view[2] += conditions.roll_rad
    view[5] = (1 + view[5]) / conditions.zoom - 1
    moved = np.array(conditions.shift) / TEMPLATE_SIZE * target.size / target.focal_px
    view[3:5] += moved * (1 + view[5])
    return view.astype(np.float32)


def _to_space(points: NDArray[np.float64]) -> NDArray[np.float64]:
    focal = Camera(TEMPLATE_SIZE).focal_px
    depth = 1 - (points[:, 2:] - PIVOT_HEIGHT) / focal
    return np.hstack((points[:, :2] / focal, np.ones_like(depth))) * depth


def _project(
    points: NDArray[np.float64], view: NDArray[np.float64], target: Camera
) -> NDArray[np.float64]:
    # The renderer's T(P) and projection on five points; as tensors they took a tenth of a picture.
    (cx, cy, cz), (sx, sy, sz) = np.cos(view[:3]), np.sin(view[:3])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turned = (points - PIVOT) @ (about_z @ about_y @ about_x).T + PIVOT + view[3:]
    return target.focal_px * turned[:, :2] / turned[:, 2:] + target.centre_px


def _apply(
    similarity: NDArray[np.float64],
    points: NDArray[np.float64],
    view: NDArray[np.float64],
    target: Camera,
) -> None:
    wanted = _project(points, view, target) @ similarity[:, :2].T + similarity[:, 2]
    view[2] += np.arctan2(similarity[1, 0], similarity[0, 0])
    view[5] = (1 + view[5]) / np.hypot(similarity[0, 0], similarity[1, 0]) - 1
    error = (wanted - _project(points, view, target)).mean(axis=0)
    view[3:5] += error / target.focal_px * (1 + view[5])
