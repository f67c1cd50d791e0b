"""Records of pair lists: exact and public figures from the same features."""

import numpy as np
import pytest

from marginface.errors import ProtocolFileError
from marginface.evaluation.insightface_folds import flip_summed, grid_accuracy, squared_distances
from marginface.protocols import load_features, pack_pairs, pair_record, pairs_table


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    is_mated = np.tile([True, True, False], 40)
    people = np.repeat(rng.normal(size=(120, 6)), 2, axis=0)
    people[1::2][~is_mated] = rng.normal(size=((~is_mated).sum(), 6))
    return pack_pairs(is_mated, name="agedb_30"), people + 0.7 * rng.normal(size=(240, 6))


def test_public_figures_are_those_of_the_grid(case):
    pairs, features = case
    record = pair_record(pairs, features, resamples=50)
    rows = flip_summed(features)
    public = grid_accuracy(squared_distances(rows[::2], rows[1::2]), pairs.is_mated)
    assert record["insightface"]["mean"] == public.mean
    assert record["insightface"]["tar"] == public.tar
    exact = record["metrics"]["accuracy"]["value"]
    assert record["insightface"]["exact_minus_public"] == exact - public.mean
    assert record["insightface"]["low"] <= public.mean <= record["insightface"]["high"]
    assert record["bootstrap"]["over"] == "pairs"
    assert record["identities"] == 120 + 40  # a pack does not say who is on a picture


def test_length_of_features_changes_nothing(case):
    pairs, features = case
    record = pair_record(pairs, features, resamples=5)
    longer = pair_record(pairs, features * 8, resamples=5)
    assert record == longer


def test_a_failed_face_is_a_miss_in_both(case):
    pairs, features = case
    whole = pair_record(pairs, features, resamples=5)
    features[:20] = 0  # ten pairs without any face, whose empty rows lie at distance 0
    record = pair_record(pairs, features, resamples=5)
    assert record["failure_to_acquire"] == pytest.approx(20 / 240)
    assert record["pairs"]["failed_mated"] == 7
    assert record["insightface"]["mean"] < whole["insightface"]["mean"]


def test_mated_pairs_first_leave_out_the_published_tar_alone(case):
    pairs, features = case
    order = np.argsort(~pairs.is_mated, kind="stable")
    sorted_pairs = pack_pairs(pairs.is_mated[order], name="sorted")
    rows = np.stack([2 * order, 2 * order + 1], axis=1).ravel()
    record = pair_record(sorted_pairs, features[rows], resamples=5)
    assert 0.5 < record["insightface"]["mean"] < 1
    assert "tar" not in record["insightface"]
    assert "got none in fold 8 of 10" in record["refused"]["published TAR at FAR 0.001"]


def test_people_of_a_table_are_drawn(tmp_path):
    lines = ["picture_a,picture_b,is_mated,identity_a,identity_b"]
    lines += [f"{n}a,{n}b,1,p{n},p{n}\n{n}a,{n + 1}a,0,p{n},p{n + 1}" for n in range(12)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(lines) + "\n")
    pairs = pairs_table(path)
    features = np.random.default_rng(1).normal(size=(len(pairs.pictures), 4))
    record = pair_record(pairs, features, resamples=5)
    assert (record["bootstrap"]["over"], record["identities"]) == ("identities", 13)


def test_features_that_do_not_fit(case, tmp_path):
    pairs, features = case
    with pytest.raises(ValueError, match=r"one row for each of 240 pictures, got shape \(3, 6\)"):
        pair_record(pairs, features[:3])
    features[7, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in row 7"):
        pair_record(pairs, features)
    np.save(tmp_path / "f.npy", features[:3])
    with pytest.raises(ProtocolFileError, match=r"one row for each of 240 pictures, got float64"):
        load_features(tmp_path / "f.npy", 240)
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ProtocolFileError, match="array of features"):
        load_features(tmp_path / "o.npy", 1)
