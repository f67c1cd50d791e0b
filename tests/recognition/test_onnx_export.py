"""Files that are proven before they are written, on people who are patterns."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import marginface.recognition.onnx_export as onnx_export
from marginface.axes import Tensor
from marginface.backbones import make_backbone
from marginface.data import PackWriter, make_pairs, open_images, read_pairs, write_pairs
from marginface.errors import DataError, ModelFileError, ProtocolFileError
from marginface.recognition import (
    ExportPlan,
    MatchThreshold,
    ModelContract,
    Recognizer,
    evaluate_pairs,
    export_onnx,
    save_onnx,
    score_pairs,
)
from marginface.recognition.calibration import people_to_calibrate_on, rows_in_turn
from marginface.recognition.quantise import quantise

CONTRACT = ModelContract(
    architecture="iresnet_tiny",
    dim=16,
    input_size=(32, 32),
    threshold=MatchThreshold(value=0.9, fmr=0.01, fixed_on="made"),
)
JUDGED = [f"p{who:02d}" for who in range(12)]
OTHERS = [f"p{who:02d}" for who in range(12, 20)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    rng = np.random.default_rng(0)
    names = []
    with PackWriter(folder / "set.pack", size=32) as writer:
        for who in [*JUDGED, *OTHERS]:
            pattern = rng.integers(30, 226, (4, 4, 3)).repeat(8, axis=0).repeat(8, axis=1)
            for shot in (1, 2, 3):
                noise = rng.integers(-3, 4, (32, 32, 3))
                names.append(f"{who}/{who}_{shot:04d}.png")
                writer.add((pattern + noise).astype(np.uint8), who, names[-1])
    judged = [name for name in names if name[:3] in JUDGED]
    write_pairs(make_pairs(judged, folds=2, pairs_per_fold=15), folder / "pairs.txt")
    write_pairs(make_pairs(names, folds=2, pairs_per_fold=15), folder / "everybody.txt")
    write_pairs(make_pairs(judged, folds=1, pairs_per_fold=30), folder / "one_fold.txt")
    return folder


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    torch.manual_seed(0)
    backbone = make_backbone("iresnet_tiny", dim=16, input_size=32)
    return Recognizer.from_backbone(backbone, CONTRACT, name="mine")


def plan(folder: Path, pairs: str = "pairs.txt", **options: object) -> ExportPlan:
    given = {"images": folder / "set.pack", "pairs": folder / pairs, "resamples": 50, **options}
    return ExportPlan(**given)  # type: ignore[arg-type]


INT8 = {"precision": "int8", "tolerance": 0.3}


def metadata_of(path: Path) -> dict[str, str]:
    import onnx

    return {item.key: item.value for item in onnx.load(str(path)).metadata_props}


def test_a_report_on_made_pictures_alone(recognizer: Recognizer, tmp_path: Path) -> None:
    report = export_onnx(recognizer, tmp_path / "model.onnx")
    assert report.made.feature_largest < 1e-5
    assert (report.made.pictures, report.pictures, report.pairs) == (4, None, None)
    record = json.loads((tmp_path / "model.parity.json").read_text())
    assert (record["kind"], record["model"], record["file"]) == ("parity", "mine", "model.onnx")
    assert (
        record["file_sha256"] == hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    )
    assert json.loads(metadata_of(tmp_path / "model.onnx")["marginface.parity"]) == (
        report.essentials()
    )
    assert Recognizer.load(tmp_path / "model.onnx").contract == CONTRACT


def test_float32_that_gives_other_features_is_not_written(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marginface.recognition.onnx_export.AGREEMENT", 1e-12)
    with pytest.raises(ModelFileError, match="must give the network's own features"):
        export_onnx(recognizer, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_report_on_a_list_is_what_both_give_alone(
    recognizer: Recognizer, folder: Path, tmp_path: Path
) -> None:
    report = export_onnx(recognizer, tmp_path / "model.onnx", plan(folder))
    assert report.pictures is not None
    assert report.pairs is not None
    assert report.pictures.pictures == 36
    other = Recognizer.load(tmp_path / "model.onnx")
    source, pairs = open_images(folder / "set.pack"), read_pairs(folder / "pairs.txt")
    one, two = (score_pairs(each, source, pairs).scores for each in (recognizer, other))
    assert report.pairs.score_largest == pytest.approx(np.abs(one - two).max(), abs=1e-9)
    assert report.pairs.decisions_changed == int(np.sum((one >= 0.9) != (two >= 0.9)))
    alone = evaluate_pairs(recognizer, folder / "set.pack", folder / "pairs.txt", resamples=50)
    assert alone["engine"].startswith("torch")
    accuracy = report.pairs.metrics["accuracy"]
    assert accuracy["network"] == alone["metrics"]["accuracy"]
    assert report.pairs.rates["network"]["fnmr"] == alone["at_model_threshold"]["fnmr"]
    assert set(report.essentials()["pairs"]["metrics"]) == {"accuracy"}
    assert report.pairs.sha256 == hashlib.sha256((folder / "pairs.txt").read_bytes()).hexdigest()


def test_without_a_list_every_pair_counts(
    recognizer: Recognizer, folder: Path, tmp_path: Path
) -> None:
    report = export_onnx(recognizer, tmp_path / "m.onnx", ExportPlan(images=folder / "set.pack"))
    assert report.pairs is not None
    assert (report.pairs.pairs, report.pairs.metrics) == (60 * 59 // 2, {})
    assert report.pairs.score_largest < 1e-5


def test_int8_is_smaller_and_says_what_it_is(
    recognizer: Recognizer, folder: Path, tmp_path: Path
) -> None:
    report = export_onnx(recognizer, tmp_path / "int8.onnx", plan(folder, **INT8))
    assert report.calibration is not None
    assert (report.calibration.faces, report.calibration.people) == (24, 8)
    assert report.highest_loss is not None
    assert report.highest_loss <= 0.3
    # Integers they are: neither the network's features nor other ones.
    assert 1e-4 < report.made.feature_largest < 0.5
    save_onnx(tmp_path / "float32.onnx", recognizer.network.backbone, CONTRACT)
    sizes = [(tmp_path / name).stat().st_size for name in ("int8.onnx", "float32.onnx")]
    assert sizes[0] < 0.5 * sizes[1]
    contract = Recognizer.load(tmp_path / "int8.onnx").contract
    assert contract.threshold is not None
    assert contract.threshold.fixed_on == "made (by the float32 network)"
    assert contract.threshold.value == 0.9


class Constant(nn.Module):
    """Says the same of every face."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None] * 0 + self.weight


