"""How equal an exported file is to the network it was made of, as a record that travels with it.

    feature difference of a picture = |file's feature - network's| / |network's|
    loss = accuracy of the network - accuracy of the file, on the same pairs and draws of people

A file that computes in float32 must give the network's own features. One that computes in fewer
bits cannot, so it is judged by what it is for: it passes when the loss is shown to be small, that
is when the upper end of its 95 % interval does not exceed the tolerance. That no loss was shown is
not enough: with few pairs none ever is. Nor do n pairs on which nothing changed rule out a change
in 3 / n of them (rule of 3), so the upper end is taken to be that at least.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import ModelFileError
from marginface.evaluation import compare_records, rates_at
from marginface.evaluation.thresholds import RULE_OF_3
from marginface.recognition.contract import MatchThreshold
from marginface.recognition.pair_scores import PairScores, judge_scores
from marginface.recognition.sources import EmbeddedPictures

PARITY_KEY = "marginface.parity"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureParity:
    """Features of the same pictures by both.

    Args:
        source: Name of the set.
        sha256: Digest of the pictures.
        pictures: How many were compared.
        failed: How many showed no face and were not.
        feature_largest: Largest difference of two features, as a share of the length.
        feature_mean: Mean of the same.
        cosine_smallest: Lowest cosine of the two embeddings of a picture.
        cosine_mean: Mean of the same.
    """

    source: str
    sha256: str
    pictures: int
    failed: int
    feature_largest: float
    feature_mean: float
    cosine_smallest: float
    cosine_mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairParity:
    """Scores of the same pairs by both.

    Args:
        source: Name of the list, or "every pair of the pictures".
        sha256: Digest of the list; empty without one.
        pairs: How many have a score.
        score_largest: Largest difference of two scores.
        score_mean: Mean of the absolute differences.
        threshold: The model's own; None where it has none.
        decisions_changed: Pairs that match by one of both only, at that threshold.
        rates: FMR and FNMR at that threshold, of network and file; empty without a list.
        metrics: Of each metric network, file and difference, with intervals; empty without a list.
    """

    source: str
    sha256: str
    pairs: int
    score_largest: float
    score_mean: float
    threshold: float | None
    decisions_changed: int | None
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    metrics: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The faces that the ranges of the integers were taken from; no person of the pairs is there.

    Args:
        source: Name of the set.
        sha256: Digest of the aligned faces, in their order.
        faces: How many.
        people: Of how many people.
    """

    source: str
    sha256: str
    faces: int
    people: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """What was compared, and what came of it.

    Args:
        model: Name of the network.
        precision: "float32" or "int8".
        network_engine: What ran the network, with its version.
        file_engine: What ran the file, with its version.
        limit: What the features may differ by; None where the accuracy is judged instead.
        tolerance: The loss of accuracy allowed; None where the features are judged.
        made: Over made pictures, which everybody has.
        pictures: Over the pictures of a set.
        pairs: Over pairs of them.
        calibration: What the integers were fitted on.
    """

    model: str
    precision: str
    network_engine: str
    file_engine: str
    limit: float | None
    tolerance: float | None
    made: PictureParity
    pictures: PictureParity | None = None
    pairs: PairParity | None = None
    calibration: Calibration | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the record in plain types, ready for JSON."""
        return {"kind": "parity", "format": FORMAT, **asdict(self)}

    def essentials(self) -> dict[str, Any]:
        """Return what the file itself says of it: all but the metrics beside accuracy."""
        whole = self.as_dict()
        if self.pairs is not None:
            kept = {name: each for name, each in self.pairs.metrics.items() if name == "accuracy"}
            whole["pairs"]["metrics"] = kept
        return whole

    @property
    def highest_loss(self) -> float | None:
        """The accuracy that may be lost: upper end of the interval, and never below 3 / pairs."""
        if self.pairs is None or "accuracy" not in self.pairs.metrics:
            return None
        shown = -float(self.pairs.metrics["accuracy"]["difference"]["low"])
        return max(shown, RULE_OF_3 / self.pairs.pairs)

    def check(self) -> None:
        """Raise unless the file may be written.

        Raises:
            ModelFileError: If it gives other features, or its accuracy may be too low.
        """
        for part in (self.made, self.pictures):
            is_far = part is not None and not part.feature_largest <= (self.limit or np.inf)
            if part is not None and self.limit is not None and is_far:
                raise ModelFileError(
                    f"the ONNX file of {self.model} must give the network's own features, got "
                    f"others by {part.feature_largest:.2g} of their length on {part.source}; it "
                    "was not written; keep the model file"
                )
        if self.tolerance is None:
            return
        loss = self.highest_loss
        if self.pairs is None or loss is None:
            raise ModelFileError(
                f"the accuracy of the {self.precision} file must be measured, and these pairs "
                "cannot; it was not written; give pairs in two folds or more"
            )
        if not loss <= self.tolerance:
            measured = -float(self.pairs.metrics["accuracy"]["difference"]["value"])
            raise ModelFileError(
                f"the {self.precision} file must not lose more than {self.tolerance:g} of "
                f"accuracy, got {measured:.4f} and up to {loss:.4f} (95 %, {self.pairs.pairs:,} "
                "pairs); it was not written; judge on more people, calibrate on more faces like "
                "those of use, or allow more (tolerance)"
            )


def compare_pictures(
    network: EmbeddedPictures, file: EmbeddedPictures, *, source: str, sha256: str
) -> PictureParity:
    """Compare the features of pictures that both have embedded.

    Args:
        network: By the network.
        file: By the file, of the same pictures.
        source: Name of the set.
        sha256: Digest of the pictures.

    Raises:
        ModelFileError: If no picture showed a face.
    """
    kept = ~network.failed
    if not kept.any():
        raise ModelFileError(f"parity needs a face, and none was found in {source}")
    one, other = (each.embeddings[kept].astype(np.float64) for each in (network, file))
    lengths = network.norms[kept].astype(np.float64)[:, None]
    apart = one * lengths - other * file.norms[kept].astype(np.float64)[:, None]
    shares = np.linalg.norm(apart, axis=1) / np.maximum(lengths[:, 0], 1e-12)
    cosines = np.clip((one * other).sum(axis=1), -1, 1)
    return PictureParity(
        source=source,
        sha256=sha256,
        pictures=int(kept.sum()),
        failed=int((~kept).sum()),
        feature_largest=float(shares.max()),
        feature_mean=float(shares.mean()),
        cosine_smallest=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
    )


def compare_scores(
    network: NDArray[np.float64],
    file: NDArray[np.float64],
    *,
    threshold: MatchThreshold | None,
    source: str,
    sha256: str = "",
) -> PairParity:
    """Compare the scores of the same pairs; pairs without a face are left out.

    Args:
        network: Scores by the network, -inf where a picture failed, shape (pairs,).
        file: Scores by the file.
        threshold: The model's own.
        source: Name of the list.
        sha256: Its digest.

    Raises:
        ModelFileError: If no pair has a score.
    """
    kept = np.isfinite(network)
    if not kept.any():
        raise ModelFileError(f"parity needs a pair with two faces, and {source} has none")
    apart = np.abs(network[kept] - file[kept])
    changed = None
    if threshold is not None:
        changed = int(np.sum((network >= threshold.value) != (file >= threshold.value)))
    return PairParity(
        source=source,
        sha256=sha256,
        pairs=int(kept.sum()),
        score_largest=float(apart.max()),
        score_mean=float(apart.mean()),
        threshold=None if threshold is None else threshold.value,
        decisions_changed=changed,
    )


def judge_both(
    network: PairScores,
    file: PairScores,
    *,
    threshold: MatchThreshold | None,
    seed: int,
    resamples: int,
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, dict[str, Any]]]]:
    """Return the rates at the model's threshold, and every metric of both with the difference.

    Args:
        network: Scores of a list by the network.
        file: Scores of the same list by the file.
        threshold: The model's own.
        seed: Seed of the bootstrap.
        resamples: Draws of the bootstrap.
    """
    by_name = {"network": network, "file": file}
    rates = {}
    if threshold is not None:
        for name, each in by_name.items():
            fmr, fnmr = rates_at(each.scores, each.is_mated, threshold.value)
            rates[name] = {"fmr": fmr, "fnmr": fnmr}
    a, b = (judge_scores(each, seed=seed, resamples=resamples) for each in (file, network))
    metrics = {
        name: {
            "network": b.metrics[name].as_dict(),
            "file": a.metrics[name].as_dict(),
            "difference": difference.as_dict(),
        }
        for name, difference in compare_records(a, b).items()
    }
    return rates, metrics
