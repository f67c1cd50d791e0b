"""Scores of every pair under one model file, kept beside it so that they are computed once."""

from pathlib import Path

import numpy as np

from marginface.comparison.plan import ComparisonPlan
from marginface.data import ImageSource, PairList
from marginface.files import atomic_path, sha256_of
from marginface.recognition import Recognizer
from marginface.recognition.benchmark import PairScores, score_pairs


def score_model(
    model: Path, source: ImageSource, pairs: PairList, plan: ComparisonPlan
) -> PairScores:
    """Score all pairs of a plan with a model file, or read the scores written before.

    Args:
        model: The model file; the scores stand beside it in `scores.npz`.
        source: The pictures of the pairs.
        pairs: The list.
        plan: Says where the pairs are and whether mirrored faces count.
    """
    # Whatever the scores depend on is in the key; another key means they are computed again.
    key = " ".join(
        [sha256_of(model), sha256_of(plan.pairs), _digest(source), str(plan.flip_average)]
    )
    path = model.with_name("scores.npz")
    if (kept := _read(path, key, pairs)) is not None:
        return kept
    scored = score_pairs(
        Recognizer.load(model),
        source,
        pairs,
        flip_average=plan.flip_average,
        where=f"--images {plan.images}",
    )
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            key=np.array(key),
            scores=scored.scores,
            failed=scored.failed,
            pictures=np.array(scored.pictures),
            failures=np.array(scored.failures, dtype=np.str_).reshape(-1, 2),
        )
    return scored


def _digest(source: ImageSource) -> str:
    return str(getattr(source, "fingerprint", f"{source.path} {len(source.names)}"))


def _read(path: Path, key: str, pairs: PairList) -> PairScores | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as kept:
        if str(kept["key"]) != key:
            return None
        return PairScores(
            scores=kept["scores"],
            failed=kept["failed"],
            is_mated=pairs.is_mated,
            folds=pairs.fold,
            first_identity=[identity for identity, _ in pairs.first],
            second_identity=[identity for identity, _ in pairs.second],
            pictures=int(kept["pictures"]),
            failures=[(str(name), str(why)) for name, why in kept["failures"]],
        )
