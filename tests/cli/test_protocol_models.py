"""Benchmarks from pictures in their published layouts, through a model, to a record and a page.

People are soft colour patterns, which even a network of random weights tells apart.
"""

import json

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from marginface.alignment import TEMPLATE_112
from marginface.backbones import make_backbone
from marginface.cli.app import run
from marginface.data.pictures import read_picture
from marginface.protocols import read_faces
from marginface.protocols.features import faces_at_points, picture_features
from marginface.recognition import ModelContract, Recognizer, save_model

PEOPLE, SHOTS = 24, 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    contract = ModelContract(architecture="iresnet_tiny", dim=16, input_size=(32, 32))
    save_model(path, make_backbone("iresnet_tiny", dim=16, input_size=32), contract)
    return path


def face(person, shot):
    """A crop of 112 by 112: the person's pattern, and a little of the shot's."""
    mine, other = (np.random.default_rng([seed, person]) for seed in (0, 1 + shot))
    coarse = 1.2 * mine.normal(size=(6, 6, 3)) + 0.5 * other.normal(size=(6, 6, 3))
    return np.clip(128 + 50 * cv2.resize(coarse, (112, 112)), 0, 255).astype(np.uint8)


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])


@pytest.fixture(scope="module")
def ijbc(tmp_path_factory):
    """IJBC/meta and IJBC/loose_crop: each person a gallery template, and probes of two faces."""
    root = tmp_path_factory.mktemp("IJBC")
    meta, rng = root / "meta", np.random.default_rng(0)
    meta.mkdir()
    faces = [(person, shot) for person in range(PEOPLE) for shot in range(SHOTS)]
    media, points = [], []
    for number, (person, shot) in enumerate(faces, 1):
        left, top = rng.integers(4, 30, 2)
        picture = rng.integers(0, 256, (150, 160, 3), dtype=np.uint8)
        picture[top : top + 112, left : left + 112] = face(person, shot)
        write(root / "loose_crop" / f"{number}.jpg", picture)
        template = 10 * person + (0 if shot < 2 else 1)
        media.append(f"{number}.jpg {template} {1000 + number}\n")
        five = (TEMPLATE_112 + np.array([left, top])).ravel()
        points.append(f"{number}.jpg {' '.join(f'{v:.6f}' for v in five)} 0.9{number % 10}\n")
    (meta / "ijbc_face_tid_mid.txt").write_text("".join(media))
    (meta / "ijbc_name_5pts_score.txt").write_text("".join(points))
    people = range(PEOPLE)
    pairs = [f"{10 * a} {10 * b + 1} {int(a == b)}\n" for a in people for b in people]
    (meta / "ijbc_template_pair_label.txt").write_text("".join(pairs))
    lists = {
        "gallery_G1": [(10 * p, p) for p in people if p % 2],
        "gallery_G2": [(10 * p, p) for p in people if p % 2 == 0],
        "probe_mixed": [(10 * p + 1, p) for p in people],
    }
    for name, rows in lists.items():
        text = "".join(f"{t},{p},img/{t}.jpg,{t}\n" for t, p in rows)
        path = meta / f"ijbc_1N_{name}.csv"
        path.write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID\n" + text)
    return root


def judged(tmp_path, *words):
    """Run a protocol to its record and draw the page of it."""
    path = tmp_path / "record.json"
    assert run(["protocol", *map(str, words), "--resamples", "20", "--json", str(path)]) == 0
    assert run(["report", str(path)]) == 0
    assert "<svg" in path.with_suffix(".html").read_text()
    return json.loads(path.read_text())


def test_ijbc_from_pictures_to_the_page(ijbc, model, tmp_path):
    meta, fmr = ijbc / "meta", ("--fmr", 0.01, "--fmr", 0.1)
    record = judged(
        *(tmp_path, "ijbc", "--root", meta, *fmr),
        *("--model", model, "--images", ijbc / "loose_crop"),
    )
    assert record["failures"] == []
    assert record["model"] == str(model)
    assert record["metrics"]["fnmr_at_fmr_0.1"]["value"] < 0.3
    assert record["identification"]["cmc"]["1"]["value"] > 0.7
    # The same, step by step, from crops that are cut out where they were put in.
    listed = read_faces(meta, "ijbc")
    recognizer = Recognizer.load(model)
    aligned = faces_at_points(ijbc / "loose_crop", listed.pictures, listed.points)
    for crop, name, five in zip(aligned, listed.pictures, listed.points, strict=True):
        left, top = np.rint(five - TEMPLATE_112)[0].astype(int)
        cut = read_picture(ijbc / "loose_crop" / name)[top : top + 112, left : left + 112]
        assert np.abs(crop().astype(int) - cut).max() <= 2
    features, _ = picture_features(recognizer, aligned)
    np.save(tmp_path / "features.npy", features)
    ready = judged(tmp_path, "ijbc", "--root", meta, *fmr, "--features", tmp_path / "features.npy")
    for key in ("metrics", "identification", "insightface", "curve"):
        assert record[key] == ready[key]


def test_a_picture_that_cannot_be_read_is_a_failure_to_acquire(ijbc, model, tmp_path):
    for path in (ijbc / "loose_crop").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for number in (1, 2):  # the gallery template of the first person
        (tmp_path / f"{number}.jpg").write_bytes(b"\xff\xd8 no picture")
    record = judged(
        *(tmp_path, "ijbc", "--root", ijbc / "meta", "--fmr", 0.1),
        *("--model", model, "--images", tmp_path),
    )
    assert [name for name, _ in record["failures"]] == ["1.jpg", "2.jpg"]
    assert record["pairs"]["failed_mated"] == 1
    assert record["failure_to_acquire"] == pytest.approx(1 / (2 * PEOPLE))


