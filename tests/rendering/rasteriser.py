"""A slow second opinion: the depth map as a triangle mesh, rasterised triangle by triangle."""

import torch

from marginface.rendering import Camera, depth_to_points, points_to_pixels, transform_points


def rasterise_depth(depth: torch.Tensor, view: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Return the depth (h, w) seen in the view, infinite where no triangle lies."""
    points = transform_points(depth_to_points(depth[None], camera), view)
    pixels, z = points_to_pixels(points, camera)[0], points[0, ..., 2]
    corners = [(slice(0, -1), slice(0, -1)), (slice(1, None), slice(0, -1))]
    corners += [(slice(0, -1), slice(1, None)), (slice(1, None), slice(1, None))]
    seen = torch.full_like(depth, torch.inf)
    for a, b, c in ((0, 1, 2), (2, 1, 3)):
        uv = [pixels[corners[k]].reshape(-1, 2) for k in (a, b, c)]
        zs = [z[corners[k]].reshape(-1) for k in (a, b, c)]
        for i in range(len(zs[0])):
            _fill(seen, [p[i] for p in uv], [float(q[i]) for q in zs])
    return seen


def _fill(seen: torch.Tensor, uv: list[torch.Tensor], zs: list[float]) -> None:
    (x0, y0), (x1, y1), (x2, y2) = (p.tolist() for p in uv)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if area == 0:
        return
    grace = 1e-9
    size = seen.shape[0]
    for row in range(max(0, int(min(y0, y1, y2))), min(size - 1, int(max(y0, y1, y2)) + 1) + 1):
        for col in range(max(0, int(min(x0, x1, x2))), min(size - 1, int(max(x0, x1, x2)) + 1) + 1):
            w1 = ((col - x0) * (y2 - y0) - (x2 - x0) * (row - y0)) / area
            w2 = ((x1 - x0) * (row - y0) - (col - x0) * (y1 - y0)) / area
            w0 = 1 - w1 - w2
            if min(w0, w1, w2) >= -grace:
                z = 1 / (w0 / zs[0] + w1 / zs[1] + w2 / zs[2])
                seen[row, col] = min(float(seen[row, col]), z)
