import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marginface.data import Augmentation
from marginface.data.augmentation import LUMA
from tests.data.made import smooth_image

IMAGES = np.stack([smooth_image(seed, 32) for seed in range(40)])
ALL = Augmentation(
    crop=0.5, low_resolution=0.5, photometric=0.5, shift=0.1, zoom=0.1, turn_rad=0.2, erase=0.5
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def applied(**options: float) -> NDArray[np.uint8]:
    return Augmentation(flip=False, **options).apply(IMAGES, generator())


def test_nothing_chosen_changes_nothing() -> None:
    np.testing.assert_array_equal(applied(), IMAGES)


def test_flip_mirrors_about_half() -> None:
    changed = Augmentation().apply(IMAGES, generator())
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(changed, IMAGES, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(changed, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 10 <= sum(mirrored) <= 30


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_a_picture_depends_on_its_place_alone(seed: int) -> None:
    whole = ALL.apply(IMAGES[:9], generator(seed))
    np.testing.assert_array_equal(ALL.apply(IMAGES[:4], generator(seed)), whole[:4])
    others = IMAGES[:9].copy()
    others[3] = 0
    np.testing.assert_array_equal(ALL.apply(others, generator(seed))[4:], whole[4:])


def test_arguments_stay_as_they_are() -> None:
    images = IMAGES.copy()
    changed = ALL.apply(images, generator())
    np.testing.assert_array_equal(images, IMAGES)
    assert changed.shape == images.shape
    assert changed.dtype == np.uint8


@pytest.mark.parametrize(
    "name", ["crop", "low_resolution", "photometric", "erase", "shift", "zoom", "turn_rad"]
)
def test_each_changes_by_itself(name: str) -> None:
    changed = applied(**{name: 0.3})
    touched = [not np.array_equal(a, b) for a, b in zip(changed, IMAGES, strict=True)]
    always = name in ("shift", "zoom", "turn_rad")
    assert sum(touched) == 40 if always else 4 <= sum(touched) <= 22


def test_crop_keeps_a_box_in_its_place() -> None:
    areas = []
    for changed, image in zip(applied(crop=1.0), IMAGES, strict=True):
        rows, columns = np.nonzero((changed == image).all(axis=2) & changed.any(axis=2))
        box = np.zeros((32, 32), bool)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        np.testing.assert_array_equal(changed[box], image[box])
        assert not changed[~box].any()
        areas.append(box.mean())
    assert 0.15 < min(areas) < 0.45
    assert max(areas) > 0.8


def test_erase_fills_a_small_box() -> None:
    for changed, image in zip(applied(erase=1.0), IMAGES, strict=True):
        differs = (changed != image).any(axis=2)
        assert 0.01 <= differs.mean() <= 0.22
        assert (changed[differs] == 128).all()


def test_low_resolution_loses_detail_and_keeps_the_mean() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    changed = Augmentation(flip=False, low_resolution=1.0).apply(noise, generator())
    deviation = changed.std(axis=(1, 2, 3)) / noise.std(axis=(1, 2, 3))
    assert deviation.min() < 0.35
    assert deviation.mean() < 0.9
    np.testing.assert_allclose(changed.mean(axis=(1, 2, 3)), 127.5, atol=8)


def test_photometric_is_the_stated_map() -> None:
    image = np.random.default_rng(1).integers(60, 120, (1, 8, 8, 3), dtype=np.uint8)
    for seed in range(10):
        row = generator(seed).random((1, 24))[0]
        brightness, contrast, saturation = 0.5 + row[15:18]
        expected = image[0] * brightness
        expected = contrast * expected + (1 - contrast) * (expected @ LUMA).mean()
        expected = saturation * expected + (1 - saturation) * (expected @ LUMA)[..., None]
        changed = Augmentation(flip=False, photometric=1.0).apply(image, generator(seed))
        np.testing.assert_allclose(changed[0], np.clip(expected, 0, 255), atol=0.75)


def test_shift_moves_by_at_most_its_share() -> None:
    """A white dot in the middle goes where it is told, in both directions."""
    images = np.zeros((200, 41, 41, 3), np.uint8)
    images[:, 19:22, 19:22] = 255
    changed = Augmentation(flip=False, shift=0.2).apply(images, generator())[..., 0].astype(float)
    rows, columns = np.mgrid[:41, :41]
    total = changed.sum(axis=(1, 2))
    down = (changed * rows).sum(axis=(1, 2)) / total - 20
    right = (changed * columns).sum(axis=(1, 2)) / total - 20
    for moved in (down, right):
        assert np.abs(moved).max() <= 0.2 * 41 + 0.1
        assert moved.min() < -7
        assert moved.max() > 7
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 1.5}, r"crop must lie in \[0, 1\], got 1.5"),
        ({"shift": 0.6}, r"shift must lie in \[0, 0.5\], got 0.6"),
        ({"turn_rad": 10.0}, r"turn_rad must lie in \[0, 3.142\], got 10"),
        ({"erase": float("nan")}, "erase must lie in"),
    ],
)
def test_refuses(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)


def test_the_paper_set() -> None:
    chosen = Augmentation.adaface()
    assert (chosen.crop, chosen.low_resolution, chosen.photometric) == (0.2, 0.2, 0.2)
    assert chosen.flip
    assert chosen.erase == chosen.shift == 0
