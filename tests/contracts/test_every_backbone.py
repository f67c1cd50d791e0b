"""What holds for every row of the table of backbones."""

import copy
from functools import cache

import pytest
import torch
from torch import nn

from marginface.backbones import BACKBONES, Backbone, freeze_stages, make_backbone

# Rows whose size allows a real step in a fast test; the others run here on the meta device.
SIZES = {"iresnet18": 32, "iresnet_tiny": 56, "mobilefacenet": 48, "sface": 112, "vit_t": 36}
DEEP = ["iresnet34", "iresnet50", "iresnet100", "iresnet200", "vit_s", "vit_b"]
RUNNABLE = [*SIZES, *(pytest.param(name, marks=pytest.mark.slow) for name in DEEP)]


@cache
def on_meta(name: str) -> Backbone:
    """The published size, without memory; to be looked at only."""
    with torch.device("meta"):
        return make_backbone(name)


def small(name: str) -> Backbone:
    return make_backbone(name, dim=128, input_size=SIZES.get(name, 32))


def pictures(backbone: Backbone, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, backbone.input_size, backbone.input_size) * 2 - 1


def test_every_row_is_run() -> None:
    assert {*SIZES, *DEEP} == set(BACKBONES)


@pytest.mark.parametrize("name", [*SIZES, DEEP[0], *RUNNABLE[len(SIZES) + 1 :]])
def test_published_size_and_gradients_on_no_device(name: str) -> None:
    with torch.device("meta"):
        backbone = on_meta(name)
        features = backbone(pictures(backbone))
        features.sum().backward()
    assert features.shape == (3, backbone.dim)
    assert backbone.dim == (128 if name == "sface" else 512)
    assert backbone.input_size == 112
    missed = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert missed == []


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    backbone = small(name)
    features = backbone(pictures(backbone))
    assert features.dtype == torch.float32
    features.square().sum(dim=0).mul(torch.rand(backbone.dim)).sum().backward()
    for key, parameter in backbone.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
    # A bias or scale before a batch-norm cancels out; nothing else may be without effect.
    dead = [
        key
        for key, parameter in backbone.named_parameters()
        if parameter.requires_grad and not parameter.grad.any() and key != "fc.bias"
    ]
    assert dead == []