def test_int8_that_lost_its_accuracy_is_not_written(
    recognizer: Recognizer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ruined(source: Path, target: Path, network: object, faces: object) -> None:
        save_onnx(target, Constant(), CONTRACT)

    monkeypatch.setattr(onnx_export, "quantise", ruined)
    (tmp_path / "int8.onnx").write_text("the old one")
    with pytest.raises(
        ModelFileError, match=r"int8 file must not lose more than 0\.3 .* got 0\.[3-5]"
    ):
        export_onnx(recognizer, tmp_path / "int8.onnx", plan(folder, **INT8))
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]
    assert (tmp_path / "int8.onnx").read_text() == "the old one"


def test_nobody_is_calibrated_and_judged_on(folder: Path) -> None:
    source, pairs = open_images(folder / "set.pack"), read_pairs(folder / "pairs.txt")
    assert people_to_calibrate_on(source, pairs) == OTHERS
    assert people_to_calibrate_on(source, pairs, ["p15", "p13"]) == ["p15", "p13"]
    with pytest.raises(DataError, match="calibrated and judged on, got 1 people in both, 'p03'"):
        people_to_calibrate_on(source, pairs, ["p03", "p15"])
    with pytest.raises(DataError, match="1 are not there, 'zoe' first"):
        people_to_calibrate_on(source, pairs, ["p15", "zoe"])
    with pytest.raises(DataError, match=r"must hold people .* all of its 20"):
        people_to_calibrate_on(source, read_pairs(folder / "everybody.txt"))


def test_people_take_turns(folder: Path) -> None:
    source = open_images(folder / "set.pack")
    rows = rows_in_turn(source, OTHERS, seed=3)
    assert len(rows) == len(set(rows)) == 24
    owners = [source.names[row][:3] for row in rows]
    assert [sorted(owners[start : start + 8]) for start in (0, 8, 16)] == [OTHERS] * 3
    assert rows == rows_in_turn(source, OTHERS, seed=3) != rows_in_turn(source, OTHERS, seed=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision must be one of float32, int8; got 'int4'"),
        ({"precision": "int8"}, "images and pairs must be given .*, got no images"),
        ({"precision": "int8", "images": Path("x")}, "got no pairs"),
        ({"engine": "openvino-bf16"}, "openvino-bf16 changes the features"),
        ({"engine": "tensorrt"}, "engine must be one of"),
        ({"pairs": Path("x")}, "pairs need images"),
        ({"tolerance": 0.0}, r"tolerance must be a fraction in \(0, 1\), got 0.0"),
        ({"calibration": 0}, "calibration must be at least 1 face, got 0"),
    ],
)
def test_refuses_a_plan(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExportPlan(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pairs", "options", "kind", "message"),
    [
        ("one_fold.txt", INT8, ValueError, "must have two folds or more"),
        ("pairs.txt", {"precision": "int8"}, ValueError, r"needs at least 600 pairs .*, got 60"),
        ("pairs.txt", {**INT8, "calibration": 15}, DataError, "at least 16 faces"),
        ("everybody.txt", INT8, DataError, "must hold people who are in no pair"),
        ("absent.txt", INT8, ProtocolFileError, "could not be read"),
    ],
)
def test_refuses_before_it_writes(
    pairs: str,
    options: dict[str, object],
    kind: type[Exception],
    message: str,
    recognizer: Recognizer,
    folder: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(kind, match=message):
        export_onnx(recognizer, tmp_path / "model.onnx", plan(folder, pairs, **options))
    assert not list(tmp_path.iterdir())


def test_the_first_and_depthwise_layers_stay_in_float32(tmp_path: Path) -> None:
    import onnx

    network = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.Conv2d(6, 4, 1),
        nn.Flatten(),
        nn.Linear(4 * 28 * 28, 16),
    )
    mine = Recognizer.from_backbone(network, CONTRACT, name="mine")
    save_onnx(tmp_path / "exact.onnx", network, CONTRACT)
    faces = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    quantise(tmp_path / "exact.onnx", tmp_path / "int8.onnx", mine.network, faces)
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type == "Conv"]
    made_by = [makers.get(node.input[1]) for node in products]
    assert made_by == [None, None, "DequantizeLinear"]
    gemm = next(node for node in graph.node if node.op_type == "Gemm")
    assert makers[gemm.input[1]] == "DequantizeLinear"
