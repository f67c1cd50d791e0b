"""Wrong labels and bad pictures: how many, which, and no others however they are read."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from marginface.data import (
    Augmentation,
    BatchLoader,
    CorruptedFaces,
    Corruption,
    PackedFaces,
    convert_faces,
    open_faces,
)
from marginface.data import corruption as corruption_module
from marginface.data.corruption import damage
from marginface.errors import DataError
from tests.data.made import make_pack, smooth_image

BOTH = Corruption(label_noise=0.3, low_quality=0.5, seed=7)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> PackedFaces:
    return make_pack(tmp_path_factory.mktemp("packs") / "a.pack", people=8, each=25, size=24)


@pytest.mark.parametrize("share", [0.0, 0.004, 0.2, 0.25, 0.999])
@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_the_share_is_exact_and_nobody_keeps_his_own_label(
    pack: PackedFaces, share: float, seed: int
) -> None:
    noisy = CorruptedFaces(pack, Corruption(label_noise=share, low_quality=share, seed=seed))
    assert noisy.is_flipped.sum() == round(share * 200)
    assert noisy.is_low_quality.sum() == round(share * 200)
    np.testing.assert_array_equal(noisy.true_labels, pack.labels)
    assert set(noisy.labels.tolist()) <= set(range(8))
    assert noisy.labels.dtype == np.int64


def test_the_draw_is_what_the_equation_says(pack: PackedFaces) -> None:
    """The slow twin: a hash a picture, sorted, and a wheel of all other people."""
    lots = {}
    for name in pack.names:
        digest = hashlib.sha256(f"7 label {name}".encode()).digest()
        lots[name] = [int.from_bytes(digest[at : at + 8], "little") for at in (0, 8)]
    lowest = sorted(pack.names, key=lambda name: lots[name][0])[:60]
    expected = []
    for name, label in zip(pack.names, pack.labels.tolist(), strict=True):
        others = [person for person in range(8) if person != label]
        expected.append(others[lots[name][1] % 7] if name in lowest else label)
    assert CorruptedFaces(pack, BOTH).labels.tolist() == expected


def test_the_kind_of_damage_is_drawn_apart_from_its_strength(pack: PackedFaces) -> None:
    """The second word says which kind, the third how strong; one word for both would tie them."""
    kinds = {row[0]: row[3] for row in CorruptedFaces(pack, BOTH).rows() if row[3]}
    for name, kind in kinds.items():
        digest = hashlib.sha256(f"7 low quality {name}".encode()).digest()
        assert kind == ("small", "blurred", "dark")[int.from_bytes(digest[8:16], "little") % 3]
    grey = np.full((20, 20, 3), 100, np.uint8)
    means = [
        damage(grey, np.array([0, 2, at, 5], np.uint64)).mean() for at in (0, 2**63, 2**64 - 1)
    ]
    np.testing.assert_allclose(means, [10, 20, 30], atol=1)


def test_every_other_person_is_as_likely(pack: PackedFaces) -> None:
    counts = np.zeros((8, 8))
    for seed in range(60):
        noisy = CorruptedFaces(pack, Corruption(label_noise=0.5, seed=seed))
        rows = noisy.is_flipped
        np.add.at(counts, (noisy.true_labels[rows], noisy.labels[rows]), 1)
    assert not counts.diagonal().any()
    others = counts[~np.eye(8, dtype=bool)]
    # 6,000 flips over 56 cells: 107 each, chi-squared with 55 - 7 or so degrees of freedom.
    chi_squared = ((others - others.mean()) ** 2 / others.mean()).sum()
    assert 25 < chi_squared < 95


def test_a_picture_keeps_its_fate_in_any_order_of_the_set(pack: PackedFaces) -> None:
    """Other people first, in another file format: the same pictures get the same wrong labels."""
    whole = CorruptedFaces(pack, BOTH)
    fates = dict(zip(whole.names, whole.labels.tolist(), strict=True))
    damages = dict(zip(whole.names, whole.is_low_quality.tolist(), strict=True))
    shuffled = np.random.default_rng(3).permutation(len(pack))
    other = PackedFaces(**(vars_of(pack) | reordered(pack, shuffled)))
    mixed = CorruptedFaces(other, BOTH)
    assert mixed.names != whole.names
    assert dict(zip(mixed.names, mixed.labels.tolist(), strict=True)) == fates
    assert dict(zip(mixed.names, mixed.is_low_quality.tolist(), strict=True)) == damages
    np.testing.assert_array_equal(mixed.read([5]), whole.read(shuffled[[5]]))


def vars_of(pack: PackedFaces) -> dict[str, object]:
    return {name: getattr(pack, name) for name in pack.__dataclass_fields__}


def reordered(pack: PackedFaces, order: np.ndarray) -> dict[str, object]:
    names = [pack.names[row] for row in order]
    return {"names": names, "labels": pack.labels[order], "_rows": pack._rows[order]}


def test_the_same_set_in_another_format_is_spoilt_alike(pack: PackedFaces, tmp_path: Path) -> None:
    convert_faces(pack.path, tmp_path / "a.rec")
    one, other = (CorruptedFaces(open_faces(p), BOTH) for p in (pack.path, tmp_path / "a.rec"))
    fates = [
        {name.rpartition(".")[0]: row for name, *row in faces.rows()} for faces in (one, other)
    ]
    assert fates[0] == fates[1]


def test_more_noise_spoils_what_less_did(pack: PackedFaces) -> None:
    less, more = (
        CorruptedFaces(pack, Corruption(label_noise=share, low_quality=share))
        for share in (0.2, 0.4)
    )
    assert (more.is_flipped | ~less.is_flipped).all()
    np.testing.assert_array_equal(more.labels[less.is_flipped], less.labels[less.is_flipped])
    assert (more.is_low_quality | ~less.is_low_quality).all()


def test_seeds_and_purposes_draw_apart(pack: PackedFaces) -> None:
    draws = [CorruptedFaces(pack, Corruption(label_noise=0.5, seed=seed)) for seed in range(3)]
    kinds = CorruptedFaces(pack, Corruption(label_noise=0.5, low_quality=0.5))
    masks = [draw.is_flipped for draw in draws] + [kinds.is_low_quality]
    for row, one in enumerate(masks):
        for other in masks[row + 1 :]:
            assert 60 < (one == other).sum() < 140
    assert len({draw.fingerprint for draw in draws}) == 3


def test_batches_say_one_label_a_picture_whatever_their_order(pack: PackedFaces) -> None:
    noisy = CorruptedFaces(pack, BOTH)
    for seed, workers, size in ((0, 0, None), (1, 2, None), (2, 1, 12)):
        loader = BatchLoader(
            noisy,
            batch_size=20,
            seed=seed,
            workers=workers,
            size=size,
            augmentation=Augmentation(flip=False),
        )
        with loader:
            for batch in (next(loader) for _ in range(21)):
                indices = batch.indices.numpy()
                np.testing.assert_array_equal(batch.labels.numpy(), noisy.labels[indices])
                if size is None:
                    seen = batch.images.numpy().transpose(0, 2, 3, 1)
                    np.testing.assert_array_equal(seen, noisy.read(indices))


def test_noise_that_hangs_on_the_order_would_be_noticed(
    pack: PackedFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault, to see that the tests above can fail: lots by place instead of by name."""

    def by_place(names: list[str], purpose: str, seed: int, share: float) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 2**63, (len(names), 4)).astype(np.uint64)

    monkeypatch.setattr(corruption_module, "_lots", by_place)
    with pytest.raises(AssertionError):
        test_a_picture_keeps_its_fate_in_any_order_of_the_set(pack)
    with pytest.raises(AssertionError):
        test_the_draw_is_what_the_equation_says(pack)


