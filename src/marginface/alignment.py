"""Five points of a face to the aligned crop every network here is fed with.

The five points are the eye, the eye, the tip of the nose, the mouth corner, the mouth corner; of
eyes and corners first the one on the left in the picture.

    minimise Σ |a·s_i + b - t_i|²   over complex a, b   (s points, t template, as complex numbers)
    a = Σ conj(s_i - s̄)(t_i - t̄) / Σ |s_i - s̄|²,   b = t̄ - a·s̄

A complex factor is a rotation times a scale and can never mirror, so this is Umeyama's least
squares without its sign correction. No point is thrown out: with five points a robust estimate
(RANSAC, LMedS) is unstable, and public weights were trained on the plain one.

Source: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", TPAMI 1991; the template of Deng et al., "ArcFace", CVPR 2019, as in its code.
Differs: a face more than twice as large as the crop is first halved by area until it is not, since
    bilinear sampling alone would skip pixels; up to there the crop equals OpenCV's `alignCrop`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

TEMPLATE_SIDE = 112
TEMPLATE_112: NDArray[np.float64] = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
TEMPLATE_112.setflags(write=False)


def similarity_transform(points: NDArray[np.floating], *, size: int = 112) -> NDArray[np.float64]:
    """Return the map from picture to crop, shape (2, 3), that brings `points` nearest the template.

    At another size the template is scaled about the corner of the first pixel, so that the crop is
    what resizing the 112 one would give.

    Args:
        points: (x, y) of the five points in pixels, shape (5, 2).
        size: Side of the crop in pixels.

    Raises:
        ValueError: If the points have another shape, are not finite, or all coincide.
    """
    if points.shape != (5, 2):
        raise ValueError(f"points must have shape (5, 2), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError(f"points must be finite, got {points.tolist()}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    target = (TEMPLATE_112 + 0.5) * (size / TEMPLATE_SIDE) - 0.5
    s = points[:, 0] + 1j * points[:, 1].astype(np.float64)
    t = target[:, 0] + 1j * target[:, 1]
    centred = s - s.mean()
    spread = float(np.sum(np.abs(centred) ** 2))
    if spread < 1e-6:
        raise ValueError(f"points must not coincide, got {points.tolist()}")
    a = complex(np.sum(np.conj(centred) * (t - t.mean())) / spread)
    b = complex(t.mean() - a * s.mean())
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def scale_of(transform: NDArray[np.floating]) -> float:
    """Return how much a similarity enlarges: crop pixels for one pixel of the picture."""
    return float(np.hypot(transform[0, 0], transform[1, 0]))


def align_face(
    image: NDArray[np.uint8], points: NDArray[np.floating], *, size: int = 112
) -> NDArray[np.uint8]:
    """Cut the aligned face out of a picture; what lies outside the picture is black.

    Args:
        image: RGB, shape (height, width, 3).
        points: (x, y) of the five points in pixels, shape (5, 2).
        size: Side of the crop in pixels.

    Raises:
        ValueError: If the points have another shape, are not finite, or all coincide.
    """
    moved = np.asarray(points, dtype=np.float64)
    transform = similarity_transform(moved, size=size)
    while scale_of(transform) < 0.5 and min(image.shape[:2]) > 1:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        factors = np.array([width / image.shape[1], height / image.shape[0]])
        image = np.asarray(
            cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8
        )
        moved = (moved + 0.5) * factors - 0.5
        transform = similarity_transform(moved, size=size)
    return np.asarray(cv2.warpAffine(image, transform, (size, size)), dtype=np.uint8)
