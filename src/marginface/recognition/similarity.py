"""How alike two faces are: the cosine, and two scores that also read the lengths of the features.

With z = the raw feature (mean over the mirrored face where that is averaged), κ = |z| and d its
length, a face is taken as a von Mises-Fisher distribution around z/κ with concentration κ, and
Φ_d(κ) is its relative log-normaliser (`sphere.relative_log_normaliser`):

    cosine         cos θ = z₁·z₂ / (κ₁ κ₂)
    vmf-mutual     Φ_d(|z₁ + z₂|) - Φ_d(κ₁) - Φ_d(κ₂)      log ∫ vMF₁ vMF₂ up to a constant
    vmf-symmetric  (κ₁ + κ₂)/2 · cos θ - (Φ_d(κ₁) + Φ_d(κ₂))/2      mean of both log densities

For the last two a score is a log-likelihood ratio in nats, not a cosine: a threshold of the one
means nothing for the other.

Source: Shi and Jain, "Probabilistic face embeddings", ICCV 2019 (mutual likelihood); Li et al.,
    "Spherical confidence learning for face recognition", CVPR 2021 (the von Mises-Fisher form).
Differs: relative to the uniform density, which shifts every score by one constant.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.errors import unknown_name
from marginface.sphere import relative_log_normaliser

Rows = NDArray[np.float32]
Values = NDArray[np.float64]

SCORES = {
    "cosine": "cosine of the two embeddings",
    "vmf-mutual": "mutual likelihood of two von Mises-Fisher distributions, log, nats",
    "vmf-symmetric": "mean log density of each direction under the other face, relative, nats",
}


def check_score(score: str) -> str:
    """Return the name, or raise if no score is called so.

    Raises:
        ValueError: With the names there are.
    """
    if score not in SCORES:
        raise unknown_name("score", score, SCORES)
    return score


def row_scores(
    score: str, first: Rows, second: Rows, first_norms: Rows, second_norms: Rows
) -> Values:
    """Return the score of each pair, in float64, shape (pairs,).

    Args:
        score: A row of `SCORES`.
        first: Unit embeddings, shape (pairs, dim).
        second: Those of the second pictures.
        first_norms: Lengths of the features, shape (pairs,).
        second_norms: Those of the second pictures.

    Raises:
        ValueError: If no score is called so.
    """
    cosine = cosines(first, second)
    if check_score(score) == "cosine":
        return cosine
    kappas = first_norms.astype(np.float64), second_norms.astype(np.float64)
    return _FORMULAS[score](cosine, *kappas, first.shape[1])


def cosines(first: Rows, second: Rows) -> Values:
    """Return the scores of pairs of unit embeddings, row by row, in [-1, 1].

    Summed in float64, so that the order of the two and the size of the batch change nothing.
    """
    products = np.einsum("pd,pd->p", first.astype(np.float64), second.astype(np.float64))
    return np.clip(products, -1, 1)


def vmf_mutual(cosine: Values, first_kappa: Values, second_kappa: Values, dim: int) -> Values:
    """Return the mutual likelihood score Φ(|z₁ + z₂|) - Φ(κ₁) - Φ(κ₂) of each pair."""
    squared = first_kappa**2 + second_kappa**2 + 2 * first_kappa * second_kappa * cosine
    # Opposite faces of one length cancel; rounding may leave a little below zero.
    both = np.sqrt(np.maximum(squared, 0))
    return _phi(both, dim) - (_phi(first_kappa, dim) + _phi(second_kappa, dim))


def vmf_symmetric(cosine: Values, first_kappa: Values, second_kappa: Values, dim: int) -> Values:
    """Return the mean of both relative log densities of each pair."""
    normalisers = _phi(first_kappa, dim) + _phi(second_kappa, dim)
    return (first_kappa + second_kappa) / 2 * cosine - normalisers / 2


_FORMULAS: dict[str, Callable[[Values, Values, Values, int], Values]] = {
    "vmf-mutual": vmf_mutual,
    "vmf-symmetric": vmf_symmetric,
}


def _phi(kappa: Values, dim: int) -> Values:
    with torch.no_grad():
        found = relative_log_normaliser(torch.from_numpy(np.ascontiguousarray(kappa)), dim)
    return found.numpy()
