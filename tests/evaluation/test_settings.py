"""Numbers out of range get house words, wherever they are handed in."""

import math

import numpy as np
import pytest

from marginface.evaluation import fnmr_at_fmr, rank_correlation
from marginface.evaluation.bootstrap import IdentityBootstrap
from marginface.evaluation.settings import check_fmr, check_settings


def test_what_is_in_range_passes():
    check_settings(fmr_targets=(1e-6, 0.999), resamples=1, seed=0)


@pytest.mark.parametrize("fmr", [0.0, 1.0, -0.1, math.nan])
def test_an_fmr_is_a_fraction(fmr):
    with pytest.raises(ValueError, match=r"at_fmr must be a fraction in \(0, 1\), got"):
        check_fmr("at_fmr", fmr)
    with pytest.raises(ValueError, match=r"fmr_targets must be a fraction in \(0, 1\), got"):
        check_settings(fmr_targets=(0.1, fmr))
    with pytest.raises(ValueError, match=r"target_fmr must be a fraction in \(0, 1\), got"):
        fnmr_at_fmr([0.5], [0.1, 0.2], target_fmr=fmr)


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ({"seed": 0, "resamples": 0}, "resamples must be at least 1, got 0"),
        ({"seed": -1, "resamples": 5}, "seed must be at least 0, got -1"),
    ],
)
def test_every_bootstrap_refuses_draws_it_cannot_make(draws, message):
    codes = np.array([0, 1, 1])
    with pytest.raises(ValueError, match=message):
        IdentityBootstrap(codes, codes[::-1], **draws)
    with pytest.raises(ValueError, match=message):
        rank_correlation([1, 2, 3, 4], [10, 20, 30, 30], ["a", "b", "c", "d"], **draws)
