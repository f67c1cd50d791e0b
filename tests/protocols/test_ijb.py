"""IJB's meta files as published, from the command's own path: read, fuse, judge."""

import numpy as np
import pytest

from marginface.errors import ProtocolFileError
from marginface.evaluation.many_pairs import roc_tar
from marginface.protocols import (
    fuse,
    identification_record,
    read_faces,
    read_pairs,
    read_search,
    verification_record,
)
from marginface.protocols.ijb import people_of_templates

PEOPLE, PROBES = 12, 5


@pytest.fixture
def meta(tmp_path):
    """Per person a gallery template of two media, and five probes of one to three faces."""
    rng = np.random.default_rng(0)
    faces, templates = [], {}
    for person in range(PEOPLE):
        for number in range(1 + PROBES):
            template = person * 10 + number + 3
            templates[template] = person
            count = 4 if number == 0 else 1 + number % 3
            faces += [(template, 100 * template + face // 2, person) for face in range(count)]
    rng.shuffle(faces)
    lines = [f"{row}.jpg {t} {m}" for row, (t, m, _) in enumerate(faces, 1)]
    (tmp_path / "ijbc_face_tid_mid.txt").write_text("\n".join(lines) + "\n")
    scores = [f"{row}.jpg {'1.5 2.5 ' * 5}0.{row % 9 + 1}" for row in range(1, len(faces) + 1)]
    (tmp_path / "ijbc_name_5pts_score.txt").write_text("\n".join(scores) + "\n")
    galleries = [t for t in templates if t % 10 == 3]
    probes = [t for t in templates if t % 10 != 3]
    pairs = [(g, p, int(templates[g] == templates[p])) for g in galleries for p in probes]
    text = "".join(f"{g} {p} {label}\n" for g, p, label in pairs)
    (tmp_path / "ijbc_template_pair_label.txt").write_text(text)
    head = "TEMPLATE_ID,SUBJECT_ID,FILENAME\n"
    for key, mine in (("G1", galleries[::2]), ("G2", galleries[1::2])):
        rows = "".join(f"{t},{templates[t] + 50},img/{t}.jpg\n" * 2 for t in mine)
        (tmp_path / f"ijbc_1N_gallery_{key}.csv").write_text(head + rows)
    rows = "".join(f"{t},{templates[t] + 50},img/{t}.jpg\n" for t in probes)
    (tmp_path / "ijbc_1N_probe_mixed.csv").write_text(head + rows)
    centres = rng.normal(size=(PEOPLE, 8))
    features = np.array([centres[person] for _, _, person in faces]) + rng.normal(
        size=(len(faces), 8)
    )
    np.save(tmp_path / "features.npy", features.astype(np.float32))
    return tmp_path


def read(meta):
    faces = read_faces(meta, "ijbc")
    return faces, read_pairs(meta, "ijbc", faces), read_search(meta, "ijbc", faces)


def test_reading(meta):
    faces, pairs, search = read(meta)
    assert faces.pictures[0] == "1.jpg"
    assert faces.points[0].tolist() == [[1.5, 2.5]] * 5
    assert faces.detector_scores[:2].tolist() == [0.2, 0.3]
    assert len(pairs.is_mated) == PEOPLE * PEOPLE * PROBES
    assert pairs.is_mated.sum() == PEOPLE * PROBES
    assert search.galleries["G1"][0].tolist() == [3, 23, 43, 63, 83, 103]
    assert search.galleries["G1"][1].tolist() == [50, 52, 54, 56, 58, 60]
    codes = people_of_templates(pairs, search, faces)
    # Templates of one person share a code, also without the galleries' lists.
    assert len(set(codes.tolist())) == PEOPLE
    np.testing.assert_array_equal(codes, people_of_templates(pairs, None, faces))


@pytest.mark.parametrize("weighting", ["uniform", "norm", "detector", "norm+detector"])
def test_verification_equals_a_loop_over_the_pairs(meta, weighting):
    faces, pairs, search = read(meta)
    features = np.load(meta / "features.npy").astype(np.float64)
    weighed = features.copy()
    if "norm" not in weighting:
        weighed /= np.linalg.norm(weighed, axis=1, keepdims=True)
    if "detector" in weighting:
        weighed *= faces.detector_scores[:, None]
    fused = {}
    for template in set(faces.templates.tolist()):
        mine = faces.templates == template
        media = faces.media[mine]
        total = sum(weighed[mine][media == m].mean(axis=0) for m in set(media.tolist()))
        fused[template] = total / np.linalg.norm(total)
    scores = np.array([fused[a] @ fused[b] for a, b in zip(pairs.first, pairs.second, strict=True)])
    templates = fuse(faces, features, weighting=weighting, exact=True)
    targets = (1e-6, 0.01, 0.1)
    record = verification_record(
        faces, pairs, templates, search=search, fmr_targets=targets, resamples=50
    )
    expected = roc_tar(scores[pairs.is_mated], scores[~pairs.is_mated], targets)
    public = {
        row["target"]: (row["tar"], row["far"]) for row in record["insightface"]["tar_at_far"]
    }
    assert public == expected
    assert list(record["refused"]) == ["fnmr_at_fmr_0.000001"]
    stricter = [np.mean(scores[~pairs.is_mated] >= score) for score in scores[pairs.is_mated]]
    assert set(stricter) <= set(record["curve"]["fmr"])
    assert sum(record["histogram"]["nonmated"]) == (~pairs.is_mated).sum()
    assert record["identities"] == PEOPLE
    single = verification_record(
        faces,
        pairs,
        fuse(faces, features.astype(np.float32), weighting=weighting),
        fmr_targets=targets,
        resamples=0,
    )
    assert single["metrics"]["fnmr_at_fmr_0.1"]["value"] == pytest.approx(
        record["metrics"]["fnmr_at_fmr_0.1"]["value"]
    )


def test_identification(meta):
    faces, _, search = read(meta)
    templates = fuse(faces, np.load(meta / "features.npy"))
    record = identification_record(faces, search, templates, fpir_targets=(0.2,), resamples=50)
    assert record["galleries"] == {"G1": 6, "G2": 6}
    rules = {(point["rule"], point["gallery"]) for point in record["fnir_at_fpir"]}
    assert rules == {(r, g) for r in ("iso", "newer") for g in ("G1", "G2")} | {("older", "both")}
    means = {row["rule"]: row for row in record["mean_fnir"]}
    both = [p["fnir"] for p in record["fnir_at_fpir"] if p["rule"] == "iso"]
    assert means["iso"]["fnir"] == pytest.approx(np.mean(both))
    assert means["iso"]["low"] <= means["iso"]["fnir"] <= means["iso"]["high"]
    # Every probe is enrolled in exactly one gallery, so each counts once.
    assert 0 < record["cmc"]["1"]["value"] <= record["cmc"]["5"]["value"] <= 1
    assert [curve["gallery"] for curve in record["open_set_curves"]] == ["G1", "G2"]


def test_a_template_without_an_acquired_face(meta):
    faces, pairs, _ = read(meta)
    features = np.load(meta / "features.npy")
    features[faces.templates == 3] = 0
    record = verification_record(
        faces, pairs, fuse(faces, features), fmr_targets=(0.1,), resamples=5
    )
    assert record["pairs"]["failed_mated"] == PROBES
    assert record["failure_to_acquire"] == pytest.approx(1 / (PEOPLE * (1 + PROBES)))


def test_without_galleries_there_is_no_search(meta):
    for path in meta.glob("*1N*"):
        path.unlink()
    assert read(meta)[2] is None


def read_and_join(meta):
    faces, pairs, search = read(meta)
    return people_of_templates(pairs, search, faces)


def change(path, line, text):
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("face_tid_mid.txt", 4, "4.jpg 3", "line 4: a line must hold 3 columns.* got 2"),
        ("face_tid_mid.txt", 4, "4.jpg 3 1 9", "line 4: a line must hold 3 columns.* got 4"),
        ("face_tid_mid.txt", 4, "4.jpg x 1", "line 4: template and medium must be whole"),
        ("template_pair_label.txt", 9, "3 4", "line 9: a line must hold 3 columns"),
        ("template_pair_label.txt", 9, "3 4 1 1", "line 9: a line must hold 3 columns"),
        ("template_pair_label.txt", 9, "3 4 2", "line 9: label must be 0 or 1, got 2"),
        ("template_pair_label.txt", 9, "3 9999 0", "must hold|line 9: template must have a face"),
        ("template_pair_label.txt", 9, "3 four 0", "line 9: template must be whole, got 'four'"),
        ("template_pair_label.txt", 2, "3 4 0", "non-mated pair must be of two people"),
        ("name_5pts_score.txt", 3, "3.jpg 1 2 3", "line 3: a line must hold 12 columns"),
        ("name_5pts_score.txt", 3, "9.jpg " + "1 " * 11, "line 3: the picture must be 3.jpg"),
        ("name_5pts_score.txt", 3, "3.jpg " + "nan " * 11, "line 3: numbers must be finite"),
        ("1N_gallery_G1.csv", 2, "x,1,a", "line 2: TEMPLATE_ID and SUBJECT_ID"),
        ("1N_gallery_G1.csv", 3, "3,77,a", "line 3: template 3 must be of one person"),
        ("1N_probe_mixed.csv", 2, "9999,1,a", "template 9999 must have a face"),
    ],
)
def test_broken_files(meta, file, line, text, message):
    change(meta / f"ijbc_{file}", line, text)
    with pytest.raises(ProtocolFileError, match=message):
        read_and_join(meta)


def test_pairs_of_one_kind(meta):
    path = meta / "ijbc_template_pair_label.txt"
    path.write_text("3 4 1\n3 5 1\n")
    with pytest.raises(ProtocolFileError, match="no non-mated pair among 2"):
        read(meta)


def test_a_missing_column_and_an_extra_one_do_not_cancel(meta):
    path = meta / "ijbc_template_pair_label.txt"
    path.write_text("3 4 1\n3 5\n3 14 0 1\n13 14 1\n")
    with pytest.raises(ProtocolFileError, match="line 2"):
        read(meta)


def test_what_does_not_fit_the_faces(meta):
    faces, _, _ = read(meta)
    with pytest.raises(ValueError, match="one row for each of"):
        fuse(faces, np.ones((3, 8)))
    with pytest.raises(ValueError, match="weighting must be one of"):
        fuse(faces, np.ones((len(faces.pictures), 8)), weighting="best")
    (meta / "ijbc_name_5pts_score.txt").unlink()
    faces, _, _ = read(meta)
    with pytest.raises(ValueError, match="weighting detector needs ijbc_name_5pts_score"):
        fuse(faces, np.ones((len(faces.pictures), 8)), weighting="detector")
