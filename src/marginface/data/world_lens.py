"""What lies behind a head, and what a camera makes of the light: blur, exposure, tone, noise."""

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.data.world_conditions import Conditions
from marginface.data.world_fields import Field, Grid


def make_background(generator: np.random.Generator, size: int) -> Field:
    """Return an out-of-focus room: a few blurred patches around one colour, (size, size, 3)."""
    base = generator.uniform(0.08, 0.85) * np.exp(generator.normal(0, 0.12, 3))
    coarse = generator.normal(0, generator.uniform(0.02, 0.22), (6, 6, 1))
    tinted = coarse + generator.normal(0, 0.04, (6, 6, 3))
    patches = (base * np.exp(tinted)).astype(np.float32)
    room = cv2.resize(patches, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(room, 0, 1)


def compose(colour: Field, alpha: Field, background: Field) -> Field:
    """Lay the head (h, w, 3) over its background, the outline softened by half a pixel.

    One ray a pixel leaves stairs along the outline; only pixels beside it are averaged.
    """
    lifted = np.dstack((colour * alpha[..., None], alpha))
    soft = cv2.GaussianBlur(lifted, (3, 3), 0.65, borderType=cv2.BORDER_REPLICATE)
    is_edge = np.abs(soft[..., 3] - alpha) > 0.02
    lifted[is_edge] = soft[is_edge]
    return lifted[..., :3] + (1 - lifted[..., 3:]) * background


def develop(
    colour: Field, conditions: Conditions, grid: Grid, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Turn the light that reaches the lens into the stored picture."""
    c = conditions
    sigma = c.blur_px / grid.pixel
    if sigma > 0.15:
        soft = cv2.GaussianBlur(colour, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        colour = np.asarray(soft, dtype=np.float32)
    gains = np.array([c.white_balance[0], 1.0, c.white_balance[1]], dtype=np.float32) * c.exposure
    toned = np.clip(colour * gains.astype(np.float32), 0, None) ** np.float32(c.contrast)
    # A soft shoulder: bright skin turns pale before it turns white.
    is_bright = toned > 0.8
    toned[is_bright] = 0.8 + 0.2 * np.tanh((toned[is_bright] - 0.8) / 0.2)
    grain = generator.standard_normal(toned.shape, dtype=np.float32)
    noisy = toned + np.float32(c.noise) * grain
    return np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)