def test_what_ijbc_needs_for_a_model(ijbc, model, tmp_path, capsys):
    words = ["protocol", "ijbc", "--root", str(ijbc / "meta"), "--model", str(model)]
    assert run(words) == 2
    assert "--model needs --images" in capsys.readouterr().err
    (tmp_path / "1.jpg").touch()
    assert run([*words, "--images", str(tmp_path)]) == 1
    assert "picture 2.jpg of the list is not found under" in capsys.readouterr().err
    for path in (ijbc / "meta").iterdir():
        if "5pts" not in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    words = ["protocol", "ijbc", "--root", str(tmp_path), "--model", str(model)]
    assert run([*words, "--images", str(ijbc / "loose_crop")]) == 1
    assert "--model needs ijbc_name_5pts_score.txt" in capsys.readouterr().err


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Aligned pictures of all people, person/person_0001.jpg."""
    root = tmp_path_factory.mktemp("photos")
    for person in range(PEOPLE):
        for shot in range(SHOTS):
            write(root / f"p{person:02d}" / f"p{person:02d}_{shot + 1:04d}.jpg", face(person, shot))
    return root


def name_of(person, shot):
    return f"p{person:02d}/p{person:02d}_{shot + 1:04d}.jpg"


def test_a_gallery_of_ones_own(photos, model, tmp_path):
    enrolled = range(PEOPLE // 2)
    tables = {
        "gallery": [(name_of(p, 0), p) for p in enrolled],
        "probes": [(name_of(p, shot), p) for p in range(PEOPLE) for shot in range(1, SHOTS)],
    }
    for name, rows in tables.items():
        text = "".join(f"{picture},{person}\n" for picture, person in rows)
        (tmp_path / f"{name}.csv").write_text("picture,identity\n" + text)
    record = judged(
        *(tmp_path, "gallery", tmp_path / "gallery.csv", tmp_path / "probes.csv"),
        *("--model", model, "--images", photos, "--aligned"),
    )
    assert record["cmc"]["1"]["value"] > 0.7
    assert (record["mated_probes"], record["probes"]) == (36, 72)
    assert record["open_set_curves"][0]["fnir"][0] == 1.0


def test_pairs_in_a_folder(photos, model, tmp_path):
    rows = [
        f"{name_of(p, 0)},{name_of((p + k) % PEOPLE, 1)},{1 - k}"
        for p in range(PEOPLE)
        for k in (0, 1)
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(["picture_a,picture_b,is_mated", *rows]) + "\n")
    record = judged(
        *(tmp_path, "pairs", "csv", tmp_path / "pairs.csv", "--model", model),
        *("--images", photos, "--aligned"),
    )
    assert record["metrics"]["accuracy"]["value"] > 0.7
    assert 0.5 < record["insightface"]["mean"] <= 1


def test_tinyface(model, tmp_path):
    root = tmp_path / "Testing_Set"
    names = {"gallery": "gallery_match", "probe": "probe"}
    for shot, (kind, file) in enumerate(names.items()):
        folder = root / ("Gallery_Match" if kind == "gallery" else "Probe")
        cells = np.empty((PEOPLE, 1), dtype=object)
        for person in range(PEOPLE):
            cells[person, 0] = f"{person + 1}_{shot}.jpg"
            write(folder / cells[person, 0], cv2.resize(face(person, shot), (24, 20)))
        ids = np.arange(1, PEOPLE + 1).reshape(-1, 1)
        savemat(root / f"{file}_img_ID_pairs.mat", {f"{kind}_set": cells, f"{kind}_ids": ids})
    for person in range(30):
        write(root / "Gallery_Distractor" / f"{person}.jpg", face(100 + person, 0)[::4, ::5])
    record = judged(tmp_path, "tinyface", root, "--model", model, "--aligned")
    assert (record["gallery"], record["distractors"]) == (PEOPLE, 30)
    assert record["cmc"]["1"]["value"] > 0.5


def test_megaface(photos, model, tmp_path):
    probes = [name_of(p, shot) for p in range(6) for shot in range(3)]
    people = [name.split("/")[0] for name in probes]
    distractors = [f"FlickrFinal2/{n // 10}/{n}@N/{n}_0.jpg" for n in range(40)]
    for number, name in enumerate(distractors):
        write(tmp_path / "flickr" / name, face(100 + number, 0))
    lists = {"facescrub": {"path": probes, "id": people}, "megaface": {"path": distractors}}
    for name, content in lists.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "noises.txt").write_text("0/3@N/3_0.jpg\n")
    call = ("megaface", tmp_path / "facescrub.json", tmp_path / "megaface.json")
    noises = ("--distractor-noises", tmp_path / "noises.txt")
    folders = ("--images", photos, "--distractor-images", tmp_path / "flickr", "--aligned")
    record = judged(tmp_path, *call, *noises, "--model", model, *folders)
    assert [row["distractors"] for row in record["identification"]] == [10, 39]
    assert record["verification"]["pairs"] == {"mated": 18, "nonmated": 18 * 39}
    assert "give at least 1,000,000" in record["verification"]["refused"]["fnmr_at_fmr_0.000001"]
    assert record["noises_removed"] == {"probes": 0, "distractors": 1}
    # Ready features have a row for the noise too, which is left out just the same.
    recognizer = Recognizer.load(model)
    crops = [*(photos / name for name in probes), *(tmp_path / "flickr" / n for n in distractors)]
    features, _ = picture_features(
        recognizer, [lambda path=path: read_picture(path) for path in crops]
    )
    np.save(tmp_path / "f.npy", features)
    ready = judged(tmp_path, *call, *noises, "--features", tmp_path / "f.npy")
    assert record["identification"] == ready["identification"]
