import pytest

from marginface.backbones import freeze_stages, make_backbone


def test_freezing_is_counted_from_the_input_and_never_undone() -> None:
    backbone = make_backbone("iresnet_tiny", dim=8, input_size=32)
    freeze_stages(backbone, 3)
    freeze_stages(backbone, 1)
    backbone.train()
    learns = {
        name: any(p.requires_grad for p in stage.parameters()) for name, stage in backbone.stages()
    }
    assert learns == {
        "stem": False,
        "layer1": False,
        "layer2": False,
        "layer3": True,
        "layer4": True,
        "output": True,
    }
    assert not backbone.layer2[0].bn1.training
    assert backbone.layer3[0].bn1.training
    backbone.eval()
    assert not backbone.layer3[0].bn1.training


def test_freezing_nothing_leaves_everything() -> None:
    backbone = make_backbone("iresnet_tiny", dim=8, input_size=32)
    freeze_stages(backbone, 0)
    fixed = [name for name, p in backbone.named_parameters() if not p.requires_grad]
    assert fixed == ["features.weight"]


@pytest.mark.parametrize("count", [-1, 7])
def test_a_count_beyond_the_stages_is_refused(count: int) -> None:
    backbone = make_backbone("iresnet_tiny", dim=8, input_size=32)
    with pytest.raises(
        ValueError, match=rf"count must lie in \[0, 6\] \(stem, .*output\), got {count}"
    ):
        freeze_stages(backbone, count)
    assert all(p.requires_grad for p in backbone.conv1.parameters())
