"""How far a depth map is from the true one, whatever its scale.

    E_SI = √( mean δ² - (mean δ)² ),   δ = log d̂ - log d      scale-invariant depth error
    E_N  = mean arccos ⟨n̂, n⟩                                normal-angle error

Both are means over the pixels of a mask, one number per picture.

Source: Eigen et al., NeurIPS 2014, arXiv:1406.2283, equation 1 (as used by Wu et al., CVPR 2020).
"""

import torch

from marginface.axes import Bool, Float, Tensor
from marginface.rendering import Camera, normals_from_depth


def scale_invariant_error(
    depth: Float[Tensor, "batch rows columns"],
    truth: Float[Tensor, "batch rows columns"],
    mask: Bool[Tensor, "batch rows columns"],
) -> Float[Tensor, " batch"]:
    """Return E_SI of each picture; NaN where the mask is empty.

    Args:
        depth: Predicted depth, greater than 0.
        truth: True depth, greater than 0.
        mask: Pixels that count.
    """
    delta = (depth.log() - truth.log()).double()
    mean = masked_mean(delta, mask)
    spread = masked_mean((delta - mean[:, None, None]).square(), mask)
    return spread.sqrt().to(depth.dtype)


def normal_angle_error(
    depth: Float[Tensor, "batch rows columns"],
    truth: Float[Tensor, "batch rows columns"],
    mask: Bool[Tensor, "batch rows columns"],
    camera: Camera,
) -> Float[Tensor, " batch"]:
    """Return E_N of each picture in radians; the outermost pixels do not count.

    Args:
        depth: Predicted depth.
        truth: True depth.
        mask: Pixels that count; a pixel also needs its four neighbours in the mask.
        camera: Of both maps.
    """
    apart = normals_from_depth(depth, camera) - normals_from_depth(truth, camera)
    # By the chord: the arc cosine loses half its digits where the two agree.
    angle = 2 * torch.asin((torch.linalg.vector_norm(apart, dim=-1) / 2).clamp_max(1))
    inner = torch.zeros_like(mask)
    inner[:, 1:-1, 1:-1] = (
        mask[:, 1:-1, 1:-1]
        & mask[:, :-2, 1:-1]
        & mask[:, 2:, 1:-1]
        & mask[:, 1:-1, :-2]
        & mask[:, 1:-1, 2:]
    )
    return masked_mean(angle.double(), inner).to(depth.dtype)


def masked_mean(
    values: Float[Tensor, "batch rows columns"], mask: Bool[Tensor, "batch rows columns"]
) -> Float[Tensor, " batch"]:
    """Return the mean over the mask of each picture; NaN where it is empty."""
    return torch.where(mask, values, 0).sum(dim=(1, 2)) / mask.sum(dim=(1, 2))
