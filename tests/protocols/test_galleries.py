"""Galleries in their published layouts, judged against loops over probes and mates."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from marginface.errors import ProtocolFileError
from marginface.evaluation.means import identity_mean
from marginface.protocols import (
    gallery_record,
    gallery_tables,
    megaface_lists,
    megaface_record,
    tinyface_lists,
)
from marginface.protocols.mat_file import read_mat


def names(items):
    """A MATLAB cell of texts, one a row."""
    cells = np.empty((len(items), 1), dtype=object)
    for row, item in enumerate(items):
        cells[row, 0] = item
    return cells


@pytest.fixture
def tinyface(tmp_path):
    for folder, files in (("Gallery_Distractor", ["z.jpg", "a.jpg", "list.txt"]), ("Probe", [])):
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).touch()
    lists = {"gallery_set": names(["1_1.jpg", "2_1.jpg"]), "gallery_ids": np.array([[1], [2]])}
    savemat(tmp_path / "gallery_match_img_ID_pairs.mat", lists, do_compression=True)
    lists = {"probe_set": names(["1_2.jpg", "2_2.jpg"]), "probe_ids": np.array([[1.0], [2.0]])}
    savemat(tmp_path / "probe_img_ID_pairs.mat", lists)
    return tmp_path


def test_tinyface(tinyface):
    lists = tinyface_lists(tinyface)
    assert lists.pictures == [
        *("Gallery_Match/1_1.jpg", "Gallery_Match/2_1.jpg", "Probe/1_2.jpg", "Probe/2_2.jpg"),
        *("Gallery_Distractor/a.jpg", "Gallery_Distractor/z.jpg"),
    ]
    # Probe 2 is nearer to the second distractor than to its gallery picture.
    features = np.array([[1, 0], [0, 1], [2, 0.3], [1, 1.2], [-1, 0], [1, 1]], dtype=np.float32)
    record = gallery_record(lists, features, ranks=[1, 2])
    assert {rank: ends["value"] for rank, ends in record["cmc"].items()} == {"1": 0.5, "2": 1.0}
    assert (record["gallery"], record["distractors"]) == (2, 2)
    assert "not enrolled, got none" in record["refused"]["rule iso, gallery all, FPIR 0.1"]


def test_broken_tinyface(tinyface):
    path = tinyface / "probe_img_ID_pairs.mat"
    savemat(path, {"probe_set": names(["1_2.jpg"]), "probe_ids": np.array([[9]])})
    with pytest.raises(ProtocolFileError, match="person must be in the gallery, got 9"):
        tinyface_lists(tinyface)
    savemat(path, {"probe_set": names(["1_2.jpg"]), "probe_ids": np.array([[1], [2]])})
    with pytest.raises(ProtocolFileError, match="one id for each picture, got 1 and 2"):
        tinyface_lists(tinyface)
    savemat(path, {"other": np.array([1])})
    with pytest.raises(ProtocolFileError, match="must hold probe_set and probe_ids, got other"):
        tinyface_lists(tinyface)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ProtocolFileError, match="cut-off part"):
        tinyface_lists(tinyface)
    path.write_bytes(b"no mat file")
    with pytest.raises(ProtocolFileError, match="must be a MAT 5 file"):
        tinyface_lists(tinyface)


@pytest.mark.parametrize("compressed", [True, False])
def test_mat_files(tmp_path, compressed):
    numbers = np.arange(6, dtype=np.int16).reshape(3, 2)
    contents = {"numbers": numbers, "real": np.array([[0.5]]), "cells": names(["one", "längst"])}
    savemat(tmp_path / "some.mat", contents, do_compression=compressed)
    read = read_mat(tmp_path / "some.mat")
    assert read["numbers"].tolist() == numbers.ravel(order="F").tolist()
    assert read["real"].tolist() == [0.5]
    assert read["cells"] == ["one", "längst"]
    savemat(tmp_path / "struct.mat", {"inner": {"a": 1}})
    with pytest.raises(ProtocolFileError, match="numbers or cells of text"):
        read_mat(tmp_path / "struct.mat")


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def megaface(tmp_path):
    people = ["anna"] * 3 + ["berta"] * 2 + ["carla"]
    probes = {"path": [f"{p}/{p}_{n}.png" for n, p in enumerate(people)], "id": people}
    distractors = {"path": [f"FlickrFinal2/1/{n}@N/{n}_0.jpg" for n in range(40)]}
    return (
        written(tmp_path, "facescrub_features_list.json", probes),
        written(tmp_path, "megaface_features_list.json_40_1", distractors),
    )


def test_megaface_equals_a_loop_over_the_mates(megaface):
    lists, removed = megaface_lists(*megaface)
    assert removed == {"probes": 0, "distractors": 0}
    rng = np.random.default_rng(0)
    features = rng.normal(size=(46, 3)).astype(np.float32)
    features[:6] += np.repeat(rng.normal(size=(3, 3)), [3, 2, 1], axis=0) * 3
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for products in ("float32", "int8"):
        record = megaface_record(
            lists, features, ranks=(1, 5), sizes=(7, 20, 99), products=products, resamples=30
        )
        assert [row["distractors"] for row in record["identification"]] == [7, 20, 40]
        for row in record["identification"]:
            ranks, whose = [], []
            for probe in range(6):
                for mate in range(6):
                    if probe != mate and lists.people[probe] == lists.people[mate]:
                        others = unit[6 : 6 + row["distractors"]] @ unit[probe]
                        ranks.append(1 + np.sum(others >= unit[probe] @ unit[mate]))
                        whose.append(lists.people[probe])
            assert record["pairs"] == len(ranks) == 8
            for rank in (1, 5):
                is_found = np.array(ranks) <= rank
                ends = row["cmc"][str(rank)]
                assert ends["value"] == pytest.approx(is_found.mean())
                if 0 < is_found.mean() < 1:
                    drawn = identity_mean(is_found, whose, resamples=30)
                    assert (ends["low"], ends["high"]) == pytest.approx((drawn.low, drawn.high))


def test_megaface_leaves_noises_out(megaface, tmp_path):
    probe_noises = written(tmp_path, "facescrub_noises.txt", "# found by hand\nanna_1.png\n")
    noises = "#\n12\t1/3@N/3_0.jpg\n1/5@N/5_0.jpg\n"
    distractor_noises = written(tmp_path, "megaface_noises.txt", noises)
    lists, removed = megaface_lists(
        *megaface, probe_noises=probe_noises, distractor_noises=distractor_noises
    )
    assert removed == {"probes": 1, "distractors": 2}
    assert lists.probes[:2] == ["anna/anna_0.png", "anna/anna_2.png"]
    assert not any("/3_0" in path or "/5_0" in path for path in lists.distractors)
    assert len(lists.distractors) == 38


def test_megaface_faces_that_were_not_acquired(megaface):
    lists, _ = megaface_lists(*megaface)
    features = np.ones((46, 3), dtype=np.float32)
    features[6:] *= -1
    features[0] = 0  # a probe: its four pairs are lost
    features[10] = 0  # a distractor: nobody is mistaken for it
    record = megaface_record(lists, features, ranks=(1,), sizes=(), resamples=0)
    assert record["identification"] == [{"distractors": 39, "cmc": {"1": {"value": 0.5}}}]
    assert record["cautions"]["intervals"].startswith("drawn from 2 identities")


def test_broken_megaface(megaface, tmp_path):
    _, distractors = megaface
    cases = [
        ("{", r"line 1: must be JSON"),
        ({"id": []}, "no list of paths"),
        ({"path": ["a", "b"], "id": ["x"]}, "one id for each path, got 1 and 2"),
        ({"path": ["a", "a"], "id": ["x", "x"]}, "every picture once"),
        ({"path": ["a", "b"], "id": ["x", "y"]}, "two pictures or more of a person"),
    ]
    for content, message in cases:
        with pytest.raises(ProtocolFileError, match=message):
            megaface_lists(written(tmp_path, "broken.json", content), distractors)


def test_gallery_tables(tmp_path):
    gallery = written(tmp_path, "gallery.csv", "picture,identity\na.jpg,anna\nb.jpg,berta\n")
    rows = "".join(f"p{n}.jpg,stranger{n}\n" for n in range(10))
    probes = written(tmp_path, "probes.csv", "picture,identity\nq.jpg,anna\nr.jpg,berta\n" + rows)
    lists = gallery_tables(gallery, probes)
    assert lists.pictures[:3] == ["a.jpg", "b.jpg", "q.jpg"]
    # anna is found clearly, berta is taken for anna, and one stranger looks like berta.
    features = [[1, 0], [0, 1], [1, 0.1], [1, 0.9], [0, 5], *[[-1, -0.1]] * 9]
    record = gallery_record(lists, np.array(features, dtype=np.float32), ranks=[1, 2])
    assert {rank: ends["value"] for rank, ends in record["cmc"].items()} == {"1": 0.5, "2": 1.0}
    assert record["open_set_curves"][0]["gallery"] == "all"
    assert record["cautions"]["intervals"].startswith("drawn from 12 identities")
    points = {p["rule"]: p for p in record["fnir_at_fpir"] if p["target"] == 0.1}
    assert points["iso"]["fpir"] == 0.1
    assert points["iso"]["fnir"] == 0.0
    assert points["newer"]["fnir"] == 1.0  # a score must exceed that of the stranger
    assert "give at least 100" in record["refused"]["rule iso, gallery all, FPIR 0.01"]
    probes.write_text("picture,identity\nq.jpg,anna\nq.jpg,berta\n")
    with pytest.raises(ProtocolFileError, match=r"line 3: a picture must stand once, got q"):
        gallery_tables(gallery, probes)
