"""What a head is handed: checked once, before anything is computed or sent."""

import torch

from marginface.axes import Tensor


def checked_labels(features: Tensor, labels: Tensor, *, classes: int, dim: int) -> Tensor:
    """Check a batch and return its labels as int64.

    Args:
        features: Backbone outputs, to be of shape (batch, dim).
        labels: Class of each row, or -1 to ignore it, to be of shape (batch,).
        classes: Number of classes.
        dim: Length of a feature.

    Raises:
        TypeError: If the labels are not whole numbers.
        ValueError: If a shape or a label is out of range.
    """
    if features.ndim != 2 or features.shape[1] != dim:
        raise ValueError(f"features must have shape (batch, {dim}), got {tuple(features.shape)}")
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"labels must have shape ({features.shape[0]},), got {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be int64 class indices, got {labels.dtype}")
    labels = labels.to(torch.int64)
    if labels.numel():
        low, high = (int(end) for end in labels.aminmax())
        if low < -1 or high >= classes:
            raise ValueError(
                f"labels must lie in [0, {classes - 1}], or be -1 to ignore a row, "
                f"got {low if low < -1 else high}; is num_identities that of the data set?"
            )
    return labels