@pytest.mark.parametrize("name", SIZES)
def test_evaluation_is_a_pure_function_of_each_row(name: str) -> None:
    backbone = small(name).eval()
    images = pictures(backbone)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    given = images.clone()
    with torch.no_grad():
        first = backbone(images)
        torch.testing.assert_close(backbone(images), first, rtol=0, atol=0)
        torch.testing.assert_close(backbone(images.flip(0)), first.flip(0), rtol=1e-4, atol=1e-5)
        assert (first[0] - first[1]).abs().max() > 1e-4
    torch.testing.assert_close(images, given, rtol=0, atol=0)
    torch.testing.assert_close(dict(backbone.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", SIZES)
def test_channels_last_changes_nothing_but_rounding(name: str) -> None:
    backbone = small(name).eval()
    images = pictures(backbone)
    with torch.no_grad():
        plain = backbone(images)
        other = backbone.to(memory_format=torch.channels_last)(
            images.to(memory_format=torch.channels_last)
        )
    similarity = torch.nn.functional.cosine_similarity(plain, other)
    assert similarity.min() > 0.99999


@pytest.mark.parametrize("name", SIZES)
def test_bfloat16_autocast_trains(name: str) -> None:
    backbone = small(name)
    with torch.autocast("cpu", torch.bfloat16):
        features = backbone(pictures(backbone))
    features.float().square().mean().backward()
    for key, parameter in backbone.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", SIZES)
def test_same_seed_same_weights_and_a_copy_through_its_state(name: str) -> None:
    torch.manual_seed(5)
    first = small(name)
    torch.manual_seed(5)
    second = small(name)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    third = small(name)
    third.load_state_dict(first.state_dict())
    images = pictures(first)
    with torch.no_grad():
        torch.testing.assert_close(
            third.eval()(images), copy.deepcopy(first).eval()(images), rtol=0, atol=0
        )


@pytest.mark.parametrize("name", BACKBONES)
def test_stages_hold_every_weight_once_and_in_order(name: str) -> None:
    backbone = on_meta(name)
    names = [stage for stage, _ in backbone.stages()]
    assert names[0] == "stem"
    assert names[-1] == "output"
    assert len(set(names)) == len(names)
    staged = [id(p) for _, stage in backbone.stages() for p in stage.parameters()]
    assert len(set(staged)) == len(staged)
    # Torch lists a network's own parameters first, then its layers' in order of declaration, which
    # is input to output.
    own = {id(p) for p in backbone.parameters(recurse=False)}
    assert own <= set(staged)
    declared = [id(p) for p in backbone.parameters() if id(p) not in own]
    assert [number for number in staged if number not in own] == declared
    norms = [m for _, stage in backbone.stages() for m in stage.modules() if is_norm(m)]
    assert {id(m) for m in norms} == {id(m) for m in backbone.modules() if is_norm(m)}


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm)


@pytest.mark.parametrize("name", SIZES)
def test_frozen_stages_stay_through_a_training_step(name: str) -> None:
    backbone = small(name)
    freeze_stages(backbone, 2)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.train()
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    (backbone(pictures(backbone)) * torch.rand(backbone.dim)).square().sum().backward()
    optimizer.step()
    frozen = {id(t) for _, s in backbone.stages()[:2] for t in [*s.parameters(), *s.buffers()]}
    state = {**dict(backbone.named_parameters()), **dict(backbone.named_buffers())}
    for key, value in state.items():
        is_same = torch.equal(value.detach(), before[key])
        if id(value) in frozen:
            assert is_same, f"{key} is frozen and moved"
        elif key.endswith(("running_mean", "conv1.weight", "qkv.weight")):
            assert not is_same, f"{key} is free and did not move"


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("shape", [(2, 3, 40, 40), (2, 1, 112, 112), (3, 112, 112)])
def test_wrong_shapes_are_named(name: str, shape: tuple[int, ...]) -> None:
    backbone = small(name)
    side = backbone.input_size
    # The shape hook of the tests may speak first, where the axes themselves are wrong.
    with pytest.raises(Exception, match=rf"\(batch, 3, {side}, {side}\)|batch 3 height width"):
        backbone(torch.zeros(shape))


def test_the_message_of_a_wrong_size() -> None:
    with pytest.raises(
        ValueError, match=r"images must have shape \(batch, 3, 56, 56\), got \(2, 3, 64, 64\)"
    ):
        small("iresnet_tiny")(torch.zeros(2, 3, 64, 64))


@pytest.mark.parametrize("name", ["iresnet_tiny", "mobilefacenet", "vit_t"])
@pytest.mark.parametrize("size", [32, 50, 56, 64, 112])
def test_any_size(name: str, size: int) -> None:
    backbone = make_backbone(name, dim=16, input_size=size)
    assert backbone(torch.zeros(2, 3, size, size)).shape == (2, 16)


@pytest.mark.parametrize("name", BACKBONES)
def test_bad_sizes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        make_backbone(name, dim=0)
    with pytest.raises(ValueError, match=r"input_size must be .*, got 8"):
        make_backbone(name, **({} if name == "sface" else {"dim": 8}), input_size=8)


@pytest.mark.parametrize(("size", "side"), [(112, 7), (64, 4), (56, 4)])
def test_the_tiny_network_keeps_the_published_grid_before_its_linear_layer(
    size: int, side: int
) -> None:
    backbone = make_backbone("iresnet_tiny", dim=8, input_size=size)
    assert backbone.fc.in_features == 256 * side * side


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"backbone must be one of .*did you mean 'iresnet50'"):
        make_backbone("iresnet5O")


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="depth"):
        make_backbone("iresnet_tiny", depth=3)
