"""Predicted depth against the true depth of the procedural world, beside honest baselines.

Everything is judged in the view of the picture, over the head's pixels where the prediction shows a
surface too, the same pixels for every method:
    predicted        the trained networks
    untrained        the same networks before training
    mean depth       the average true depth of other people's pictures, pixel by pixel
    flat             a plane facing the camera
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.axes import Bool, Float, Tensor
from marginface.comparison.trained import TrainedReconstruction
from marginface.data import PackedFaces
from marginface.data.world import WorldConfig, WorldTruth, world_depth
from marginface.errors import DataError
from marginface.evaluation.means import identity_mean
from marginface.reconstruction import normal_angle_error, scale_invariant_error
from marginface.rendering import Camera, sample_canonical, sampling_grid, warp_depth

BATCH = 32
METRICS = ("scale_invariant_depth_error", "normal_angle_error_rad")
METHODS = ("predicted", "untrained", "mean depth", "flat")


@dataclass(frozen=True, slots=True, eq=False)
class DepthInView:
    """True depth as the camera of the picture sees it.

    Args:
        depth: (batch, S, S).
        mask: Where the head is.
        yaw_rad: Turn of the head, (batch,).
    """

    depth: Float[Tensor, "batch size size"]
    mask: Bool[Tensor, "batch size size"]
    yaw_rad: Float[Tensor, " batch"]


def true_depth(pack: PackedFaces, indices: Sequence[int], *, size: int) -> DepthInView:
    """Return the true depth of pictures of a procedural pack, at any size.

    Raises:
        DataError: If the pack is not of the procedural world.
    """
    world = pack.meta.get("world")
    if world is None:
        raise DataError(
            f"{pack.path} must be a pack of the procedural world for its depth to be known; "
            "make one with `marginface data world`"
        )
    config = WorldConfig(size=size, seed=world["seed"], difficulty=world["difficulty"])
    identities, pictures = pack.truth["identity"], pack.truth["picture"]
    seen = [_in_view(world_depth(config, int(identities[i]), int(pictures[i]))) for i in indices]
    depth, mask, yaw = (torch.stack(parts) for parts in zip(*seen, strict=True))
    return DepthInView(depth, mask, yaw)


def _in_view(truth: WorldTruth) -> tuple[Tensor, Tensor, Tensor]:
    depth, view = torch.from_numpy(truth.depth)[None], torch.from_numpy(truth.view)[None]
    seen, is_hit = warp_depth(depth, view, truth.camera, target=truth.target)
    grid = sampling_grid(seen, view, truth.camera, target=truth.target)
    head = torch.from_numpy(truth.mask.astype(np.float32))[None, None]
    is_head = sample_canonical(head, grid)[0, 0] > 0.5
    return seen[0], is_hit[0] & is_head, view[0, 1]


def judge_depth(
    trained: TrainedReconstruction,
    pack: PackedFaces,
    *,
    pictures: int = 240,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Judge depth on pictures of a procedural pack and return a record, ready for JSON.

    Args:
        trained: A run's networks.
        pack: People the run has not seen.
        pictures: How many pictures, spread evenly over the pack.
        seed: Of the bootstrap over people.
        resamples: Its draws.

    Raises:
        DataError: If the pack is not of the procedural world.
    """
    chosen = np.unique(np.linspace(0, len(pack) - 1, min(pictures, len(pack))).round().astype(int))
    truth = true_depth(pack, chosen.tolist(), size=trained.networks.size)
    images = trained.take_in(pack.read(chosen))
    people = [pack.identities[int(pack.labels[i])] for i in chosen]
    predicted, is_seen = _drawn_depth(trained, images)
    mask = truth.mask & is_seen
    is_judged = mask.flatten(1).sum(dim=1) >= 20
    depths = {
        "predicted": predicted,
        "untrained": _drawn_depth(trained.untrained(seed=seed), images)[0],
        "mean depth": _mean_of_others(truth, people),
        "flat": torch.ones_like(predicted),
    }
    kept = [person for person, used in zip(people, is_judged.tolist(), strict=True) if used]
    errors = {
        name: _errors(depth, truth.depth, mask, is_judged, trained.networks.camera)
        for name, depth in depths.items()
    }

    def interval(values: NDArray[np.float64]) -> dict[str, float]:
        return identity_mean(values, kept, seed=seed, resamples=resamples).as_dict()

    turned = trained.scene(images).view[:, 1]
    return {
        "pictures": int(is_judged.sum()),
        "identities": len(set(kept)),
        "left_out": int((~is_judged).sum()),
        "share_of_head_seen": float(mask.sum() / truth.mask.sum()),
        "methods": {
            name: {metric: interval(errors[name][metric]) for metric in METRICS} for name in METHODS
        },
        "minus": {
            name: {
                metric: interval(errors["predicted"][metric] - errors[name][metric])
                for metric in METRICS
            }
            for name in METHODS[1:]
        },
        "yaw_correlation": float(np.corrcoef(turned.numpy(), truth.yaw_rad.numpy())[0, 1]),
    }


def _errors(
    depth: Tensor, truth: Tensor, mask: Tensor, is_judged: Tensor, camera: Camera
) -> dict[str, NDArray[np.float64]]:
    values = (
        scale_invariant_error(depth, truth, mask),
        normal_angle_error(depth, truth, mask, camera),
    )
    return {
        metric: value[is_judged].double().numpy()
        for metric, value in zip(METRICS, values, strict=True)
    }


def _drawn_depth(trained: TrainedReconstruction, images: Tensor) -> tuple[Tensor, Tensor]:
    parts = [
        trained.networks.draw(trained.scene(images[start : start + BATCH]))
        for start in range(0, len(images), BATCH)
    ]
    return torch.cat([part.depth for part in parts]), torch.cat([part.mask for part in parts])


def _mean_of_others(truth: DepthInView, people: Sequence[str]) -> Tensor:
    """Return for each picture the mean true depth of other people's, over heads alone."""
    weight = truth.mask.to(truth.depth.dtype)
    total, count = (truth.depth * weight).sum(dim=0), weight.sum(dim=0)
    result = torch.empty_like(truth.depth)
    for person in sorted(set(people)):
        rows = torch.tensor([name == person for name in people])
        own, own_count = (truth.depth * weight)[rows].sum(dim=0), weight[rows].sum(dim=0)
        others, others_count = total - own, count - own_count
        mean = others / others_count.clamp_min(1)
        # Where no other head reaches, the average of all stands in.
        result[rows] = torch.where(others_count > 0, mean, mean[others_count > 0].mean())
    return result
