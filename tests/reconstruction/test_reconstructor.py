"""Networks and scene: shapes, ranges, symmetry, the file."""

from pathlib import Path

import pytest
import torch

from marginface.errors import ModelFileError
from marginface.reconstruction import Reconstructor, load_reconstructor, save_reconstructor
from marginface.reconstruction.networks import Confidence, Decoder, Encoder, MapEncoder
from marginface.rendering import FAR, NEAR


@pytest.fixture
def networks() -> Reconstructor:
    torch.manual_seed(0)
    return Reconstructor(size=32, width=8, planes=16)


@pytest.mark.parametrize("size", [32, 48, 64, 112])
def test_shapes_at_any_multiple_of_sixteen(size: int) -> None:
    code = Encoder(size, 12, width=8, normalised=True)(torch.zeros(2, 3, size, size))
    assert code.shape == (2, 12)
    assert Decoder(size, 12, 3, width=8)(code).shape == (2, 3, size, size)
    fine, coarse = Confidence(size, width=8, code=8)(torch.zeros(2, 3, size, size))
    assert fine.shape == (2, 2, size, size)
    assert coarse.shape == (2, 2, size // 4, size // 4)
    assert float(fine.detach().min()) > 0


@pytest.mark.parametrize("shape", [(4, 3, 3), (6, 14, 14), (5, 7, 7), (3, 1, 1)])
def test_feature_maps_of_any_shape(shape: tuple[int, int, int]) -> None:
    assert MapEncoder(shape, 9, width=8)(torch.zeros(2, *shape)).shape == (2, 9)


@pytest.mark.parametrize("size", [16, 40, 63])
def test_refuses_other_sizes(size: int) -> None:
    with pytest.raises(ValueError, match="size must be a multiple of 16"):
        Reconstructor(size=size, width=8)


def test_scene_keeps_its_ranges(networks: Reconstructor) -> None:
    with torch.no_grad():
        scene = networks(torch.rand(3, 3, 48, 48) * 2 - 1)
    assert scene.depth.shape == (3, 32, 32)
    assert NEAR <= float(scene.depth.min()) <= float(scene.depth.max()) <= FAR
    assert float(scene.albedo.abs().max()) <= 1
    assert 0 <= float(scene.light[:, :2].min()) <= float(scene.light[:, :2].max()) <= 1
    assert float(scene.view[:, 5].abs().max()) == 0
    assert scene.sigma is None


def test_begins_flat(networks: Reconstructor) -> None:
    with torch.no_grad():
        depth = networks(torch.rand(2, 3, 32, 32) * 2 - 1).depth
    assert float((depth[:, :, 2:-2] - 1).abs().max()) < 0.01


def test_depth_may_shift_if_asked() -> None:
    torch.manual_seed(0)
    networks = Reconstructor(size=32, width=8, depth_range=0.1)
    with torch.no_grad():
        assert float(networks(torch.randn(2, 3, 32, 32)).view[:, 5].abs().max()) > 0


def test_feature_map_must_be_what_was_promised(networks: Reconstructor) -> None:
    with pytest.raises(ValueError, match="feature_map must be none, got"):
        networks(torch.zeros(1, 3, 32, 32), torch.zeros(1, 4, 2, 2))
    other = Reconstructor(size=32, width=8, feature_shape=(4, 2, 2))
    with pytest.raises(ValueError, match=r"feature_map must be shape \(4, 2, 2\), got none"):
        other(torch.zeros(1, 3, 32, 32))
    assert other(torch.zeros(1, 3, 32, 32), torch.zeros(1, 4, 2, 2)).depth.shape == (1, 32, 32)


def test_canonical_face_is_the_rendering_without_a_view(networks: Reconstructor) -> None:
    scene = networks(torch.rand(2, 3, 32, 32) * 2 - 1)
    torch.testing.assert_close(networks.draw(scene).canonical, networks.canonical(scene))


def test_file_gives_back_the_same_networks(networks: Reconstructor, tmp_path: Path) -> None:
    path = tmp_path / "reconstruction.safetensors"
    save_reconstructor(path, networks, decoder_input="image")
    saved = load_reconstructor(path)
    images = torch.rand(2, 3, 32, 32)
    networks.eval()
    assert saved.decoder_input == "image"
    assert torch.equal(saved.reconstructor(images).depth, networks(images).depth)


@pytest.mark.parametrize("harm", ["absent", "cut", "foreign"])
def test_file_is_not_believed(networks: Reconstructor, tmp_path: Path, harm: str) -> None:
    path = tmp_path / "reconstruction.safetensors"
    if harm != "absent":
        save_reconstructor(path, networks, decoder_input="image")
        content = path.read_bytes()
        if harm == "cut":
            path.write_bytes(content[:-100])
        else:
            path.write_bytes(content.replace(b'reconstruction\\"', b'somethingelse!\\"', 1))
    with pytest.raises(ModelFileError, match=r"reconstruction\.safetensors"):
        load_reconstructor(path)
