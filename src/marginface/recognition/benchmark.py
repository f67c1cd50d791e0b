"""Judge a model on a list of pairs: pictures in, a record with intervals out.

Only the pictures that stand in a pair are read, and each is embedded once. A picture in which no
face is found, or that cannot be read, is a failure to acquire: it is counted, and its pairs match
at no threshold.
"""

import hashlib
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.data.packs import PackedFaces
from marginface.data.pairs import PairList, picture_stem, read_pairs, resolve_pairs
from marginface.data.sources import ImageSource, open_images
from marginface.evaluation import FMR_TARGETS, PairRecord, judge_pairs
from marginface.evaluation.scores import FAILED
from marginface.files import sha256_of
from marginface.recognition.contract import MatchThreshold
from marginface.recognition.recognizer import Recognizer
from marginface.recognition.sources import embed_source

# A record names so many failed pictures; it always counts them all.
NAMED_FAILURES = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class PairScores:
    """The score of every pair of a list, under one model, with all the judge needs.

    Args:
        scores: Cosines, shape (pairs,); -inf where a picture failed.
        failed: Whether a picture of the pair failed, shape (pairs,).
        is_mated: Whether both pictures show one person, shape (pairs,).
        folds: The fold of each pair, shape (pairs,).
        first_identity: The person on each first picture.
        second_identity: The person on each second picture.
        pictures: How many different pictures the pairs name.
        failures: (name, reason) of each of those that failed.
    """

    scores: NDArray[np.float64]
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
    is_aligned: bool | None = None,
    flip_average: bool | None = None,
    where: str = "",
) -> PairScores:
    """Score every pair with one model.

    Args:
        recognizer: The model.
        source: The pictures; those a pack left out count as failures to acquire.
        pairs: The list.
        is_aligned: Whether the pictures are crops on the contract's template; None for yes if they
            are a pack and no if they are a folder.
        flip_average: See `Recognizer.embed_aligned`.
        where: Where the pictures come from, for messages.

    Raises:
        ProtocolFileError: If the list names a picture that is not there.
        ModelFileError: If the network gives NaN, infinity or another length.
    """
    left_out = {name: f"{reason}: {detail}" for name, reason, detail in source.left_out}
    is_aligned = source.is_aligned if is_aligned is None else is_aligned
    rows = resolve_pairs(pairs, source.names, left_out=left_out, where=where)
    used = np.unique(np.concatenate(rows))
    used = used[used >= 0]
    embedded = embed_source(
        recognizer,
        source,
        used,
        is_aligned=is_aligned,
        flip_average=flip_average,
    )
    # One row more, at the end, for the pictures that were left out: index -1.
    embeddings = np.concatenate([embedded.embeddings, np.zeros_like(embedded.embeddings[:1])])
    gone = np.append(embedded.failed, True)
    places = [np.where(row < 0, len(used), np.searchsorted(used, row)) for row in rows]
    failed = gone[places[0]] | gone[places[1]]
    scores = cosines(embeddings[places[0]], embeddings[places[1]])
    stems = {picture_stem(*picture) for picture in [*pairs.first, *pairs.second]}
    missing = [(name, why) for name, why in left_out.items() if _stem(name) in stems]
    return PairScores(
        scores=np.where(failed, FAILED, scores),
        failed=failed,
        is_mated=pairs.is_mated,
        folds=pairs.fold,
        first_identity=[identity for identity, _ in pairs.first],
        second_identity=[identity for identity, _ in pairs.second],
        pictures=len(stems),
        failures=[*embedded.failures, *missing],
    )


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the scores of pairs of unit embeddings, row by row, in [-1, 1].

    Summed in float64, so that the order of the two and the size of the batch change nothing.
    """
    products = np.einsum("pd,pd->p", first.astype(np.float64), second.astype(np.float64))
    return np.clip(products, -1, 1)


def evaluate_pairs(
    recognizer: Recognizer,
    images: str | Path,
    pairs: str | Path,
    *,
    is_aligned: bool | None = None,
    flip_average: bool | None = None,
    fmr_targets: Sequence[float] = FMR_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Judge a model on a list of pairs and return the record, ready for JSON.

    Args:
        recognizer: The model.
        images: A folder in LFW's layout (PERSON/PERSON_0001.jpg), as it is, or a pack.
        pairs: The list, in LFW's format.
        is_aligned: See `score_pairs`.
        flip_average: See `Recognizer.embed_aligned`; the record states it.
        fmr_targets: FMR targets, fractions in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.

    Raises:
        DataError: If the folder is missing or empty.
        ProtocolFileError: If the list does not parse, or names a picture that is not there.
        UndefinedRateError: If no pair can be judged at all.
        ModelFileError: If the network gives NaN, infinity or another length.
    """
    started = time.perf_counter()
    images, pairs = Path(images), Path(pairs)
    # The list first: it is quick to read, and embedding is not.
    listed = read_pairs(pairs)
    source = open_images(images)
    is_aligned = source.is_aligned if is_aligned is None else is_aligned
    scored = score_pairs(
        recognizer,
        source,
        listed,
        is_aligned=is_aligned,
        flip_average=flip_average,
        where=f"--images {images}",
    )
    embedded = time.perf_counter()
    judged = judge_scores(scored, fmr_targets=fmr_targets, seed=seed, resamples=resamples)
    return {
        "model": recognizer.name,
        **judged.as_dict(),
        **_acquisition(scored),
        "at_model_threshold": _rates_at(recognizer.contract.threshold, scored),
        "protocol": _protocol(listed),
        **_settings(recognizer, is_aligned=is_aligned, flip_average=flip_average),
        "data": {
            "images": images.name,
            "pairs": pairs.name,
            "pairs_sha256": sha256_of(pairs),
            "fingerprint": _fingerprint(source, images, listed),
        },
        "date": datetime.now(UTC).date().isoformat(),
        "versions": _versions(),
        "seconds": {
            "embedding": round(embedded - started, 3),
            "judging": round(time.perf_counter() - embedded, 3),
        },
    }


