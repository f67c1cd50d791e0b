"""The whole objective: which term reaches which network, and what all weights 0 mean."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marginface.backbones import make_backbone
from marginface.errors import MarginfaceError
from marginface.heads import IdentityHead
from marginface.losses import make_loss
from marginface.reconstruction import Objective, ReconstructionConfig, Reconstructor
from marginface.reconstruction.stages import (
    at_rest,
    map_at,
    recorded,
    stage_of,
    statistics_kept,
)

SIDE, CLASSES = 32, 4


def make(**changes: object) -> tuple[Objective, nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    torch.manual_seed(0)
    backbone = make_backbone("iresnet_tiny", dim=8, input_size=SIDE, widths=(4, 4, 8, 8))
    head = IdentityHead(CLASSES, 8, make_loss("cosface", scale=8.0))
    fields: dict = {"size": 32, "width": 8, "decoder_input": "image", "planes": 12}
    config = ReconstructionConfig(**(fields | changes))
    networks = Reconstructor(size=32, width=8, planes=12, has_confidence=config.has_confidence)
    objective = Objective(config, networks, backbone, input_size=SIDE)
    return objective, backbone, lambda pictures, labels: head(backbone(pictures), labels)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    smooth = F.interpolate(torch.randn(4, 3, 4, 4, generator=generator), size=SIDE, mode="bicubic")
    return smooth.clamp(-1, 1), torch.tensor([0, 1, 2, -1])


def largest(module: nn.Module) -> float:
    gradients = [item.grad.abs().max() for item in module.parameters() if item.grad is not None]
    return float(max(gradients, default=torch.zeros(())))


def test_canonical_recognition_reaches_depth_albedo_and_light_but_not_the_view() -> None:
    objective, backbone, recognise = make(reco_weight=0, view_weight=0)
    terms = objective.terms(*batch(), None, recognise, canon_weight=0.5)
    assert list(terms) == ["canon"]
    terms["canon"].backward()
    networks = objective.reconstructor
    for part in (networks.depth_decoder, networks.albedo_decoder, networks.light, backbone):
        assert largest(part) > 0
    assert largest(networks.view) == 0


def test_reconstruction_reaches_everything_but_the_recognisers_weights() -> None:
    objective, backbone, recognise = make(view_weight=0)
    objective.terms(*batch(), None, recognise, canon_weight=0.0)["reco"].backward()
    networks = objective.reconstructor
    for part in (networks.depth_decoder, networks.albedo_decoder, networks.light, networks.view):
        assert largest(part) > 0
    assert largest(backbone) == 0


def test_view_term_reaches_the_view_alone() -> None:
    objective, backbone, recognise = make(reco_weight=0, view_terms=("canon",))
    objective.terms(*batch(), None, recognise, canon_weight=0.0)["view"].backward()
    networks = objective.reconstructor
    assert largest(networks.view) > 0
    assert largest(networks.depth_decoder) == largest(networks.light) == largest(backbone) == 0


@pytest.mark.parametrize("name", ["canon", "flip", "cycle"])
def test_each_view_term_counts(name: str) -> None:
    objective, _, recognise = make(reco_weight=0, view_terms=(name,))
    terms = objective.terms(*batch(), None, recognise, canon_weight=0.0)
    assert float(terms["view"].detach()) > 0


def test_confidence_learns_from_the_picture() -> None:
    objective, _, recognise = make(has_confidence=True, view_weight=0)
    objective.terms(*batch(), None, recognise, canon_weight=0.0)["reco"].backward()
    assert objective.reconstructor.confidence is not None
    assert largest(objective.reconstructor.confidence) > 0


def test_decoding_from_a_feature_map_reaches_the_recogniser() -> None:
    objective, backbone, recognise = make(view_weight=0, perceptual_weight=0)
    networks = Reconstructor(size=32, width=8, planes=12, feature_shape=(4, 8, 8))
    objective = Objective(
        ReconstructionConfig(decoder_input="layer2", view_weight=0, perceptual_weight=0),
        networks,
        backbone,
        input_size=SIDE,
    )
    images, labels = batch()
    with recorded(stage_of(backbone, "layer2", argument="stage")) as seen:
        backbone(images)
    networks = Reconstructor(size=32, width=8, planes=12, feature_shape=tuple(seen[0].shape[1:]))
    objective.reconstructor = networks
    objective.terms(images, labels, seen[0], recognise, canon_weight=0.0)["reco"].backward()
    assert largest(backbone) > 0


def test_all_weights_zero_is_idle() -> None:
    objective, _, recognise = make(reco_weight=0, canon_weight=0, view_weight=0)
    assert objective.is_idle
    assert objective.terms(*batch(), None, recognise, canon_weight=0.0) == {}


def test_canonical_faces_do_not_move_the_statistics_of_real_ones() -> None:
    for kept in ("kept", "shared"):
        objective, backbone, recognise = make(reco_weight=0, view_weight=0, canon_statistics=kept)
        before = {k: item.clone() for k, item in backbone.state_dict().items()}
        objective.terms(*batch(), None, recognise, canon_weight=0.5)
        after = backbone.state_dict()
        is_same = all(torch.equal(item, after[name]) for name, item in before.items())
        assert is_same == (kept == "kept")


def test_unknown_stage_names_the_nearest() -> None:
    with pytest.raises((ValueError, MarginfaceError), match="layer2"):
        make(perceptual_stage="layr2")


def test_map_at_stops_early_and_equals_the_full_pass() -> None:
    _, backbone, _ = make()
    backbone.eval()
    stage = stage_of(backbone, "layer1", argument="stage")
    images, _ = batch()
    with recorded(stage) as seen:
        backbone(images)
    torch.testing.assert_close(map_at(backbone, stage, images), seen[0], rtol=0, atol=0)


def test_at_rest_leaves_everything_as_it_was() -> None:
    _, backbone, _ = make()
    frozen = next(backbone.parameters()).requires_grad_(False)
    backbone.train()
    before = {k: item.clone() for k, item in backbone.state_dict().items()}
    images = batch()[0].requires_grad_()
    with at_rest(backbone):
        value = backbone(images).square().sum()
    value.backward()
    assert images.grad is not None
    assert all(item.grad is None for item in backbone.parameters())
    assert backbone.training
    assert not frozen.requires_grad
    assert sum(item.requires_grad for item in backbone.parameters()) > 5
    for name, item in backbone.state_dict().items():
        assert torch.equal(item, before[name]), name


def test_statistics_kept_gives_the_same_features() -> None:
    _, backbone, _ = make()
    images, _ = batch()
    with statistics_kept(backbone):
        one = backbone(images)
    torch.testing.assert_close(one, backbone(images), rtol=0, atol=0)


@pytest.mark.slow
def test_one_picture_can_be_learnt_by_heart() -> None:
    """500 steps of Adam on one picture: masked L1 below 0.05, and V(J) near the identity view."""
    objective, _, recognise = make(perceptual_weight=0, width=16)
    images, labels = batch()
    images, labels = images[:1], labels[:1]
    networks = objective.reconstructor
    optimizer = torch.optim.Adam(networks.parameters(), lr=2e-3)
    for _ in range(500):
        optimizer.zero_grad()
        sum(objective.terms(images, labels, None, recognise, canon_weight=0.0).values()).backward()
        optimizer.step()
    with torch.no_grad():
        scene = networks(images)
        drawn = networks.draw(scene)
        error = (drawn.image - networks.resized(images)).abs()[
            drawn.mask[:, None].expand(1, 3, -1, -1)
        ]
        turn = networks.view_of(networks.canonical(scene))
    assert float(error.mean()) < 0.05
    assert float(turn[:, :3].abs().max()) < 0.15
