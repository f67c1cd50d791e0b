"""A recogniser that looks at reconstructions: widened at zero, saved and loaded whole."""

from pathlib import Path

import pytest
import torch
from torch import nn

from marginface.backbones import make_backbone
from marginface.recognition import Recognizer, load_model
from marginface.reconstruction import ReconstructionConfig, Reconstructor
from marginface.reconstruction.fusion import (
    FusedRecogniser,
    ImageAlone,
    make_networks,
    widen_first_convolution,
)
from marginface.training import train
from tests.training.tiny import tiny_config, write_pack


def backbone() -> nn.Module:
    torch.manual_seed(0)
    return make_backbone("iresnet_tiny", dim=8, input_size=32, widths=(4, 4, 8, 8)).eval()


def networks(**options: object) -> Reconstructor:
    torch.manual_seed(1)
    return Reconstructor(size=32, width=8, planes=8, **options).eval()


def test_widening_changes_nothing_at_first() -> None:
    inner, images = backbone(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = inner(images)
        widen_first_convolution(inner, 7)
        after = inner.extract(torch.cat([images, torch.rand(2, 4, 32, 32)], dim=1))
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(
    ("fr_input", "channels"), [("canon", 3), ("canon+depth", 4), ("image+canon+depth", 7)]
)
@pytest.mark.parametrize("decoder_input", ["image", "layer2"])
def test_every_input(fr_input: str, channels: int, decoder_input: str) -> None:
    inner = backbone()
    config = ReconstructionConfig(size=32, width=8, decoder_input=decoder_input, planes=8)
    made = make_networks(config, inner, input_size=32).eval()
    fused = FusedRecogniser(inner, made, decoder_input=decoder_input, fr_input=fr_input)
    assert next(m for m in inner.modules() if isinstance(m, nn.Conv2d)).in_channels == channels
    first = next(m for m in inner.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        first.weight.add_(0.01)  # the new channels begin at zero, and let nothing through
    images = torch.rand(2, 3, 32, 32)
    features = fused(images)
    assert features.shape == (2, 8)
    features.square().sum().backward()
    reached = max(float(p.grad.abs().max()) for p in made.albedo_decoder.parameters())
    assert reached > 0
    with torch.no_grad():
        alone = ImageAlone(fused)(images)
        assert not torch.allclose(alone, features)


def test_image_and_canon_and_depth_begins_as_the_plain_recogniser() -> None:
    inner, images = backbone(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = inner(images)
        fused = FusedRecogniser(
            inner, networks(), decoder_input="image", fr_input="image+canon+depth"
        )
        torch.testing.assert_close(fused(images), before)


def test_a_fused_run_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "pack")
    config = tiny_config(
        pack,
        accumulate=1,
        steps=3,
        reconstruction=ReconstructionConfig(
            size=32, width=8, decoder_input="layer2", planes=8, fr_input="canon+depth"
        ),
    )
    result = train(config, tmp_path / "run", is_quiet=True)
    loaded, contract = load_model(result.model_path)
    assert isinstance(loaded, FusedRecogniser)
    assert contract.options["fusion"]["fr_input"] == "canon+depth"
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert loaded(images).shape == (2, 8)
    recognizer = Recognizer.load(result.model_path)
    faces = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8).numpy()
    assert recognizer.embed_aligned(faces).shape == (2, 8)
