import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from marginface.backbones import make_backbone
from marginface.errors import CheckpointWriteError, DataError, ModelFileError
from marginface.recognition import Candidate, Gallery, ModelContract, Recognizer
from marginface.recognition.gallery import made_pictures
from tests.data.made import full_disk_after

Rows = NDArray[np.float32]
CONTRACT = ModelContract(architecture="iresnet_tiny", dim=16, input_size=(32, 32))


def units(count: int, dim: int = 16, seed: int = 0) -> Rows:
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def model(seed: int) -> Recognizer:
    torch.manual_seed(seed)
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    return Recognizer.from_backbone(backbone, CONTRACT, name=f"model {seed}")


@pytest.fixture
def gallery() -> Gallery:
    return Gallery(model="made", cards=units(4, seed=50))


def test_finds_the_template_nearest_to_the_probe(gallery: Gallery) -> None:
    """By hand: two pictures at 0 and 60 degrees are one template at 30."""
    rows = np.zeros((3, 16), np.float32)
    rows[0, 0] = 1
    rows[1, :2] = np.cos(np.pi / 3), np.sin(np.pi / 3)
    rows[2, 1] = 1
    assert gallery.add("anna", rows[:2]) == 2
    assert gallery.add("berta", rows[2]) == 1
    first, second = gallery.search(rows[2], k=9)
    assert (first.name, second.name) == ("berta", "anna")
    assert first.score == pytest.approx(1)
    assert second.score == pytest.approx(np.cos(np.pi / 3), abs=1e-6)
    assert gallery.search(rows[0])[0].score == pytest.approx(np.cos(np.pi / 6), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99))
def test_search_is_sorting_all_scores(people: int, k: int, seed: int) -> None:
    gallery = Gallery(model="made", cards=units(4))
    rows, probes = units(people, seed=seed), units(3, seed=seed + 1)
    for number, row in enumerate(rows):
        gallery.add(str(number), row)
    expected = np.argsort(-(probes.astype(np.float64) @ rows.T), axis=1, kind="stable")[:, :k]
    found = gallery.search_many(probes, k=k)
    assert [[int(each.name) for each in row] for row in found] == expected.tolist()


def test_nobody_is_found_below_the_threshold(gallery: Gallery) -> None:
    probe = units(1)[0]
    assert gallery.search(probe) == []
    gallery.add("anna", probe)
    gallery.add("berta", -probe)
    assert [each.name for each in gallery.search(probe, k=2, threshold=0.5)] == ["anna"]
    assert gallery.search(probe, threshold=1.0) == [Candidate(name="anna", score=1.0)]
    assert gallery.search(units(1, seed=5)[0], threshold=0.999) == []


def test_a_picture_counts_once(gallery: Gallery) -> None:
    rows = units(2)
    assert gallery.add("anna", rows[0]) == 1
    assert gallery.add("anna", rows + np.float32(1e-7)) == 1
    assert gallery.add("anna", rows) == 0
    assert gallery.pictures_of("anna") == 2


def test_who_is_removed_is_found_no_more(gallery: Gallery, tmp_path: Path) -> None:
    rows = units(2)
    gallery.add("anna", rows[0])
    gallery.add("berta", rows[1])
    assert gallery.search(rows[0])[0].name == "anna"
    gallery.remove("anna")
    assert "anna" not in gallery
    assert gallery.search(rows[0])[0].name == "berta"
    gallery.save(tmp_path / "g")
    assert b"anna" not in (tmp_path / "g").read_bytes()
    assert rows[0].tobytes() not in (tmp_path / "g").read_bytes()
    with pytest.raises(ValueError, match="of an enrolled person, got 'bertha'; did you mean 'ber"):
        gallery.remove("bertha")