def judge_scores(
    scored: PairScores,
    *,
    fmr_targets: Sequence[float] = FMR_TARGETS,
    seed: int = 0,
    resamples: int = 1000,
) -> PairRecord:
    """Judge scored pairs, failures to acquire included.

    Args:
        scored: From `score_pairs`.
        fmr_targets: FMR targets, fractions in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.

    Raises:
        UndefinedRateError: If there is no mated or no non-mated pair.
    """
    return judge_pairs(
        scored.scores,
        scored.is_mated,
        first_identity=scored.first_identity,
        second_identity=scored.second_identity,
        folds=scored.folds,
        fmr_targets=fmr_targets,
        seed=seed,
        resamples=resamples,
        failed=scored.failed,
        failure_to_acquire=scored.failure_to_acquire,
    )


def _acquisition(scored: PairScores) -> dict[str, Any]:
    return {
        "pictures": {"named": scored.pictures, "failed": len(scored.failures)},
        "failures": [list(failure) for failure in scored.failures[:NAMED_FAILURES]],
    }


def _settings(
    recognizer: Recognizer, *, is_aligned: bool, flip_average: bool | None
) -> dict[str, Any]:
    contract = recognizer.contract
    found = f"largest central face by YuNet, on the template {contract.template}"
    return {
        "flip_average": contract.flip_average if flip_average is None else flip_average,
        "alignment": "as stored" if is_aligned else found,
        "contract": {
            "architecture": contract.architecture,
            "dim": contract.dim,
            "input_size": list(contract.input_size),
            "loss": contract.loss,
            "training_data": contract.training_data.name,
            "licence_note": contract.licence_note,
        },
    }


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _rates_at(threshold: MatchThreshold | None, scored: PairScores) -> dict[str, Any] | None:
    """State what the model's own threshold, fixed elsewhere, does on these pairs."""
    if threshold is None:
        return None
    is_match = scored.scores >= threshold.value
    return {
        "threshold": threshold.value,
        "fixed_on": threshold.fixed_on,
        "stated_fmr": threshold.fmr,
        "fmr": float(is_match[~scored.is_mated].mean()),
        "fnmr": float(1 - is_match[scored.is_mated].mean()),
    }


def _protocol(pairs: PairList) -> str:
    folds = int(pairs.fold.max()) + 1
    if folds == 1:
        return f"LFW pairs, {len(pairs):,} in one fold"
    return (
        f"LFW pairs, {len(pairs):,} in {folds} folds, "
        f"each fold judged at the best threshold of the other {folds - 1}"
    )


def _fingerprint(source: ImageSource, images: Path, pairs: PairList) -> str:
    """Return the pack's own, or a digest of the named files of a folder, in order of their name."""
    if isinstance(source, PackedFaces):
        return source.fingerprint
    stems = {picture_stem(*picture) for picture in [*pairs.first, *pairs.second]}
    digest = hashlib.sha256()
    for name in sorted(source.names):
        if _stem(name) in stems:
            digest.update(f"{name} {sha256_of(images / name)}\n".encode())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    packages = ("marginface", "torch", "numpy", "opencv-python-headless")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
