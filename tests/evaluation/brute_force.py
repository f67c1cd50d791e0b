"""Every metric again, slowly and from its definition: loops over all thresholds, no sorting."""

import math
from fractions import Fraction

import numpy as np


def thresholds(scores):
    """Every threshold that can make a difference, from strict to lax."""
    return [math.inf, *sorted({s for s in scores if s != -math.inf}, reverse=True)]


def rates(mated, nonmated, threshold):
    fmr = Fraction(sum(s >= threshold for s in nonmated), len(nonmated))
    fnmr = Fraction(sum(s < threshold for s in mated), len(mated))
    return fmr, fnmr


def curve(mated, nonmated):
    return [rates(mated, nonmated, t) for t in thresholds([*mated, *nonmated])]


def fnmr_at_fmr(mated, nonmated, target):
    limit = Fraction(target).limit_denominator(10**6)
    return float(min(fnmr for fmr, fnmr in curve(mated, nonmated) if fmr <= limit))


def eer(mated, nonmated):
    return float(min((abs(a - b), (a + b) / 2) for a, b in curve(mated, nonmated))[1])


def auc(mated, nonmated):
    wins = sum(Fraction((a > b) * 2 + (a == b), 2) for a in mated for b in nonmated)
    return float(wins / (len(mated) * len(nonmated)))


def d_prime(mated, nonmated):
    clouds = [[s for s in part if s != -math.inf] for part in (mated, nonmated)]
    means = [math.fsum(part) / len(part) for part in clouds]
    variances = [
        math.fsum((s - mean) ** 2 for s in part) / len(part)
        for part, mean in zip(clouds, means, strict=True)
    ]
    return (means[0] - means[1]) / math.sqrt(sum(variances) / 2)


def accuracy(scores, is_mated, folds):
    """Mean, and each fold's accuracy at the highest of the best thresholds of the others."""
    accuracies = []
    for fold in sorted(set(folds)):
        others = [(s, m) for s, m, f in zip(scores, is_mated, folds, strict=True) if f != fold]
        here = [(s, m) for s, m, f in zip(scores, is_mated, folds, strict=True) if f == fold]
        best = max(
            thresholds([s for s, _ in others]),
            key=lambda t, others=others: (sum((s >= t) == m for s, m in others), t),
        )
        accuracies.append(sum((s >= best) == m for s, m in here) / len(here))
    return float(np.mean(accuracies)), accuracies
