"""Repeated pictures against brute force over all pairs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marginface.data import open_encoded
from marginface.data.duplicates import (
    Signatures,
    alike_pairs,
    exact_groups,
    near_pairs,
    perceptual_hash,
    signatures,
)
from tests.data.made import save, smooth_image

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=12)


@settings(max_examples=50)
@given(HASHES, st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=6))))
def test_near_pairs_are_those_of_brute_force(
    numbers: list[int], changed: list[tuple[int, set[int]]]
) -> None:
    for row, bits in changed:
        if numbers:
            numbers.append(numbers[row % len(numbers)] ^ sum(1 << bit for bit in bits))
    is_first = [number not in numbers[:row] for row, number in enumerate(numbers)]
    expected = [
        [one, two]
        for one in range(len(numbers))
        for two in range(one + 1, len(numbers))
        if is_first[one] and (is_first[two] or numbers[one] == numbers[two])
        if (numbers[one] ^ numbers[two]).bit_count() <= 4
    ]
    found, is_whole = near_pairs(np.array(numbers, dtype=np.uint64))
    assert found.tolist() == expected
    assert is_whole


def test_a_short_reach_is_told() -> None:
    hashes = np.array([0, *(1 << bit for bit in range(20, 29))], np.uint64)
    found, is_whole = near_pairs(hashes, reach=3)
    assert not is_whole
    assert 10 < len(found) < 45
    found, is_whole = near_pairs(hashes, reach=10)
    assert is_whole
    assert len(found) == 45
    found, is_whole = near_pairs(hashes, reach=10, limit=12)
    assert not is_whole
    assert 0 < len(found) <= 12
    with pytest.raises(ValueError, match=r"most must lie in \[0, 4\], got 5"):
        near_pairs(hashes, most=5)


def test_equal_hashes_are_joined_once() -> None:
    found, is_whole = near_pairs(np.full(5000, 7, np.uint64))
    assert is_whole
    np.testing.assert_array_equal(found, [[0, row] for row in range(1, 5000)])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()), max_size=9))
def test_exact_groups_are_those_of_brute_force(rows: list[tuple[int, int, bool]]) -> None:
    sizes = np.array([[8 * is_there, 8] for *_, is_there in rows], dtype=np.int64).reshape(-1, 2)
    found = Signatures(
        pixels=np.array([row[:2] for row in rows], dtype=np.uint64).reshape(-1, 2),
        hashes=np.zeros(len(rows), np.uint64),
        sizes=sizes,
        unreadable=[],
    )
    groups: dict[tuple[int, int], list[int]] = {}
    for row, (one, two, is_there) in enumerate(rows):
        if is_there:
            groups.setdefault((one, two), []).append(row)
    assert exact_groups(found) == sorted(group for group in groups.values() if len(group) > 1)


def changed(image: NDArray[np.uint8], how: str) -> NDArray[np.uint8]:
    if how == "jpeg":
        stored = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
        return np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))
    if how == "smaller":
        return np.asarray(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))
    if how == "brighter":
        return cv2.add(image, np.full_like(image, 8))
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("how", ["jpeg", "smaller", "brighter", "noise"])
def test_the_hash_survives_what_copies_suffer(how: str) -> None:
    for seed in range(10):
        image = np.clip(smooth_image(seed, 112), 20, 235).astype(np.uint8)
        distance = (perceptual_hash(image) ^ perceptual_hash(changed(image, how))).bit_count()
        assert distance <= 4, seed


def test_the_hash_tells_pictures_apart() -> None:
    hashes = [perceptual_hash(smooth_image(seed, 112)) for seed in range(40)]
    distances = [(one ^ two).bit_count() for one in hashes for two in hashes if one != two]
    assert np.mean(distances) > 25
    assert np.mean(np.array(distances) <= 4) < 0.01


def test_signatures_of_a_folder(tmp_path: Path) -> None:
    image = smooth_image(1, 32)
    save(tmp_path / "set" / "a" / "1.png", image)
    save(tmp_path / "set" / "b" / "1.bmp", image)
    save(tmp_path / "set" / "b" / "2.png", changed(image, "brighter"))
    save(tmp_path / "set" / "b" / "3.png", smooth_image(2, 32)[:20])
    (tmp_path / "set" / "b" / "4.jpg").write_bytes(b"\xff\xd8\xff cut")
    (tmp_path / "set" / "b" / "5.png").write_text("text")
    faces = open_encoded(tmp_path / "set")
    found = signatures(faces, workers=2)
    assert found.sizes.tolist() == [[32, 32]] * 3 + [[20, 32]] + [[0, 0]] * 2
    assert [row for row, _ in found.unreadable] == [4, 5]
    assert all(str(tmp_path) not in why for _, why in found.unreadable)
    assert exact_groups(found) == [[0, 1]]
    pairs = np.array([[0, 2], [0, 3], [0, 1]])
    assert list(alike_pairs(faces, faces, pairs)) == [True, False, True]


def test_even_pictures_are_alike(tmp_path: Path) -> None:
    for number, grey in enumerate((10, 200)):
        save(tmp_path / "set" / "a" / f"{number}.png", np.full((16, 16, 3), grey, np.uint8))
    faces = open_encoded(tmp_path / "set")
    assert list(alike_pairs(faces, faces, np.array([[0, 1]]))) == [True]
