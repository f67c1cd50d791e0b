import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from marginface.backbones import make_backbone
from marginface.errors import DataError, ModelFileError, NoFaceError, WeightsError
from marginface.recognition import MatchThreshold, ModelContract, Recognizer, save_model

PICTURES = Path(__file__).parents[1] / "pictures"
MACRON = [PICTURES / f"emmanuel_macron/emmanuel_macron_000{n}.jpg" for n in (1, 2)]
ARDERN = [PICTURES / f"jacinda_ardern/jacinda_ardern_000{n}.jpg" for n in (1, 2)]
OBAMA = PICTURES / "barack_obama/barack_obama_0001.jpg"

CONTRACT = ModelContract(architecture="iresnet_tiny", dim=16, input_size=(32, 32))


@pytest.fixture
def tiny() -> Recognizer:
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    return Recognizer.from_backbone(backbone, CONTRACT, name="tiny")


def test_same_person_scores_higher(sface: Recognizer) -> None:
    macron, ardern = sface.verify(*MACRON), sface.verify(str(ARDERN[0]), ARDERN[1])
    stranger = sface.verify(MACRON[0], OBAMA)
    assert macron.is_match
    assert ardern.is_match
    assert stranger.is_match is False
    # Bands around 0.59, 0.73 and 0.07, wide enough for other decoders and narrow enough for faults
    # of colour order, of mirroring and of alignment.
    assert macron.score > 0.5
    assert ardern.score > 0.6
    assert abs(stranger.score) < 0.25


def test_the_threshold_states_its_origin(sface: Recognizer) -> None:
    said = sface.verify(*MACRON)
    assert (said.threshold, said.fmr) == (0.363, None)
    assert "LFW, by OpenCV" in said.fixed_on


def test_order_does_not_matter(sface: Recognizer) -> None:
    assert sface.verify(*ARDERN) == sface.verify(*reversed(ARDERN))


def test_a_picture_equals_itself(sface: Recognizer) -> None:
    assert sface.verify(OBAMA, OBAMA).score == pytest.approx(1, abs=1e-6)
    assert sface.verify(OBAMA, OBAMA, threshold=1.0).score <= 1


def test_own_threshold(sface: Recognizer) -> None:
    said = sface.verify(*MACRON, threshold=0.99)
    assert said.is_match is False
    assert (said.threshold, said.fmr, said.fixed_on) == (0.99, None, "given by the caller")
    with pytest.raises(ValueError, match=r"threshold must be a cosine in \[-1, 1\], got 36.3"):
        sface.verify(*MACRON, threshold=36.3)


def test_accepts_at_the_threshold(sface: Recognizer) -> None:
    score = sface.verify(*MACRON).score
    assert sface.verify(*MACRON, threshold=score).is_match
    assert sface.verify(*MACRON, threshold=float(np.nextafter(score, 2))).is_match is False


def test_no_threshold_no_decision(tiny: Recognizer) -> None:
    said = tiny.verify(*MACRON)
    assert (said.threshold, said.is_match, said.fmr, said.fixed_on) == (None, None, None, "")


def test_threshold_of_the_model_file() -> None:
    fixed = MatchThreshold(value=-1.0, fmr=0.01, fixed_on="val pairs")
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    contract = replace(CONTRACT, threshold=fixed)
    said = Recognizer.from_backbone(backbone, contract, name="tiny").verify(*MACRON)
    assert (said.threshold, said.fmr, said.fixed_on) == (-1.0, 0.01, "val pairs")
    assert said.is_match


