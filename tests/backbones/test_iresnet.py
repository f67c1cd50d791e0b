"""IResNet against its published sizes, its published names, and a twin from its equation."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from marginface.backbones import IResNet, make_backbone

# Trainable and fixed weights at 112 pixels and 512 values, as published with arcface_torch.
MILLIONS = {"iresnet18": 24.03, "iresnet34": 34.14, "iresnet50": 43.59, "iresnet100": 65.16}
BLOCKS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}


@cache
def on_meta(name: str) -> IResNet:
    with torch.device("meta"):
        return make_backbone(name)


@pytest.mark.parametrize("name", MILLIONS)
def test_published_counts(name: str) -> None:
    count = sum(p.numel() for p in on_meta(name).parameters())
    assert round(count / 1e6, 2) == MILLIONS[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_published_depths(name: str) -> None:
    network = on_meta(name)
    layers = (network.layer1, network.layer2, network.layer3, network.layer4)
    assert tuple(len(layer) for layer in layers) == BLOCKS[name]


def norm(name: str) -> list[str]:
    parts = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    return [f"{name}.{part}" for part in parts]


def test_names_are_those_of_public_weights() -> None:
    expected = ["conv1.weight", *norm("bn1"), "prelu.weight"]
    for layer, count in enumerate(BLOCKS["iresnet50"], start=1):
        for block in range(count):
            at = f"layer{layer}.{block}"
            expected += [*norm(f"{at}.bn1"), f"{at}.conv1.weight", *norm(f"{at}.bn2")]
            expected += [f"{at}.prelu.weight", f"{at}.conv2.weight", *norm(f"{at}.bn3")]
            if block == 0:
                expected += [f"{at}.downsample.0.weight", *norm(f"{at}.downsample.1")]
    expected += [*norm("bn2"), "fc.weight", "fc.bias", *norm("features")]
    assert list(on_meta("iresnet50").state_dict()) == expected


def test_shapes_of_public_weights() -> None:
    state = on_meta("iresnet100").state_dict()
    shapes = {
        "conv1.weight": (64, 3, 3, 3),
        "prelu.weight": (64,),
        "layer1.0.bn1.weight": (64,),
        "layer2.0.conv1.weight": (128, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer3.29.bn3.running_var": (256,),
        "layer4.0.conv2.weight": (512, 512, 3, 3),
        "fc.weight": (512, 25088),
        "fc.bias": (512,),
        "features.weight": (512,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def twin(state: dict[str, Tensor], images: Tensor, blocks: tuple[int, ...]) -> Tensor:
    """The network in evaluation mode, from the equation of the module and nothing else."""

    def bn(x: Tensor, name: str) -> Tensor:
        shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
        mean, var, weight, bias = (
            state[f"{name}.{key}"].view(shape)
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def prelu(x: Tensor, name: str) -> Tensor:
        return torch.where(x > 0, x, x * state[f"{name}.weight"].view(1, -1, 1, 1))

    x = prelu(bn(F.conv2d(images, state["conv1.weight"], padding=1), "bn1"), "prelu")
    for layer, count in enumerate(blocks, start=1):
        for block in range(count):
            at, stride = f"layer{layer}.{block}", 2 if block == 0 else 1
            y = F.conv2d(bn(x, f"{at}.bn1"), state[f"{at}.conv1.weight"], padding=1)
            y = prelu(bn(y, f"{at}.bn2"), f"{at}.prelu")
            y = bn(F.conv2d(y, state[f"{at}.conv2.weight"], stride=stride, padding=1), f"{at}.bn3")
            if block == 0:
                x = F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=2)
                x = bn(x, f"{at}.downsample.1")
            x = x + y
    x = bn(x, "bn2").reshape(len(x), -1)
    return bn(x @ state["fc.weight"].T + state["fc.bias"], "features")


def test_equals_a_twin_written_from_the_equation() -> None:
    blocks = (1, 2, 1, 1)
    network = IResNet(blocks=blocks, widths=(4, 6, 8, 10), dim=5, input_size=48).double().eval()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():  # every norm and slope away from its neutral value
            tensor.copy_(torch.rand_like(tensor) + 0.1 if "var" in name else 0.5 * tensor + 0.3)
            tensor.mul_(1 + 0.3 * torch.randn_like(tensor).clamp(-1, 1))
    images = torch.rand(3, 3, 48, 48, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(
            network(images), twin(network.state_dict(), images, blocks), rtol=1e-9, atol=1e-9
        )


def test_first_weights() -> None:
    network = make_backbone("iresnet18", input_size=32)
    for layer in (network.conv1, network.layer4[1].conv2):
        torch.testing.assert_close(layer.weight.std(), torch.tensor(0.1), rtol=0.1, atol=0)
        assert layer.weight.mean().abs() < 0.02
    assert not network.features.weight.requires_grad
    torch.testing.assert_close(network.features.weight, torch.ones(512), rtol=0, atol=0)
    assert network.features.bias.requires_grad


def test_dropout_acts_in_training_only() -> None:
    network = make_backbone("iresnet_tiny", dim=8, input_size=32, dropout=0.5)
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(network(images), network(images))
        network.eval()
        assert torch.equal(network(images), network(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": (1, 1, 1)}, r"blocks must hold four counts of at least 1, got \(1, 1, 1\)"),
        ({"widths": (8, 8, 0, 8)}, r"widths must hold four counts .* got \(8, 8, 0, 8\)"),
        ({"strides": (2, 2)}, "strides must hold four"),
        ({"dropout": 1.0}, r"dropout must be a fraction in \[0, 1\), got 1.0"),
        ({"stem_stride": 0}, "stem_stride must be at least 1, got 0"),
        ({"input_size": 16}, "input_size must be at least 32, got 16"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_backbone("iresnet_tiny", **{"dim": 8, **options})


def test_the_last_scale_learns_where_asked() -> None:
    pinned = make_backbone("iresnet_tiny", dim=8, input_size=32)
    free = make_backbone("iresnet_tiny", dim=8, input_size=32, freeze_bn_scale=False)
    assert not pinned.features.weight.requires_grad
    assert free.features.weight.requires_grad
    assert pinned.state_dict().keys() == free.state_dict().keys()