def test_a_file_brings_everything_back(gallery: Gallery, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "имя 顔.gallery"
    gallery.add("顔", units(3))
    gallery.add("anna", units(2, seed=1))
    gallery.save(path)
    other = Gallery.load(path)
    assert (other.names, other.model, other.dim) == (["顔", "anna"], "made", 16)
    for probe in units(5, seed=2):
        assert other.search(probe, k=2) == gallery.search(probe, k=2)
    other.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_an_empty_gallery_is_one(gallery: Gallery, tmp_path: Path) -> None:
    gallery.save(tmp_path / "g")
    other = Gallery.load(tmp_path / "g")
    assert len(other) == 0
    assert repr(other) == "Gallery(0 people, embeddings of made, dim 16)"
    other.add("anna", units(1))
    assert other.search(units(1)[0])[0].name == "anna"


def test_a_new_file_is_its_owners_only(gallery: Gallery, tmp_path: Path) -> None:
    gallery.save(tmp_path / "g")
    assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == 0o600
    (tmp_path / "g").chmod(0o640)
    gallery.save(tmp_path / "g")
    assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == 0o640


def test_a_full_disk_leaves_the_old_file(gallery: Gallery, tmp_path: Path) -> None:
    gallery.add("anna", units(1))
    gallery.save(tmp_path / "g")
    before = (tmp_path / "g").read_bytes()
    gallery.add("berta", units(500, seed=1))
    with pytest.raises(CheckpointWriteError), full_disk_after(len(before)):
        gallery.save(tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == before
    assert os.listdir(tmp_path) == ["g"]  # noqa: PTH208


def test_refuses_another_model() -> None:
    first, second = model(1), model(2)
    gallery = Gallery.of(first)
    gallery.check(first)
    with pytest.raises(ModelFileError, match=r"model 2 embeds the same picture elsewhere \(cosine"):
        gallery.check(second)
    other = Recognizer.from_backbone(first.network.backbone, CONTRACT, name="swapped")
    other.network._mean = other.network._mean + 40
    with pytest.raises(ModelFileError, match="enrol everybody anew"):
        gallery.check(other)
    cards = first.embed_aligned(made_pictures())
    cards[2] = -cards[2]  # one picture of four is enough
    with pytest.raises(ModelFileError, match=r"elsewhere \(cosine -1\.000\)"):
        Gallery(model="made", cards=cards).check(first)
    with pytest.raises(ModelFileError, match="embeddings of made, dim 8; model 1 has dim 16"):
        Gallery(model="made", cards=units(4, dim=8)).check(first)


def test_a_few_steps_of_training_are_another_model() -> None:
    """What the bound is for: the same network, trained on by a little."""
    recognizer = model(1)
    gallery = Gallery.of(recognizer)
    with torch.no_grad():
        for weight in recognizer.network.backbone.parameters():
            weight += 0.1 * weight.abs().mean() * torch.randn_like(weight)
    with pytest.raises(ModelFileError, match="embeds the same picture elsewhere"):
        gallery.check(recognizer)


def test_the_made_pictures_never_change() -> None:
    cards = made_pictures()
    assert (cards.shape, cards.dtype) == ((4, 112, 112, 3), np.uint8)
    # Stored galleries hang on them; three pixels by hand, a sum for the rest.
    assert cards[0, 0, 0].tolist() == [128, 128, 128]
    assert cards[0, 28, 0].tolist() == [228, 128, 28]
    assert cards[1, 0, 0].tolist() == [228, 228, 228]
    assert abs(int(cards.sum()) - 19193775) < 100


def test_threads_add_remove_and_search(gallery: Gallery) -> None:
    rows = units(60)
    gallery.add("fixed", rows[0])
    seen: list[str] = []

    def work(start: int) -> None:
        for number in range(start, 60, 3):
            gallery.add(str(number), rows[number])
            seen.append(gallery.search(rows[0])[0].name)
            if number % 2:
                gallery.remove(str(number))

    threads = [threading.Thread(target=work, args=(start,)) for start in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["fixed"] * 59
    assert sorted(gallery.names) == sorted(["fixed", *map(str, range(2, 60, 2))])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 16), np.float32), r"must have length 1, row 0 has 0; Recognizer\.embed"),
        (np.full((1, 16), np.nan, np.float32), "must have length 1, row 0 has nan"),
        (units(2, dim=8), r"must have shape \(n, 16\), got \(2, 8\)"),
        (units(2).reshape(1, 2, 16), r"must have shape \(n, 16\)"),
    ],
)
def test_refuses_rows(gallery: Gallery, rows: Rows, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gallery.add("anna", rows)
    with pytest.raises(ValueError, match=message):
        gallery.search_many(rows)
    with pytest.raises(ValueError, match="name must be a person's, got ' '"):
        gallery.add(" ", units(1))
    with pytest.raises(ValueError, match="k must be at least 1"):
        gallery.search(units(1)[0], k=0)


@pytest.mark.parametrize("name", ["", " ", "caf\udce9"])
def test_refuses_names(gallery: Gallery, name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name must be (a person's|text in UTF-8), got"):
        gallery.add(name, np.eye(1, gallery.dim, dtype=np.float32))
    gallery.save(tmp_path / "whole")


def test_refuses_files(gallery: Gallery, tmp_path: Path) -> None:
    gallery.add("anna", units(3))
    gallery.save(tmp_path / "g")
    whole = (tmp_path / "g").read_bytes()

    def fails(content: bytes, message: str) -> None:
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(DataError, match=message):
            Gallery.load(tmp_path / "bad")

    for end in (0, 5, 100, len(whole) - 1):
        fails(whole[:end], "bad: ")
    fails(whole[:-1], "cut off")
    with pytest.raises(DataError, match="got nothing there; `marginface enroll` makes one"):
        Gallery.load(tmp_path / "absent")
    with pytest.raises(DataError, match="got a folder"):
        Gallery.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.array([2], np.int64)}, r"embeddings must be float32 of shape \(2, 16\)"),
        ({"counts": np.array([3, 0], np.int64)}, r"counts must be int64 of shape \(1,\)"),
        ({"counts": np.array([3.0])}, "counts must be int64"),
        ({"embeddings": np.zeros((3, 16), np.float32)}, "rows that are not of length 1"),
        ({"cards": units(3)}, r"cards must be float32 of shape \(4, 16\)"),
        ({"more": units(3)}, "the gallery holds cards, counts, embeddings, more"),
    ],
)
def test_refuses_altered_tensors(
    gallery: Gallery, tmp_path: Path, change: dict[str, NDArray[np.generic]], message: str
) -> None:
    gallery.add("anna", units(3))
    gallery.save(tmp_path / "g")
    about = {"marginface": '{"kind": "gallery", "format": 1, "model": "made", "names": ["anna"]}'}
    save_file(load_file(tmp_path / "g") | change, tmp_path / "bad", about)
    with pytest.raises(DataError, match=message):
        Gallery.load(tmp_path / "bad")


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ('{"kind": "model"}', "a model file, not a gallery"),
        ('{"kind": "gallery", "format": 3}', "gallery format must be 1 or 2, got 3"),
        ('{"kind": "gallery", "format": 1, "model": "m"}', "lacks its names"),
        ('{"kind": "gallery", "format": 1, "model": "m", "names": ["a", "a"]}', "each once"),
        ("no json", "not JSON"),
    ],
)
def test_refuses_altered_words(gallery: Gallery, tmp_path: Path, about: str, message: str) -> None:
    gallery.save(tmp_path / "g")
    save_file(load_file(tmp_path / "g"), tmp_path / "bad", {"marginface": about})
    with pytest.raises(DataError, match=message):
        Gallery.load(tmp_path / "bad")
