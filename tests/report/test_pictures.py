import base64

import cv2
import numpy as np
import pytest

from marginface.report import contact_sheet, encode_picture
from marginface.report.pictures import picture_uri

RED = np.full((10, 8, 3), (255, 0, 0), np.uint8)
GREY = np.full((6, 8), 100, np.uint8)


def test_pictures_stand_in_rows_on_white():
    sheet = contact_sheet([RED, RED, RED], 2)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * 14 + 4, 2 * 12 + 4, 3)
    assert sheet[4, 4].tolist() == sheet[13, 11].tolist() == [255, 0, 0]
    assert sheet[18, 4].tolist() == [255, 0, 0]
    assert sheet[18, 16].tolist() == [255, 255, 255]  # there is no fourth


def test_smaller_and_grey_pictures_are_centred():
    sheet = contact_sheet([RED, GREY], 5)
    assert sheet[6 - 1, 16].tolist() == [255, 255, 255]
    assert sheet[6, 16].tolist() == sheet[11, 16].tolist() == [100, 100, 100]
    assert sheet[12, 16].tolist() == [255, 255, 255]


def test_labels_are_drawn_below_and_cut_to_the_cell():
    wide = np.zeros((10, 40, 3), np.uint8)
    sheet = contact_sheet([wide, wide], 2, ["ab", "a very long label indeed"])
    plain = contact_sheet([wide, wide], 2, ["", ""])
    changed = np.argwhere((sheet != plain).any(axis=2))
    assert changed[:, 0].min() >= 14
    assert sheet.shape[0] == 4 + 10 + 4 + 14
    gap = sheet[:, 44:48]
    assert np.all(gap == 255)


@pytest.mark.parametrize(
    ("images", "columns", "labels", "message"),
    [
        ([], 2, None, "images must hold at least one picture, got none"),
        ([RED], 0, None, "columns must be at least 1, got 0"),
        ([RED], 1, ["a", "b"], "labels must be 1, one per picture, got 2"),
        ([RED, RED[..., :2]], 1, None, r"images\[1\] must be uint8 .* got uint8 \(10, 8, 2\)"),
    ],
)
def test_what_cannot_be_laid_out_is_named(images, columns, labels, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(images, columns, labels)


def test_a_picture_comes_back_from_base64_in_rgb():
    png = np.frombuffer(base64.b64decode(encode_picture(RED)), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(png, cv2.IMREAD_COLOR)[:, :, ::-1], RED)


def test_a_data_uri_stays_as_it_is():
    assert picture_uri("AAAA") == "data:image/png;base64,AAAA"
    assert picture_uri("data:image/webp;base64,AAAA") == "data:image/webp;base64,AAAA"