def test_the_set_stays_as_it_is_and_its_good_pictures_too(pack: PackedFaces) -> None:
    labels, images = pack.labels.copy(), pack.read(range(200))
    noisy = CorruptedFaces(pack, BOTH)
    spoilt = noisy.read(range(200))
    np.testing.assert_array_equal(pack.labels, labels)
    np.testing.assert_array_equal(pack.read(range(200)), images)
    is_changed = (spoilt != images).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(is_changed, noisy.is_low_quality)
    np.testing.assert_array_equal(noisy.read([9, 3, 9]), spoilt[[9, 3, 9]])
    assert noisy.encoding != "raw"
    assert CorruptedFaces(pack, Corruption(label_noise=0.3)).encoding == "raw"


def test_each_damage_does_what_its_name_says() -> None:
    image = smooth_image(1, 64)
    noise = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)

    def lot(kind: int, strength: float) -> np.ndarray:
        return np.array([0, kind, int(strength * 2**63), 5], np.uint64)

    for kind in (0, 1):
        weak, strong = (
            np.abs(np.diff(damage(noise, lot(kind, share)).astype(int), axis=1)).mean()
            for share in (0.1, 1.9)
        )
        # Fine grain goes first; a stronger damage of either kind leaves less or as little.
        assert max(weak, strong) < 0.2 * np.abs(np.diff(noise.astype(int), axis=1)).mean()
        assert damage(image, lot(kind, 0.1)).mean() == pytest.approx(image.mean(), rel=0.05)
    dark = damage(image, lot(2, 1.0)).astype(float)
    assert dark.mean() == pytest.approx(0.2 * image.mean(), rel=0.1)
    assert not np.array_equal(damage(image, np.array([0, 2, 2**63, 6], np.uint64)), dark)


