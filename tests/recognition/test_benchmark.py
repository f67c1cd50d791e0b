import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marginface.backbones import folded_sface_onnx, make_backbone
from marginface.data import PackWriter, open_images, read_pairs
from marginface.data.packing import pack_folder
from marginface.data.pairs import picture_stem
from marginface.errors import DataError, ProtocolFileError, WeightsError
from marginface.recognition import (
    PUBLIC_MODELS,
    SCORES,
    MatchThreshold,
    ModelContract,
    Recognizer,
    embed_source,
    evaluate_pairs,
    score_pairs,
)
from marginface.recognition.similarity import cosines, row_scores

PICTURES = Path(__file__).parents[1] / "pictures"
CONTRACT = ModelContract(architecture="iresnet_tiny", dim=16, input_size=(32, 32))

# Two folds; the third picture of macron is a text file, the second of obama a grey wall.
PAIRS = """2\t2
emmanuel_macron\t1\t2
emmanuel_macron\t1\t3
emmanuel_macron\t1\tbarack_obama\t1
emmanuel_macron\t2\tbarack_obama\t2
jacinda_ardern\t1\t2
jacinda_ardern\t2\t1
jacinda_ardern\t1\trishi_sunak\t1
rishi_sunak\t1\tjacinda_ardern\t2
"""
FAILED = [False, True, False, True, False, False, False, False]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import cv2

    folder = tmp_path / "people"
    shutil.copytree(PICTURES, folder, ignore=shutil.ignore_patterns("*.md"))
    (folder / "emmanuel_macron/emmanuel_macron_0003.jpg").write_text("no picture at all")
    wall = np.full((120, 100, 3), 130, np.uint8)
    cv2.imwrite(str(folder / "barack_obama/barack_obama_0002.jpg"), wall)
    # Nobody asks for this one, so nobody may read it.
    (folder / "rishi_sunak/rishi_sunak_0002.jpg").write_text("never named")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    (tmp_path / "pairs.txt").write_text(PAIRS)
    return tmp_path / "pairs.txt"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"fmr_targets": (0.1, 1.5)}, r"fmr_targets must be a fraction in \(0, 1\), got 1.5"),
        ({"at_fmr": 2.0}, r"at_fmr must be a fraction in \(0, 1\), got 2.0"),
        ({"resamples": 0}, "resamples must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"score": "vmf-mutal"}, "did you mean 'vmf-mutual'"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_opened(
    tiny: Recognizer, tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_pairs(tiny, tmp_path / "nowhere", tmp_path / "no.txt", **asked)


def test_a_column_of_people_is_no_column_of_groups(
    tiny: Recognizer, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marginface.evaluation.group_cells.MOST_GROUPS", 1)
    rows = [f"{who}/{who}_0001.jpg,{who}" for who in ("barack_obama", "rishi_sunak")]
    (tmp_path / "who.csv").write_text("\n".join(["picture,name", *rows]) + "\n")
    with pytest.raises(ValueError, match="must be at most 1, got 2, as 'barack_obama'"):
        evaluate_pairs(
            tiny, tmp_path / "nowhere", pairs, groups=tmp_path / "who.csv", group_by="name"
        )


def test_a_list_of_failed_pictures_alone_is_counted(tiny: Recognizer, tmp_path: Path) -> None:
    with PackWriter(tmp_path / "left.pack", size=32) as writer:
        writer.add(np.zeros((32, 32, 3), np.uint8), "anna", "anna/anna_0001.png")
        for name in ("bert/bert_0001.png", "bert/bert_0002.png", "cleo/cleo_0001.png"):
            writer.leave_out(name, "no face", "none found")
    (tmp_path / "p.txt").write_text("1\nbert\t1\t2\nbert\t1\tcleo\t1\n")
    record = evaluate_pairs(
        tiny, tmp_path / "left.pack", tmp_path / "p.txt", fmr_targets=(0.5,), resamples=20
    )
    assert record["pictures"] == {"named": 3, "failed": 3}
    assert record["failure_to_acquire"] == 1.0
    assert "got 2 failed pairs" in record["rejection"]["refused"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record


@pytest.fixture
def tiny() -> Recognizer:
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    return Recognizer.from_backbone(backbone, CONTRACT, name="tiny")


def test_evaluates_a_folder_as_it_is(sface: Recognizer, folder: Path, pairs: Path) -> None:
    record = evaluate_pairs(sface, folder, pairs, fmr_targets=(0.001, 0.25), resamples=50)
    assert json.loads(json.dumps(record)) == record
    assert record["model"] == "sface"
    # Of 8 named pictures 2 fail; one of 4 mated pairs is lost by it, and no other.
    assert record["failure_to_acquire"] == pytest.approx(2 / 8)
    assert record["pictures"] == {"named": 8, "failed": 2}
    assert dict(record["failures"]).keys() == {
        "barack_obama/barack_obama_0002.jpg",
        "emmanuel_macron/emmanuel_macron_0003.jpg",
    }
    assert str(folder) not in json.dumps(record)
    assert record["pairs"]["mated"] == record["pairs"]["nonmated"] == 4
    assert record["pairs"]["failed_mated"] == record["pairs"]["failed_nonmated"] == 1
    # The second fold is parted at 0.79, which refuses the first fold's mated pair of 0.59.
    assert record["metrics"]["accuracy"]["value"] == pytest.approx((2 / 4 + 4 / 4) / 2)
    assert record["metrics"]["fnmr_at_fmr_0.25"]["value"] == pytest.approx(1 / 4)
    assert "fnmr_at_fmr_0.001" in record["refused"]
    assert set(record["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert record["at_model_threshold"]["fnmr"] == pytest.approx(1 / 4)
    assert record["at_model_threshold"]["fmr"] == 0
    assert record["flip_average"] is False
    assert record["alignment"].startswith("largest central face by YuNet")


def test_scores_are_those_of_verify(sface: Recognizer, folder: Path, pairs: Path) -> None:
    scored = score_pairs(sface, open_images(folder), read_pairs(pairs))
    assert scored.failed.tolist() == FAILED
    assert np.isneginf(scored.scores[scored.failed]).all()
    for index in (0, 2, 7):
        stems = [read_pairs(pairs).first[index], read_pairs(pairs).second[index]]
        paths = [folder / name / f"{name}_{number:04d}.jpg" for name, number in stems]
        assert scored.scores[index] == pytest.approx(sface.verify(*paths).score, abs=1e-5)
    assert scored.scores[4] == scored.scores[5]  # the same pair, turned round
    assert scored.is_mated.tolist() == [True, True, False, False] * 2
    assert scored.first_identity[7] == "rishi_sunak"
    assert scored.pictures == 8


def test_a_pack_gives_the_same_scores_and_failures(
    sface: Recognizer, folder: Path, pairs: Path, tmp_path: Path
) -> None:
    pack_folder(folder, tmp_path / "set.pack", workers=1)
    packed = score_pairs(sface, open_images(tmp_path / "set.pack"), read_pairs(pairs))
    plain = score_pairs(sface, open_images(folder), read_pairs(pairs))
    assert packed.failed.tolist() == FAILED
    np.testing.assert_allclose(packed.scores, plain.scores, atol=1e-5)
    assert packed.failure_to_acquire == plain.failure_to_acquire == 2 / 8
    assert {name for name, _ in packed.failures} == {name for name, _ in plain.failures}
    records = [
        evaluate_pairs(sface, images, pairs, resamples=20)
        for images in (tmp_path / "set.pack", folder)
    ]
    assert records[0]["alignment"] == "as stored"
    assert records[0]["metrics"] == records[1]["metrics"]


def test_each_named_picture_is_read_once(
    tiny: Recognizer, folder: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_images(folder)
    asked: list[int] = []
    read = type(source).read
    monkeypatch.setattr(
        type(source), "read", lambda self, rows: asked.extend(rows) or read(self, rows)
    )
    score_pairs(tiny, source, read_pairs(pairs), is_aligned=True)
    names = [source.names[row] for row in asked]
    assert len(names) == len(set(names)) == 8
    assert "rishi_sunak/rishi_sunak_0002.jpg" not in names


def test_pictures_a_pack_left_out_are_not_read(
    tiny: Recognizer, folder: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_folder(folder, tmp_path / "set.pack", workers=1)
    source = open_images(tmp_path / "set.pack")
    asked: list[int] = []
    read = type(source).read
    monkeypatch.setattr(
        type(source), "read", lambda self, rows: asked.extend(rows) or read(self, rows)
    )
    score_pairs(tiny, source, read_pairs(pairs))
    assert sorted(asked) == list(range(6))


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (2, 2), (64, 3)])
def test_batches_and_threads_change_nothing(
    tiny: Recognizer, folder: Path, batch_size: int, workers: int
) -> None:
    source = open_images(folder)
    rows = np.array([3, 0, 3, 1, 4])
    options = {"batch_size": batch_size, "workers": workers}
    got = embed_source(tiny, source, rows, **options)
    alone = [embed_source(tiny, source, [int(row)], workers=1) for row in rows]
    np.testing.assert_allclose(
        got.embeddings, np.concatenate([one.embeddings for one in alone]), atol=1e-5
    )
    assert got.failed.tolist() == [bool(one.failed[0]) for one in alone]
    np.testing.assert_allclose(
        np.linalg.norm(got.embeddings, axis=1), (~got.failed).astype(float), atol=1e-5
    )


def test_flip_average_is_stated_and_does_something(
    tiny: Recognizer, folder: Path, pairs: Path
) -> None:
    source, listed = open_images(folder), read_pairs(pairs)
    plain = score_pairs(tiny, source, listed, is_aligned=True)
    flipped = score_pairs(tiny, source, listed, is_aligned=True, flip_average=True)
    shown = ~plain.failed
    assert np.abs(plain.scores[shown] - flipped.scores[shown]).max() > 1e-4
    record = evaluate_pairs(tiny, folder, pairs, is_aligned=True, flip_average=True, resamples=10)
    assert record["flip_average"] is True
    assert record["at_model_threshold"] is None


def test_flip_average_of_the_contract_is_stated(folder: Path, pairs: Path) -> None:
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    flips = Recognizer.from_backbone(backbone, replace(CONTRACT, flip_average=True), name="tiny")
    record = evaluate_pairs(flips, folder, pairs, is_aligned=True, resamples=10)
    assert record["flip_average"] is True


def test_norms_are_those_of_the_mean_feature(tiny: Recognizer) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    for flip_average in (False, True):
        raw = tiny.network.features(faces)
        if flip_average:
            raw = (raw + tiny.network.features(faces, is_mirrored=True)) / 2
        options = {"flip_average": flip_average, "batch_size": 5}
        embeddings, norms = tiny.embed_with_norms(faces, **options)
        np.testing.assert_allclose(norms, np.linalg.norm(raw, axis=1), rtol=1e-6)
        np.testing.assert_allclose(embeddings * norms[:, None], raw, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(embeddings, tiny.embed_aligned(faces, **options))


def test_quality_is_the_lower_of_two_and_other_scores_read_it(
    tiny: Recognizer, folder: Path, pairs: Path
) -> None:
    source, listed = open_images(folder), read_pairs(pairs)
    scored = {
        score: score_pairs(tiny, source, listed, score=score, is_aligned=True) for score in SCORES
    }
    embedded = embed_source(tiny, source, range(len(source.names)), is_aligned=True)
    places = {name.rpartition(".")[0]: row for row, name in enumerate(source.names)}
    for pair, (one, other) in enumerate(zip(listed.first, listed.second, strict=True)):
        rows = [places[picture_stem(*picture)] for picture in (one, other)]
        quality = min(embedded.norms[row] for row in rows)
        cosine = float(embedded.embeddings[rows[0]] @ embedded.embeddings[rows[1]])
        for found in scored.values():
            assert found.quality[pair] == pytest.approx(quality, rel=1e-5)
        if not scored["cosine"].failed[pair]:
            assert scored["cosine"].scores[pair] == pytest.approx(cosine, abs=1e-5)
            values = [embedded.norms[row : row + 1] for row in rows]
            units = [embedded.embeddings[row : row + 1] for row in rows]
            expected = row_scores("vmf-mutual", *units, *values)[0]
            assert scored["vmf-mutual"].scores[pair] == pytest.approx(expected, abs=1e-4)
    assert {score: found.score for score, found in scored.items()} == {s: s for s in SCORES}
    with pytest.raises(ValueError, match="did you mean 'vmf-mutual'"):
        score_pairs(tiny, source, listed, score="vmf-mutal")


def test_a_threshold_on_cosines_is_left_out_under_another_score(
    folder: Path, pairs: Path, tiny: Recognizer
) -> None:
    contract = replace(CONTRACT, threshold=MatchThreshold(value=0.5, fmr=0.1, fixed_on="there"))
    fixed = Recognizer.from_backbone(tiny.network.backbone, contract, name="fixed")
    options = {"is_aligned": True, "resamples": 10}
    plain = evaluate_pairs(fixed, folder, pairs, **options)
    assert plain["at_model_threshold"]["threshold"] == 0.5
    assert plain["score"]["name"] == "cosine"
    assert "at_model_threshold" not in plain["refused"]
    other = evaluate_pairs(fixed, folder, pairs, score="vmf-symmetric", **options)
    assert other["at_model_threshold"] is None
    assert other["refused"]["at_model_threshold"] == (
        "the model's threshold is a cosine, the score here is vmf-symmetric"
    )
    assert other["score"]["name"] == "vmf-symmetric"
    assert "nats" in other["score"]["meaning"]


def test_the_record_holds_error_versus_reject(tiny: Recognizer, folder: Path, pairs: Path) -> None:
    record = evaluate_pairs(tiny, folder, pairs, is_aligned=True, at_fmr=0.5, resamples=20)
    rejection = record["rejection"]
    # One picture cannot be read as it is, so one mated pair has no score; the wall can.
    assert rejection["failed_pairs_left_out"] == 1
    assert rejection["fnmr"]["pairs"] + rejection["fmr"]["pairs"] == 7
    assert rejection["target_fmr"] == 0.5
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    few = evaluate_pairs(tiny, folder, pairs, is_aligned=True, resamples=10)["rejection"]
    assert "FMR 0.01 cannot be seen in 4 non-mated" in few["refused"]
    none = evaluate_pairs(tiny, folder, pairs, is_aligned=True, at_fmr=None, resamples=10)
    assert "rejection" not in none


def test_the_record_holds_groups(
    tiny: Recognizer, folder: Path, pairs: Path, tmp_path: Path
) -> None:
    table = tmp_path / "who.csv"
    people = sorted({name.split("/")[0] for name in open_images(folder).names})
    rows = [f"{who}/{who}_000{n}.jpg,{who[0]}" for who in people for n in (1, 2)]
    table.write_text("\n".join(["picture,initial", *rows]) + "\n")
    record = evaluate_pairs(
        tiny,
        folder,
        pairs,
        is_aligned=True,
        at_fmr=0.5,
        groups=table,
        group_by="initial",
        resamples=10,
    )
    found = {row["name"]: row for row in record["groups"]["rows"]}
    assert record["groups"]["column"] == "initial"
    # Macron's third picture is not in the table.
    assert record["groups"]["unlabelled_pairs"] == 1
    assert (found["all"]["mated"], found["all"]["nonmated"]) == (4, 4)
    assert (found["j"]["mated"], found["e"]["mated"]) == (2, 1)
    assert found["different groups"]["nonmated"] == 4
    assert record["data"]["groups"] == "who.csv"


def test_same_record_twice(tiny: Recognizer, folder: Path, pairs: Path) -> None:
    records = [evaluate_pairs(tiny, folder, pairs, is_aligned=True, resamples=10) for _ in range(2)]
    for record in records:
        del record["seconds"]
    assert records[0] == records[1]


def test_the_fingerprint_follows_the_named_pictures(
    tiny: Recognizer, folder: Path, pairs: Path
) -> None:
    def fingerprint() -> str:
        record = evaluate_pairs(tiny, folder, pairs, is_aligned=True, resamples=10)
        return record["data"]["fingerprint"]

    before = fingerprint()
    (folder / "rishi_sunak/rishi_sunak_0002.jpg").write_text("still never named")
    assert fingerprint() == before
    with (folder / "rishi_sunak/rishi_sunak_0001.jpg").open("ab") as file:
        file.write(b"x")
    assert fingerprint() != before


def test_a_missing_picture(tiny: Recognizer, folder: Path, pairs: Path) -> None:
    (folder / "rishi_sunak/rishi_sunak_0001.jpg").unlink()
    with pytest.raises(
        ProtocolFileError,
        match=r"pairs.txt line 8: image 'rishi_sunak/rishi_sunak_0001.\*' not found under --images",
    ):
        evaluate_pairs(tiny, folder, pairs)


def test_missing_and_empty_folders(tiny: Recognizer, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        with pytest.raises(DataError, match=name):
            evaluate_pairs(tiny, tmp_path / name, pairs)


def test_absent_detector_weights_are_no_failures_to_acquire(
    folder: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, tiny: Recognizer
) -> None:
    def absent(path: object = None) -> None:
        raise WeightsError("weights 'yunet' are not on this machine")

    monkeypatch.setattr("marginface.recognition.recognizer.Detector.load", absent)
    with pytest.raises(WeightsError, match="yunet"):
        evaluate_pairs(tiny, folder, pairs)


def test_a_pack_of_another_size_is_resized(tiny: Recognizer, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    with PackWriter(tmp_path / "set.pack", size=112) as writer:
        writer.add(image, "anna", "anna/anna_0001.png")
    got = embed_source(tiny, open_images(tmp_path / "set.pack"), [0])
    np.testing.assert_allclose(got.embeddings, tiny.embed_aligned(image[None]), atol=1e-6)


def test_cosines_stay_in_range() -> None:
    one = np.full((1, 3), np.float32(1 / np.sqrt(3)))
    assert cosines(one, one)[0] <= 1
    assert cosines(one, -one)[0] >= -1
    a, b = np.eye(3, dtype=np.float32)[[0, 0]], np.eye(3, dtype=np.float32)[[0, 1]]
    np.testing.assert_array_equal(cosines(a, b), [1.0, 0.0])


def test_public_sface_tells_the_portraits_apart(sface: Recognizer, tmp_path: Path) -> None:
    """Detected, aligned and embedded as a user would, by the module and by the ONNX file alike."""
    source = open_images(PICTURES)
    embedded = embed_source(sface, source, range(6))
    assert not embedded.failed.any()
    scores = embedded.embeddings @ embedded.embeddings.T
    first, second = np.triu_indices(6, k=1)
    is_mated = source.labels[first] == source.labels[second]
    mated, nonmated = scores[first, second][is_mated], scores[first, second][~is_mated]
    assert (len(mated), len(nonmated)) == (2, 13)
    assert mated.min() >= sface.contract.threshold.value > nonmated.max()
    contract = PUBLIC_MODELS["sface"].onnx_contract
    by_graph = Recognizer.load(folded_sface_onnx(cache=tmp_path), contract=contract)
    other = embed_source(by_graph, source, range(6))
    assert (embedded.embeddings * other.embeddings).sum(axis=1).min() >= 0.9999


@pytest.mark.slow
@pytest.mark.faces
def test_public_sface_on_real_faces(sface: Recognizer, faces: Path) -> None:
    record = evaluate_pairs(sface, faces / "celeb", faces / "splits/val_pairs.txt")
    assert record["failure_to_acquire"] < 0.01
    assert 0.975 < record["metrics"]["accuracy"]["value"] < 0.995
