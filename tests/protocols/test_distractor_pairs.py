"""Verification against distractors, against all pairs written out."""

import numpy as np
import pytest

from marginface.protocols.distractor_pairs import DistractorPairs, distractor_verification


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def case(seed=0, *, dim=6, distractors=300, depth=3):
    """Probes of 25 people, of whom one looks like very many distractors; one has no face."""
    rng = np.random.default_rng(seed)
    people = np.sort(rng.integers(0, 25, 90))
    people = np.unique(people, return_inverse=True)[1]
    centres = rng.normal(size=(25, dim))
    probes = unit(centres[people] + 0.5 * rng.normal(size=(90, dim)))
    near = centres[people[40]] + 0.3 * rng.normal(size=(distractors // 3, dim))
    others = unit(np.concatenate([near, rng.normal(size=(distractors - len(near), dim))]))
    probes[7] = 0
    scores = probes @ others.T
    best = -np.sort(-scores, axis=1)[:, :depth]
    return probes, people, others, best


def all_pairs(probes, people, others):
    gone = ~probes.any(axis=1)
    nonmated = np.where(gone[:, None], -np.inf, probes @ others.T)
    first, second = np.triu_indices(len(probes), 1)
    same = people[first] == people[second]
    first, second = first[same], second[same]
    mated = np.einsum("pd,pd->p", probes[first], probes[second])
    return np.where(gone[first] | gone[second], -np.inf, mated), people[first], nonmated


def brute_fnmr(mated, weights, nonmated, nonmated_weights, target, total):
    """The lowest threshold, from strict to lax, at which so little weight matches; FNMR at it."""
    found = 1.0
    for threshold in np.unique(nonmated[np.isfinite(nonmated)])[::-1]:
        if nonmated_weights[nonmated >= threshold].sum() > target * total + 1e-9:
            return 1 - weights[mated > threshold].sum() / weights.sum()
    return found


@pytest.mark.parametrize("target", [0.001, 0.02])
@pytest.mark.parametrize("seed", range(3))
def test_fnmr_and_interval_equal_all_pairs_written_out(seed, target):
    probes, people, others, best = case(seed)
    pairs = DistractorPairs(probes, people, others, best, distractors=len(others) + 4)
    record = distractor_verification(pairs, fmr_targets=(target,), seed=3, resamples=12)
    mated, owners, nonmated = all_pairs(probes, people, others)
    rng = np.random.default_rng(3)
    count, drawn = people.max() + 1, []
    for draw in range(13):
        weights = np.ones(count) if draw == 0 else rng.multinomial(count, [1 / count] * count)
        rows = np.repeat(weights[people, None], len(others), axis=1)
        total = weights[people].sum() * (len(others) + 4)
        drawn.append(brute_fnmr(mated, weights[owners], nonmated, rows, target, total))
    (ends,) = record["metrics"].values()
    assert ends["value"] == pytest.approx(drawn[0])
    assert (ends["low"], ends["high"]) == pytest.approx(
        tuple(np.quantile(drawn[1:], [0.025, 0.975]))
    )
    assert 0 < ends["value"] < 1
    assert record["pairs"] == {"mated": mated.size, "nonmated": 90 * (len(others) + 4)}
    assert record["failure_to_acquire"] == pytest.approx(1 / 90)


@pytest.mark.parametrize("wanted", [1, 50, 700, 10**6])
def test_the_strongest_are_all_there(wanted):
    probes, people, others, best = case()
    pairs = DistractorPairs(probes, people, others, best, distractors=len(others))
    scores, owners = pairs.strongest(wanted)
    everything = all_pairs(probes, people, others)[2]
    expected = np.sort(everything[np.isfinite(everything)])[::-1][:wanted]
    assert scores[:wanted].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    # Only the probes that might hide a score were searched deeper.
    if wanted == 50:
        deeper = [row for row, listed in pairs.listed.items() if listed.size > 3]
        assert 0 < len(deeper) < 30
        assert set(owners[:wanted].tolist()) <= set(people.tolist())


def test_what_too_few_pairs_cannot_show():
    probes, people, others, best = case()
    pairs = DistractorPairs(probes, people, others, best, distractors=len(others))
    record = distractor_verification(pairs, fmr_targets=(1e-6, 1e-3), resamples=0)
    assert record["refused"] == {
        "fnmr_at_fmr_0.000001": "FMR 1e-06 cannot be seen in 27,000 non-mated scores; "
        "give at least 1,000,000"
    }
    ends = record["metrics"]["fnmr_at_fmr_0.001"]
    assert ends["low"] == ends["value"] == ends["high"]
    assert "rests on 27 false matches" in record["cautions"]["fnmr_at_fmr_0.001"]


def test_ties_and_faces_that_were_not_acquired_match_nobody():
    # Anna's two pictures score 0.6, and so does the first of them with a distractor.
    probes = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 0]], dtype=np.float32)
    others = np.array([[0.6, -0.8], [-1, 0], [0, -1]], dtype=np.float32)
    best = -np.sort(-(probes @ others.T), axis=1)
    pairs = DistractorPairs(probes, np.array([0, 0, 1, 1]), others, best, distractors=3)
    assert [scores.tolist() for scores in pairs.mated] == [[np.float32(0.6)], [-np.inf]]
    # Where one or more of the twelve may match, Anna's pair is found; the one without a face never.
    lax = distractor_verification(pairs, fmr_targets=(0.09, 0.2, 0.9), resamples=0)
    found = [ends["value"] for ends in lax["metrics"].values()]
    assert found == [0.5, 0.5, 0.5]
    # With the distractor refused at 0.6, so is her pair.
    (one,) = pairs.missed(np.array([np.float64(np.float32(0.6))]), np.ones((1, 2)))
    assert one == 1.0