def test_the_list_names_everybody_that_was_spoilt(pack: PackedFaces) -> None:
    noisy = CorruptedFaces(pack, BOTH)
    rows = noisy.rows()
    assert len(rows) == (noisy.is_flipped | noisy.is_low_quality).sum()
    flipped = [row for row in rows if row[1] != row[2]]
    damaged = [row for row in rows if row[3]]
    assert (len(flipped), len(damaged)) == (60, 100)
    assert all(name.startswith(f"{identity}/") for name, identity, *_ in rows)
    assert {row[3] for row in damaged} == {"small", "blurred", "dark"}
    assert noisy.counts() == {
        "label_noise": 0.3,
        "low_quality": 0.5,
        "seed": 7,
        "flipped": 60,
        "damaged": 100,
    }
    assert noisy.meta["name"] == "a.pack (label noise 0.3, low quality 0.5, corruption seed 7)"


@pytest.mark.parametrize("share", [-0.1, 1.0, 20, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["label_noise", "low_quality"])
def test_shares_outside_their_range_are_refused(name: str, share: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be a share in \[0, 1\), got {share}"):
        Corruption(**{name: share})


def test_percent_and_seeds_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"for 20 percent pass 0\.2"):
        Corruption(label_noise=20)
    with pytest.raises(ValueError, match="corruption_seed"):
        Corruption(seed=-1)


def test_a_person_alone_can_be_taken_for_nobody(tmp_path: Path) -> None:
    alone = make_pack(tmp_path / "one.pack", people=1)
    with pytest.raises(DataError, match="label_noise needs 2 identities"):
        CorruptedFaces(alone, Corruption(label_noise=0.2))
    assert CorruptedFaces(alone, Corruption(low_quality=0.4)).is_low_quality.sum() == 2


def test_the_fingerprint_is_of_what_is_read(pack: PackedFaces) -> None:
    """Should another version draw otherwise from the same settings, it must be another set."""
    first, other, third = (CorruptedFaces(pack, BOTH) for _ in range(3))
    assert first.fingerprint == CorruptedFaces(pack, BOTH).fingerprint != pack.fingerprint
    other.labels[17] = (other.labels[17] + 1) % 8
    third.is_low_quality[17] = not third.is_low_quality[17]
    assert len({faces.fingerprint for faces in (first, other, third)}) == 3