def test_array_equals_path(sface: Recognizer) -> None:
    import cv2

    picture = cv2.imread(str(OBAMA), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(sface.embed(picture), sface.embed(OBAMA))


def test_aligned_picture_goes_in_as_it_is(tiny: Recognizer, crops: NDArray[np.uint8]) -> None:
    alone = tiny.embed(crops[0], is_aligned=True)
    np.testing.assert_allclose(alone, tiny.embed_aligned(crops)[0], atol=1e-6)


@pytest.mark.parametrize("flip_average", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_batch_size_changes_nothing(
    tiny: Recognizer, crops: NDArray[np.uint8], batch_size: int, flip_average: bool
) -> None:
    whole = tiny.embed_aligned(crops, batch_size=5, flip_average=flip_average)
    parts = tiny.embed_aligned(crops, batch_size=batch_size, flip_average=flip_average)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert parts.dtype == np.float32
    assert parts.shape == (5, 16)
    np.testing.assert_allclose(np.linalg.norm(parts, axis=1), 1, atol=1e-6)


def test_flip_average_does_not_see_mirroring(tiny: Recognizer, crops: NDArray[np.uint8]) -> None:
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    averaged = tiny.embed_aligned(crops, flip_average=True)
    np.testing.assert_allclose(tiny.embed_aligned(mirrored, flip_average=True), averaged, atol=1e-5)
    plain = tiny.embed_aligned(crops)
    assert np.abs(tiny.embed_aligned(mirrored) - plain).max() > 1e-3
    assert np.abs(averaged - plain).max() > 1e-3


def test_flip_average_sums_raw_features(tiny: Recognizer, crops: NDArray[np.uint8]) -> None:
    both = tiny.network.features(crops) + tiny.network.features(crops[:, :, ::-1].copy())
    expected = both / np.linalg.norm(both, axis=1, keepdims=True)
    np.testing.assert_allclose(tiny.embed_aligned(crops, flip_average=True), expected, atol=1e-5)


def test_flip_average_by_contract(crops: NDArray[np.uint8]) -> None:
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    flips = Recognizer.from_backbone(backbone, replace(CONTRACT, flip_average=True), name="tiny")
    averaged = flips.embed_aligned(crops, flip_average=True)
    np.testing.assert_array_equal(flips.embed_aligned(crops), averaged)
    assert np.abs(flips.embed_aligned(crops, flip_average=False) - averaged).max() > 1e-3


def test_no_faces_no_rows(tiny: Recognizer, crops: NDArray[np.uint8]) -> None:
    assert tiny.embed_aligned(crops[:0]).shape == (0, 16)


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        (np.zeros((1, 3, 32, 32), np.uint8), r"got uint8 \(1, 3, 32, 32\)"),
        (np.zeros((32, 32, 3), np.uint8), r"got uint8 \(32, 32, 3\)"),
    ],
)
def test_wrong_faces(tiny: Recognizer, faces: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.embed_aligned(faces)


def test_wrong_batch_size(tiny: Recognizer, crops: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        tiny.embed_aligned(crops, batch_size=0)


def test_no_face(sface: Recognizer, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "wall.png"), np.full((90, 80, 3), 128, np.uint8))
    with pytest.raises(NoFaceError, match=r"no face was found in .*wall.png of 90 x 80 pixels; "):
        sface.embed(tmp_path / "wall.png")
    with pytest.raises(NoFaceError, match="found in the picture of 90 x 80"):
        sface.embed(np.full((90, 80, 3), 128, np.uint8))


def test_no_picture(sface: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(DataError, match=r"text.jpg must be a JPEG"):
        sface.embed(tmp_path / "text.jpg")
    with pytest.raises(DataError, match=r"absent.jpg could not be read"):
        sface.embed(tmp_path / "absent.jpg")
    with pytest.raises(ValueError, match=r"picture must be a path, or RGB .* got uint8 \(9, 9\)"):
        sface.embed(np.zeros((9, 9), np.uint8))


def test_load_finds_model_files(tiny: Recognizer, crops: NDArray[np.uint8], tmp_path: Path) -> None:
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    save_model(tmp_path / "model.safetensors", backbone, CONTRACT)
    loaded = Recognizer.load(tmp_path / "model.safetensors")
    memory = Recognizer.from_backbone(backbone, CONTRACT, name="memory")
    assert loaded.name == str(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.embed_aligned(crops), memory.embed_aligned(crops))


def test_load_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model must be one of sface, .*; did you mean 'sface'\?"):
        Recognizer.load("sfacee")
    with pytest.raises(ModelFileError, match=r"absent.safetensors does not exist"):
        Recognizer.load(tmp_path / "absent.safetensors")
    with pytest.raises(ModelFileError, match="is a folder"):
        Recognizer.load(tmp_path)
    with pytest.raises(ValueError, match="contract goes with an ONNX file only"):
        Recognizer.load("sface", contract=CONTRACT)
    with pytest.raises(WeightsError, match="not found"):
        Recognizer.load("sface", weights=tmp_path / "absent.onnx")


def test_loading_draws_nothing_from_the_global_state() -> None:
    state = torch.get_rng_state()
    Recognizer.load("sface")
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)


def test_the_package_exports_the_recognizer_and_stays_light() -> None:
    code = (
        "import sys, marginface, marginface.evaluation\n"
        "assert 'torch' not in sys.modules\n"
        "from marginface import Recognizer\n"
        "assert Recognizer.__name__ == 'Recognizer'\n"
        "try:\n    marginface.Recogniser\n"
        "except AttributeError:\n    pass\n"
        "else:\n    raise SystemExit(1)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_travels_to_another_process(sface: Recognizer) -> None:
    """Process pools pickle what they call; the open detector is opened anew over there."""
    expected = sface.embed(OBAMA)
    other = pickle.loads(pickle.dumps(sface))
    np.testing.assert_array_equal(other.embed(OBAMA), expected)
    assert other.detector is not sface.detector


def test_says_what_it_is(sface: Recognizer, tiny: Recognizer) -> None:
    assert repr(sface) == "Recognizer(sface: sface, dim 128, threshold 0.363)"
    assert repr(tiny) == "Recognizer(tiny: iresnet_tiny, dim 16, no threshold)"
