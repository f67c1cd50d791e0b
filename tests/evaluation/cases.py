"""Scores to test metrics on: small, with ties and failed pairs, and a made-up world of people."""

import math

import numpy as np
from hypothesis import strategies as st

# Few distinct values make ties the rule; -inf is a pair whose picture failed.
SCORE = st.sampled_from([-math.inf, -0.75, -0.5, 0.0, 0.125, 0.25, 0.5, 0.625, 0.875])
SCORES = st.lists(SCORE, min_size=1, max_size=25)
# Every metric is defined on these: spread, and at least one acquired pair of each kind.
MATED = SCORES.map(lambda scores: [*scores, 0.5, 0.25])
NONMATED = SCORES.map(lambda scores: [*scores, 0.0, 0.5])


def people_pairs(rng, *, identities=20, folds=10, mated=10, nonmated=10):
    """Pairs of an LFW-like list whose folds share no people: first, second, fold."""
    first, second, fold = [], [], []
    groups = np.array_split(np.arange(identities), folds)
    for number, group in enumerate(groups):
        for _ in range(mated):
            person = rng.choice(group)
            first.append(person)
            second.append(person)
        for _ in range(nonmated):
            one, other = rng.choice(group, size=2, replace=False)
            first.append(one)
            second.append(other)
        fold += [number] * (mated + nonmated)
    return np.array(first), np.array(second), np.array(fold)


def people_scores(rng, first, second, *, distance=2.0, spread=0.5):
    """Scores with an effect of each person: some are hard to match, some match everyone."""
    hardness = rng.normal(0, spread, first.max() + 1)
    likeness = rng.normal(0, spread, first.max() + 1)
    is_mated = first == second
    mean = np.where(is_mated, distance + hardness[first], (likeness[first] + likeness[second]) / 2)
    return mean + rng.normal(size=first.size)
