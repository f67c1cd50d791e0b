"""The score of every pair of a list under one model, and the judgement of them.

Only the pictures that stand in a pair are read, and each is embedded once. A picture in which no
face is found, or that cannot be read, is a failure to acquire: it is counted, and its pairs match
at no threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.data.pairs import PairList, picture_stem, resolve_pairs
from marginface.data.sources import ImageSource
from marginface.evaluation import FMR_TARGETS, PairRecord, judge_pairs
from marginface.evaluation.scores import FAILED
from marginface.recognition.recognizer import Recognizer
from marginface.recognition.similarity import check_score, row_scores
from marginface.recognition.sources import EmbeddedPictures, embed_source

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairScores:
    """The score of every pair of a list, under one model, with all the judge needs.

    Args:
        scores: Higher is more alike, shape (pairs,); -inf where a picture failed.
        quality: Shorter feature of the two pictures, shape (pairs,); 0 where one failed.
        score: What the scores are, a row of `SCORES`.
        failed: Whether a picture of the pair failed, shape (pairs,).
        is_mated: Whether both pictures show one person, shape (pairs,).
        folds: The fold of each pair, shape (pairs,).
        first_identity: The person on each first picture.
        second_identity: The person on each second picture.
        pictures: How many different pictures the pairs name.
        failures: (name, reason) of each of those that failed.
    """

    scores: NDArray[np.float64]
    quality: NDArray[np.float64]
    score: str
    failed: NDArray[np.bool_]
    is_mated: NDArray[np.bool_]
    folds: NDArray[np.int64]
    first_identity: list[str]
    second_identity: list[str]
    pictures: int
    failures: list[tuple[str, str]]

    @property
    def failure_to_acquire(self) -> float:
        """Share of the pictures that failed."""
        return len(self.failures) / self.pictures


def score_pairs(
    recognizer: Recognizer,
    source: ImageSource,
    pairs: PairList,
    *,
    score: str = "cosine",
    is_aligned: bool | None = None,
    flip_average: bool | None = None,
    where: str = "",
) -> PairScores:
    """Score every pair with one model.

    Args:
        recognizer: The model.
        source: The pictures; those a pack left out count as failures to acquire.
        pairs: The list.
        score: How two faces are compared, a row of `SCORES`.
        is_aligned: Whether the pictures are crops on the contract's template; None for yes if they
            are a pack and no if they are a folder.
        flip_average: See `Recognizer.embed_aligned`.
        where: Where the pictures come from, for messages.

    Raises:
        ValueError: If no score is called so.
        ProtocolFileError: If the list names a picture that is not there.
        ModelFileError: If the network gives NaN, infinity or another length.
    """
    check_score(score)
    rows, used = rows_of_pairs(source, pairs, where=where)
    embedded = embed_source(
        recognizer, source, used, is_aligned=is_aligned, flip_average=flip_average
    )
    return scores_of(embedded, source, pairs, rows, score=score)


def rows_of_pairs(
    source: ImageSource, pairs: PairList, *, where: str = ""
) -> tuple[tuple[Rows, Rows], Rows]:
    """Return the rows in the source of both pictures of each pair, and every row once, sorted.

    A picture that was left out has row -1, and stands in the first two only.

    Raises:
        ProtocolFileError: If the list names a picture that is not there.
    """
    rows = resolve_pairs(pairs, source.names, left_out=_left_out(source), where=where)
    used = np.unique(np.concatenate(rows))
    return rows, used[used >= 0]


def scores_of(
    embedded: EmbeddedPictures,
    source: ImageSource,
    pairs: PairList,
    rows: tuple[Rows, Rows],
    *,
    score: str = "cosine",
) -> PairScores:
    """Score every pair from pictures that are embedded already.

    Args:
        embedded: The pictures of `rows_of_pairs`, in that order.
        source: Where they come from.
        pairs: The list.
        rows: From `rows_of_pairs`.
        score: A row of `SCORES`.
    """
    left_out = _left_out(source)
    used = np.unique(np.concatenate(rows))
    used = used[used >= 0]
    # One row more, at the end, for the pictures that were left out: index -1.
    nobody = np.zeros((1, embedded.embeddings.shape[1]), np.float32)
    embeddings = np.concatenate([embedded.embeddings, nobody])
    norms, gone = np.append(embedded.norms, np.float32(0)), np.append(embedded.failed, True)
    one, other = (np.where(row < 0, len(used), np.searchsorted(used, row)) for row in rows)
    failed = gone[one] | gone[other]
    scores = row_scores(score, embeddings[one], embeddings[other], norms[one], norms[other])
    stems = {picture_stem(*picture) for picture in [*pairs.first, *pairs.second]}
    missing = [(name, why) for name, why in left_out.items() if stem_of(name) in stems]
    return PairScores(
        scores=np.where(failed, FAILED, scores),
        quality=np.minimum(norms[one], norms[other]).astype(np.float64),
        score=score,
        failed=failed,
        is_mated=pairs.is_mated,
        folds=pairs.fold,
        first_identity=[identity for identity, _ in pairs.first],
        second_identity=[identity for identity, _ in pairs.second],
        pictures=len(stems),
        failures=[*embedded.failures, *missing],
    )


def _left_out(source: ImageSource) -> dict[str, str]:
    return {name: f"{reason}: {detail}" for name, reason, detail in source.left_out}


def judge_scores(
    scored: PairScores | Sequence[PairScores],
    *,
    fmr_targets: Sequence[float] = FMR_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
) -> PairRecord:
    """Judge scored pairs, failures to acquire included.

    Args:
        scored: From `score_pairs`; several for several runs of a model on the same pairs.
        fmr_targets: FMR targets, fractions in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.

    Raises:
        UndefinedRateError: If there is no mated or no non-mated pair.
    """
    runs = [scored] if isinstance(scored, PairScores) else list(scored)
    one = runs[0]
    return judge_pairs(
        np.stack([run.scores for run in runs]),
        one.is_mated,
        first_identity=one.first_identity,
        second_identity=one.second_identity,
        folds=one.folds,
        fmr_targets=fmr_targets,
        seed=seed,
        resamples=resamples,
        failed=np.stack([run.failed for run in runs]),
        failure_to_acquire=one.failure_to_acquire,
    )


def stem_of(name: str) -> str:
    """Return the name of a picture without its ending.

    Example:
        >>> stem_of("anna/anna_0007.jpg")
        'anna/anna_0007'
    """
    return name.rpartition(".")[0] or name
