"""Judge a model on a list of pairs: pictures in, a record with intervals out."""

import hashlib
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from marginface.data.convert_formats import FaceSet, open_images
from marginface.data.pairs import PairList, picture_stem, read_pairs
from marginface.data.sources import ImageSource
from marginface.errors import UndefinedRateError
from marginface.evaluation import (
    FMR_TARGETS,
    error_versus_reject,
    freeze_threshold,
    judge_groups,
    rates_at,
)
from marginface.evaluation.curves import drawn_scores
from marginface.evaluation.group_cells import check_groups
from marginface.evaluation.settings import check_settings
from marginface.evaluation.thresholds import check_supported
from marginface.files import sha256_of
from marginface.recognition.contract import MatchThreshold
from marginface.recognition.pair_scores import PairScores, judge_scores, score_pairs, stem_of
from marginface.recognition.picture_table import PairGroups, pair_groups
from marginface.recognition.recognizer import Recognizer
from marginface.recognition.similarity import SCORES, check_score

# A record names so many failed pictures; it always counts them all.
NAMED_FAILURES = 50
QUALITY = "the shorter of the two features, averaged over the mirrored face where that is"


def evaluate_pairs(
    recognizer: Recognizer,
    images: str | Path,
    pairs: str | Path,
    *,
    score: str = "cosine",
    is_aligned: bool | None = None,
    flip_average: bool | None = None,
    fmr_targets: Sequence[float] = FMR_TARGETS,
    at_fmr: float | None = 0.01,
    groups: str | Path | None = None,
    group_by: str = "",
    bins: int = 3,
    freeze_fmr: float | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Judge a model on a list of pairs and return the record, ready for JSON.

    Args:
        recognizer: The model.
        images: A folder in LFW's layout (PERSON/PERSON_0001.jpg), as it is, a pack, or a
            set of another format.
        pairs: The list, in LFW's format.
        score: How two faces are compared, a row of `SCORES`; the record states it.
        is_aligned: See `score_pairs`.
        flip_average: See `Recognizer.embed_aligned`; the record states it.
        fmr_targets: FMR targets, fractions in (0, 1).
        at_fmr: The common threshold of error versus reject and of groups is fixed at this FMR;
            None leaves error versus reject out.
        groups: A table of pictures, see `pair_groups`; None for none.
        group_by: Its column.
        bins: How many groups a column of numbers is cut into.
        freeze_fmr: State the threshold at this FMR with its support, for use elsewhere.
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.

    Raises:
        ValueError: If no score is called so, or a number asked for is out of its range; nothing was
            read or embedded then.
        DataError: If the folder is missing or empty.
        ProtocolFileError: If a list does not parse, or names a picture that is not there.
        UndefinedRateError: If no pair can be judged at all, or too few to freeze a threshold on.
        ModelFileError: If the network gives NaN, infinity or another length.
    """
    started = time.perf_counter()
    check_score(score)
    check_settings(fmr_targets=fmr_targets, at_fmr=at_fmr, resamples=resamples, seed=seed)
    images, pairs = Path(images), Path(pairs)
    # The lists first: they are quick to read, and embedding is not.
    listed = read_pairs(pairs)
    labelled = None if groups is None else _labelled(listed, groups, group_by, bins)
    if freeze_fmr is not None:
        check_supported(freeze_fmr, int((~listed.is_mated).sum()))
    source = open_images(images)
    is_aligned = source.is_aligned if is_aligned is None else is_aligned
    scored = score_pairs(
        recognizer,
        source,
        listed,
        score=score,
        is_aligned=is_aligned,
        flip_average=flip_average,
        where=f"--images {images}",
    )
    embedded = time.perf_counter()
    draws = {"seed": seed, "resamples": resamples}
    judged = judge_scores(scored, fmr_targets=fmr_targets, **draws).as_dict()
    return {
        "model": recognizer.name,
        "engine": recognizer.network.engine,
        "score": {"name": score, "meaning": SCORES[score]},
        **judged,
        **_pictures_and_scores(scored),
        **_threshold_part(recognizer.contract.threshold, scored, judged["refused"]),
        **_rejection(scored, at_fmr, **draws),
        **_groups(scored, labelled, 0.01 if at_fmr is None else at_fmr, **draws),
        **_frozen(scored, freeze_fmr),
        "protocol": _protocol(listed),
        **_settings(recognizer, is_aligned=is_aligned, flip_average=flip_average),
        "data": _data(images, pairs, groups, fingerprint_of(source, listed)),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": _versions(),
        "seconds": _seconds(started, embedded),
    }


def _labelled(pairs: PairList, path: str | Path, column: str, bins: int) -> PairGroups:
    labelled = pair_groups(pairs, path, column, bins=bins)
    check_groups(labelled.order)
    return labelled


def fingerprint_of(source: ImageSource, pairs: PairList) -> str:
    """Return the set's own; of a folder, a digest of the named files, in order of their name."""
    stems = {picture_stem(*picture) for picture in [*pairs.first, *pairs.second]}
    return fingerprint_of_pictures(source, stems)


def fingerprint_of_pictures(source: ImageSource, stems: set[str]) -> str:
    """Return the set's own; of a folder, a digest of the pictures so called, endings left out."""
    if isinstance(source, FaceSet):
        return source.fingerprint
    digest = hashlib.sha256()
    for name in sorted(source.names):
        if stem_of(name) in stems:
            digest.update(f"{name} {sha256_of(source.path / name)}\n".encode())
    return digest.hexdigest()


def _data(images: Path, pairs: Path, groups: str | Path | None, fingerprint: str) -> dict[str, str]:
    data = {
        "images": images.name,
        "pairs": pairs.name,
        "pairs_sha256": sha256_of(pairs),
        "fingerprint": fingerprint,
    }
    if groups is not None:
        data |= {"groups": Path(groups).name, "groups_sha256": sha256_of(Path(groups))}
    return data


def _frozen(scored: PairScores, fmr: float | None) -> dict[str, Any]:
    if fmr is None:
        return {}
    return {"frozen_threshold": freeze_threshold(scored.scores, scored.is_mated, fmr=fmr).as_dict()}


def _pictures_and_scores(scored: PairScores) -> dict[str, Any]:
    return {
        **drawn_scores(scored.scores, scored.is_mated),
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


def _threshold_part(
    threshold: MatchThreshold | None, scored: PairScores, refused: dict[str, str]
) -> dict[str, Any]:
    """State what the model's own threshold, fixed elsewhere, does on these pairs."""
    if threshold is None:
        return {"at_model_threshold": None, "refused": refused}
    if scored.score != "cosine":
        reason = f"the model's threshold is a cosine, the score here is {scored.score}"
        return {"at_model_threshold": None, "refused": refused | {"at_model_threshold": reason}}
    fmr, fnmr = rates_at(scored.scores, scored.is_mated, threshold.value)
    found = {
        "threshold": threshold.value,
        "fixed_on": threshold.fixed_on,
        "stated_fmr": threshold.fmr,
        "fmr": fmr,
        "fnmr": fnmr,
    }
    return {"at_model_threshold": found, "refused": refused}


def _rejection(
    scored: PairScores, at_fmr: float | None, *, seed: int, resamples: int
) -> dict[str, Any]:
    if at_fmr is None:
        return {}
    try:
        found = error_versus_reject(
            scored.scores,
            scored.is_mated,
            scored.quality,
            first_identity=scored.first_identity,
            second_identity=scored.second_identity,
            target_fmr=at_fmr,
            seed=seed,
            resamples=resamples,
            failed=scored.failed,
        ).as_dict()
    except UndefinedRateError as reason:
        found = {"refused": str(reason)}
    return {"rejection": {"quality": QUALITY, **found}}


def _groups(
    scored: PairScores, groups: PairGroups | None, at_fmr: float, *, seed: int, resamples: int
) -> dict[str, Any]:
    if groups is None:
        return {}
    try:
        found = judge_groups(
            scored.scores,
            scored.is_mated,
            first_identity=scored.first_identity,
            second_identity=scored.second_identity,
            first_group=groups.first,
            second_group=groups.second,
            order=groups.order,
            target_fmr=at_fmr,
            seed=seed,
            resamples=resamples,
            failed=scored.failed,
        ).as_dict()
    except UndefinedRateError as reason:
        found = {"refused": str(reason)}
    return {"groups": {"column": groups.column, "bins": groups.bins, **found}}


def _protocol(pairs: PairList) -> str:
    folds = int(pairs.fold.max()) + 1
    if folds == 1:
        return f"LFW pairs, {len(pairs):,} in one fold"
    return (
        f"LFW pairs, {len(pairs):,} in {folds} folds, "
        f"each fold judged at the best threshold of the other {folds - 1}"
    )


def _seconds(started: float, embedded: float) -> dict[str, float]:
    judged = time.perf_counter()
    return {"embedding": round(embedded - started, 3), "judging": round(judged - embedded, 3)}


def _versions() -> dict[str, str]:
    packages = ("marginface", "torch", "numpy", "opencv-python-headless")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
