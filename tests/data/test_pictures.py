from pathlib import Path

import cv2
import numpy as np
import pytest

from marginface.data import read_picture
from marginface.errors import DataError
from tests.data.made import PICTURES, save, smooth_image

PORTRAIT = PICTURES / "rishi_sunak" / "rishi_sunak_0001.jpg"


def exif_turned(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF block with nothing but an orientation behind the beginning of a JPEG."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\x00\x00"
    body = b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


@pytest.mark.parametrize("ending", [".png", ".bmp", ".ppm"])
def test_exact_formats_come_back_as_rgb(tmp_path: Path, ending: str) -> None:
    image = smooth_image(0, 20)
    np.testing.assert_array_equal(read_picture(save(tmp_path / f"a{ending}", image)), image)


@pytest.mark.parametrize("ending", [".pgm", ".png", ".jpg"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, ending: str) -> None:
    grey = smooth_image(1, 20)[..., 0]
    read = read_picture(save(tmp_path / f"a{ending}", grey))
    assert read.shape == (20, 20, 3)
    assert (read == read[..., :1]).all()
    assert np.abs(read[..., 0].astype(int) - grey).mean() < 4


def test_transparency_and_16_bits(tmp_path: Path) -> None:
    image = smooth_image(2, 20)
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([image[..., ::-1], image[..., 0]]))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "b.png"), image[..., 0].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png")[..., 1], image[..., 0])


def test_exif_turn(tmp_path: Path) -> None:
    upright = read_picture(PORTRAIT)
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(exif_turned(PORTRAIT.read_bytes(), 6))
    np.testing.assert_array_equal(read_picture(turned), np.rot90(upright, -1))


def test_text_named_jpg(tmp_path: Path) -> None:
    file = tmp_path / "note.jpg"
    file.write_text("this is no picture")
    with pytest.raises(
        DataError, match=r"note.jpg must be a JPEG, PNG, WebP, PGM or BMP picture, got 18"
    ):
        read_picture(file)
    file.write_bytes(b"")
    with pytest.raises(DataError, match="must be a picture, got an empty file"):
        read_picture(file)
    with pytest.raises(DataError, match=r"absent.jpg could not be read \(No such file"):
        read_picture(tmp_path / "absent.jpg")


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".ppm", ".pgm", ".webp"])
@pytest.mark.parametrize("kept", [0.3, 0.8, 0.97])
def test_cut_off_file(tmp_path: Path, ending: str, kept: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = save(tmp_path / f"a{ending}", image[..., 0] if ending == ".pgm" else image)
    assert read_picture(whole).shape == (40, 40, 3)
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=rf"a{ending} is cut off after [\d,]+ bytes"):
        read_picture(whole)


def test_cut_off_behind_an_exif_thumbnail(tmp_path: Path) -> None:
    """The end mark of a thumbnail inside the header must not pass for the picture's own."""
    content = PORTRAIT.read_bytes()
    _, thumbnail = cv2.imencode(".jpg", smooth_image(0, 16))
    body = b"Exif\x00\x00" + thumbnail.tobytes()
    header = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    file = tmp_path / "a.jpg"
    file.write_bytes(content[:2] + header + content[2:])
    assert read_picture(file).shape == read_picture(PORTRAIT).shape
    file.write_bytes(content[:2] + header + content[2 : len(content) // 2])
    with pytest.raises(DataError, match="cut off"):
        read_picture(file)


def test_pgm_with_comment(tmp_path: Path) -> None:
    file = tmp_path / "a.pgm"
    file.write_bytes(b"P5\n# made by hand 9 9\n2 3\n# more\n255\n" + bytes(range(6)))
    np.testing.assert_array_equal(read_picture(file)[..., 0], np.arange(6).reshape(3, 2))
    file.write_bytes(b"P5\n# made by hand 9 9\n2 3\n# more\n255\n" + bytes(range(5)))
    with pytest.raises(DataError, match="cut off"):
        read_picture(file)
