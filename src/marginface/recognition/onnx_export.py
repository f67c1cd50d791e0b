"""A model as an ONNX file that is proven: compared first, written then, with the report beside it.

    model.onnx           the network, its contract and the essentials of the report
    model.parity.json    the report, with the SHA-256 of the file it speaks of

Neither is written unless the report passes; see `parity` for when it does.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from marginface.data.convert_formats import open_images
from marginface.data.pairs import PairList, read_pairs
from marginface.data.sources import ImageSource
from marginface.errors import ModelFileError, unknown_name
from marginface.evaluation.thresholds import RULE_OF_3
from marginface.files import atomic_path, sha256_of, write_atomically
from marginface.recognition.benchmark import fingerprint_of, fingerprint_of_pictures
from marginface.recognition.calibration import (
    calibration_faces,
    people_to_calibrate_on,
    rows_in_turn,
)
from marginface.recognition.contract import ModelContract
from marginface.recognition.engines import DEFAULT_ENGINE, check_engine
from marginface.recognition.gallery import made_pictures
from marginface.recognition.network import OnnxNetwork, TorchNetwork
from marginface.recognition.onnx_file import AGREEMENT, add_metadata, check_onnx_path, save_onnx
from marginface.recognition.pair_scores import rows_of_pairs, scores_of, stem_of
from marginface.recognition.parity import (
    PARITY_KEY,
    Calibration,
    PairParity,
    ParityReport,
    PictureParity,
    compare_pictures,
    compare_scores,
    judge_both,
)
from marginface.recognition.quantise import quantise
from marginface.recognition.recognizer import Recognizer
from marginface.recognition.sources import EmbeddedPictures, embed_source_by

PRECISIONS = ("float32", "int8")
TOLERANCE = 0.005
CALIBRATION_FACES = 256
# Without a list so many pictures of a set are compared; they make half a million pairs.
PICTURES = 1000


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """What a file is to be and to be compared on.

    Args:
        precision: "float32", or "int8" for layers in 8-bit integers.
        engine: What runs the file while it is compared, a row of `ENGINES`.
        images: A set to compare on, as `evaluate_pairs` reads it; None for made pictures only.
        pairs: A list of its pairs, in LFW's format.
        identities: Who of the set is calibrated on; None for everybody who is in no pair.
        calibration: How many faces are calibrated on.
        tolerance: The accuracy that may be lost, a fraction.
        seed: Of the bootstrap, and of which pictures are drawn.
        resamples: Draws of the bootstrap.
    """

    precision: str = "float32"
    engine: str = DEFAULT_ENGINE
    images: Path | None = None
    pairs: Path | None = None
    identities: Sequence[str] | None = None
    calibration: int = CALIBRATION_FACES
    tolerance: float = TOLERANCE
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        check_engine(self.engine)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be a fraction in (0, 1), got {self.tolerance}")
        if self.calibration < 1:
            raise ValueError(f"calibration must be at least 1 face, got {self.calibration}")
        if self.pairs is not None and self.images is None:
            raise ValueError("pairs need images, the set their pictures are in, got pairs alone")
        if self.is_rounded and self.pairs is None:
            what = self.precision if self.precision != "float32" else self.engine
            raise ValueError(
                f"{what} changes the features, so images and pairs must be given to measure what "
                "it costs, got " + ("no images" if self.images is None else "no pairs")
            )

    @property
    def is_rounded(self) -> bool:
        """Whether the file is run in fewer bits than float32, and so gives other features."""
        return self.precision != "float32" or self.engine == "openvino-bf16"


def export_onnx(
    recognizer: Recognizer, out: str | Path, plan: ExportPlan | None = None, *, name: str = ""
) -> ParityReport:
    """Write a model as an ONNX file with its parity report, if the report passes.

    Args:
        recognizer: The model, run by PyTorch.
        out: The file to write or replace; it must end in .onnx.
        plan: What to write and compare on; None for float32 on made pictures.
        name: What the report calls the model; by default as the recogniser does, without folders.

    Raises:
        ValueError: If the path ends in something else.
        MissingExtraError: If onnx, onnxruntime or the engine is not installed.
        DataError: If the set cannot be read, or leaves nobody to calibrate on.
        ProtocolFileError: If the list does not parse, or names a picture that is not there.
        ModelFileError: If the model is an ONNX file already, cannot be traced or quantised, or the
            report does not pass; nothing is written then.
        CheckpointWriteError: If the disk refuses.
    """
    plan, out = plan or ExportPlan(), Path(out)
    check_onnx_path(out)
    if not isinstance(recognizer.network, TorchNetwork):
        raise ModelFileError(f"{recognizer.name} is an ONNX file already; copy it")
    # What is quick to read and may be wrong comes before what takes minutes.
    source = None if plan.images is None else open_images(plan.images)
    pairs = None if plan.pairs is None else read_pairs(plan.pairs)
    if plan.is_rounded and pairs is not None:
        _check_measurable(pairs, plan.tolerance)
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / "float32.onnx"
        save_onnx(exact, recognizer.network.backbone, recognizer.contract)
        chosen, calibration = exact, None
        if plan.precision == "int8":
            assert source is not None
            assert pairs is not None
            chosen = Path(folder) / "int8.onnx"
            calibration = _write_int8(recognizer, exact, chosen, source, pairs, plan)
        report = _compared(
            recognizer, chosen, source, pairs, plan, name or Path(recognizer.name).name
        )
        report = replace(report, calibration=calibration)
        report.check()
        add_metadata(chosen, {PARITY_KEY: json.dumps(report.essentials(), sort_keys=True)})
        content = chosen.read_bytes()
    with atomic_path(out) as temporary:
        temporary.write_bytes(content)
    record = {"file": out.name, "file_sha256": sha256_of(out), **report.as_dict()}
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(parity_path(out), text)
    return report


def parity_path(out: Path) -> Path:
    """Return where the report of a file stands.

    Example:
        >>> parity_path(Path("models/mine.onnx")).name
        'mine.parity.json'
    """
    return out.with_suffix(".parity.json")


def _check_measurable(pairs: PairList, tolerance: float) -> None:
    if int(pairs.fold.max()) < 1:
        raise ValueError(
            f"{pairs.path} must have two folds or more, as accuracy needs them, got one"
        )
    if RULE_OF_3 / len(pairs) > tolerance:
        raise ValueError(
            f"tolerance {tolerance:g} needs at least {int(np.ceil(RULE_OF_3 / tolerance)):,} "
            f"pairs (rule of 3), got {len(pairs):,}; give more pairs or a larger tolerance"
        )


def _write_int8(
    recognizer: Recognizer,
    exact: Path,
    out: Path,
    source: ImageSource,
    pairs: PairList,
    plan: ExportPlan,
) -> Calibration:
    people = people_to_calibrate_on(source, pairs, plan.identities)
    faces, record = calibration_faces(
        recognizer, source, people, count=plan.calibration, seed=plan.seed
    )
    quantise(exact, out, recognizer.network, faces)
    add_metadata(out, _rounded(recognizer.contract).to_metadata())
    return record


def _rounded(contract: ModelContract) -> ModelContract:
    """Say of a threshold that travels along that other scores than these were its base."""
    fixed = contract.threshold
    if fixed is None:
        return contract
    words = f"{fixed.fixed_on} (by the float32 network)"
    return replace(contract, threshold=replace(fixed, fixed_on=words))


def _compared(
    recognizer: Recognizer,
    path: Path,
    source: ImageSource | None,
    pairs: PairList | None,
    plan: ExportPlan,
    name: str,
) -> ParityReport:
    file = Recognizer(OnnxNetwork(path, engine=plan.engine), name=str(path))
    both = (recognizer, file)
    report = ParityReport(
        model=name,
        precision=plan.precision,
        network_engine=recognizer.network.engine,
        file_engine=file.network.engine,
        limit=None if plan.is_rounded else AGREEMENT,
        tolerance=plan.tolerance if plan.is_rounded else None,
        made=_made(both),
    )
    # A broken file is known by now, without minutes of pictures.
    if not plan.is_rounded:
        report.check()
    if source is None:
        return report
    if pairs is None:
        pictures, scored = _over_pictures(both, source, plan)
    else:
        pictures, scored = _over_pairs(both, source, pairs, plan)
    return replace(report, pictures=pictures, pairs=scored)


def _made(both: tuple[Recognizer, Recognizer]) -> PictureParity:
    faces = made_pictures()
    found = []
    for each in both:
        # One picture and several, so that a batch size that was traced in is seen.
        parts = [each.embed_with_norms(part) for part in np.split(faces, [1])]
        rows, norms = (np.concatenate(part) for part in zip(*parts, strict=True))
        nobody = np.zeros(len(faces), np.bool_)
        found.append(EmbeddedPictures(embeddings=rows, norms=norms, failed=nobody, failures=[]))
    return compare_pictures(found[0], found[1], source="made pictures", sha256="")


def _over_pictures(
    both: tuple[Recognizer, Recognizer], source: ImageSource, plan: ExportPlan
) -> tuple[PictureParity, PairParity]:
    rows = sorted(rows_in_turn(source, source.identities, seed=plan.seed)[:PICTURES])
    network, file = embed_source_by(both, source, rows)
    stems = {stem_of(source.names[row]) for row in rows}
    digest = fingerprint_of_pictures(source, stems)
    pictures = compare_pictures(network, file, source=source.path.name, sha256=digest)
    one, other = (_all_scores(each) for each in (network, file))
    threshold = both[0].contract.threshold
    words = "every pair of the pictures"
    return pictures, compare_scores(one, other, threshold=threshold, source=words)


def _all_scores(embedded: EmbeddedPictures) -> Any:
    rows = embedded.embeddings[~embedded.failed].astype(np.float64)
    first, second = np.triu_indices(len(rows), k=1)
    return (rows @ rows.T)[first, second]


def _over_pairs(
    both: tuple[Recognizer, Recognizer], source: ImageSource, pairs: PairList, plan: ExportPlan
) -> tuple[PictureParity, PairParity]:
    rows, used = rows_of_pairs(source, pairs, where=f"--images {source.path}")
    embedded = embed_source_by(both, source, used)
    digest = fingerprint_of(source, pairs)
    pictures = compare_pictures(*embedded, source=source.path.name, sha256=digest)
    network, file = (scores_of(each, source, pairs, rows) for each in embedded)
    threshold = both[0].contract.threshold
    assert pairs.path is not None
    scored = compare_scores(
        network.scores,
        file.scores,
        threshold=threshold,
        source=pairs.path.name,
        sha256=sha256_of(pairs.path),
    )
    rates, metrics = judge_both(
        network, file, threshold=threshold, seed=plan.seed, resamples=plan.resamples
    )
    return pictures, replace(scored, rates=rates, metrics=metrics)
