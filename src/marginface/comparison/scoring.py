"""Scores of every pair under one model file, kept beside it so that they are computed once."""

from pathlib import Path

import numpy as np

from marginface.comparison.plan import ComparisonPlan
from marginface.data import ImageSource, PairList
from marginface.errors import DataError
from marginface.files import atomic_path, sha256_of
from marginface.recognition import Recognizer
from marginface.recognition.pair_scores import PairScores, score_pairs

SCORE = "cosine"
# Changes when more is kept than before, so that older files are computed again.
FORMAT = "scores-2"
KEPT = ("key", "score", "scores", "quality", "failed", "pictures", "failures")


def score_model(
    model: Path, source: ImageSource, pairs: PairList, plan: ComparisonPlan, *, digest: str
) -> PairScores:
    """Score all pairs of a plan with a model file, or read the scores written before.

    Args:
        model: The model file; the scores stand beside it in `scores.npz`.
        source: The pictures of the pairs.
        pairs: The list.
        plan: Says where the pairs are and whether mirrored faces count.
        digest: Of the pictures the pairs name, from `fingerprint_of`.
    """
    # Whatever the scores depend on is in the key; another key means they are computed again.
    key = " ".join(
        [FORMAT, SCORE, sha256_of(model), sha256_of(plan.pairs), digest, str(plan.flip_average)]
    )
    path = model.with_name("scores.npz")
    if path.is_file():
        found, kept_key = _read(path, pairs)
        if found is not None and kept_key == key:
            return found
    scored = score_pairs(
        Recognizer.load(model),
        source,
        pairs,
        score=SCORE,
        flip_average=plan.flip_average,
        where=f"--images {plan.images}",
    )
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            key=np.array(key),
            score=np.array(scored.score),
            scores=scored.scores,
            quality=scored.quality,
            failed=scored.failed,
            pictures=np.array(scored.pictures),
            failures=np.array(scored.failures, dtype=np.str_).reshape(-1, 2),
        )
    return scored


def read_scores(path: str | Path, pairs: PairList) -> PairScores:
    """Read the scores kept beside a model of a comparison.

    Args:
        path: A `scores.npz`.
        pairs: The list they were computed for.

    Raises:
        DataError: If the file is absent, older than this format, or of a list of another length.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; give the scores.npz beside a compared model")
    found, _ = _read(path, pairs)
    if found is None:
        raise DataError(
            f"{path} must hold {', '.join(KEPT)} of {len(pairs):,} pairs, got an older file or "
            "another list; run the comparison again to renew it"
        )
    return found


def _read(path: Path, pairs: PairList) -> tuple[PairScores | None, str]:
    with np.load(path, allow_pickle=False) as kept:
        if not set(KEPT) <= set(kept.files) or kept["scores"].shape != (len(pairs),):
            return None, ""
        scored = PairScores(
            scores=kept["scores"],
            quality=kept["quality"],
            score=str(kept["score"]),
            failed=kept["failed"],
            is_mated=pairs.is_mated,
            folds=pairs.fold,
            first_identity=[identity for identity, _ in pairs.first],
            second_identity=[identity for identity, _ in pairs.second],
            pictures=int(kept["pictures"]),
            failures=[(str(name), str(why)) for name, why in kept["failures"]],
        )
        return scored, str(kept["key"])
