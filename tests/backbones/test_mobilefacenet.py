import torch
from torch import nn

from marginface.backbones import MobileFaceNet


def test_a_million_weights_as_in_the_paper() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in MobileFaceNet(dim=128).parameters())
    assert round(count / 1e6, 2) == 1.00


def test_sizes_of_table_1() -> None:
    """The input of every line of the paper's table 1, as (channels, side)."""
    network = MobileFaceNet(dim=128).eval()
    seen: list[tuple[int, ...]] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        seen.append(tuple(output.shape[1:3]))

    lines = [*network.stem, network.layer1, network.layer2, network.layer3, network.layer4]
    for module in [*lines, network.layer5, network.last, network.pool]:
        module.register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, 3, 112, 112))
    assert seen == [
        (64, 56),
        (64, 56),
        (64, 28),
        (128, 14),
        (128, 14),
        (128, 7),
        (128, 7),
        (512, 7),
        (512, 1),
    ]


def test_blocks_and_shortcuts_of_table_1() -> None:
    network = MobileFaceNet()
    layers = [network.layer1, network.layer2, network.layer3, network.layer4, network.layer5]
    assert [len(layer) for layer in layers] == [5, 1, 6, 1, 2]
    expansions = [block.expand.conv.out_channels // block.expand.conv.in_channels
                  for layer in layers for block in layer]  # fmt: skip
    assert expansions == [2, 2, 2, 2, 2, 4, 2, 2, 2, 2, 2, 2, 4, 2, 2]
    has_shortcut = [block.has_shortcut for layer in layers for block in layer]
    strided = {0, 5, 12}
    assert has_shortcut == [index not in strided for index in range(15)]


def test_a_shortcut_adds_the_input() -> None:
    block = MobileFaceNet().layer3[0].eval()
    x = torch.randn(2, 128, 6, 6)
    with torch.no_grad():
        branch = block.project(block.depthwise(block.expand(x)))
        torch.testing.assert_close(block(x), branch + x)
    assert isinstance(block.project.prelu, nn.Identity)
    assert isinstance(block.expand.prelu, nn.PReLU)
