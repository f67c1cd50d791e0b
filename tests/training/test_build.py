"""From config to parts: what starts alike, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from marginface.data import convert_faces, open_faces, write_bin
from marginface.errors import CheckpointMismatchError, DataError, ModelFileError, WeightsError
from marginface.files import sha256_of
from marginface.training import (
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    TrainConfig,
    train,
)
from marginface.training.build import (
    CHUNK,
    DENSE_CLASSES,
    Parts,
    _first_head,
    build_parts,
    open_training_data,
    total_steps,
)
from marginface.training.describe import make_contract, run_identity
from marginface.training.processes import Processes
from marginface.weights import PUBLIC_WEIGHTS, resolve_weights
from tests.training.tiny import assert_same_tensors, tensors_of, tiny_config


def built(config: TrainConfig) -> Parts:
    return build_parts(config, open_training_data(config))


def test_the_loss_changes_no_first_weight(pack: Path) -> None:
    losses = [LossConfig(name=name) for name in ("adaface", "sface", "elasticface-cos-plus")]
    first, *others = [built(tiny_config(pack, loss=loss)) for loss in losses]
    for other in others:
        assert torch.equal(first.head.prototypes, other.head.prototypes)
        for name, tensor in first.backbone.state_dict().items():
            assert torch.equal(tensor, other.backbone.state_dict()[name])


def test_the_seed_changes_all_first_weights(pack: Path) -> None:
    first, other = (built(tiny_config(pack, seed=seed)) for seed in (0, 1))
    assert not torch.equal(first.head.prototypes, other.head.prototypes)
    assert not torch.equal(
        first.backbone.state_dict()["fc.weight"], other.backbone.state_dict()["fc.weight"]
    )


def test_epochs_become_whole_steps(pack: Path) -> None:
    config = tiny_config(pack, steps=None, epochs=2.5, batch_size=14, accumulate=1)
    # 48 pictures hold 3 batches of 14; the rest of each epoch is dropped.
    assert total_steps(config, 48) == round(2.5 * 3)
    assert total_steps(tiny_config(pack, steps=7), 48) == 7
    assert total_steps(tiny_config(pack, steps=None, epochs=0.001), 48) == 1


def test_a_model_file_is_a_start(pack: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, steps=2)
    model = train(config, tmp_path / "run").model_path
    backbone = BackboneConfig(
        name="iresnet_tiny",
        dim=8,
        input_size=32,
        options=config.backbone.options,
        weights=str(model),
    )
    started = built(tiny_config(pack, backbone=backbone))
    state = started.backbone.state_dict()
    fresh = built(config).backbone.state_dict()
    assert not torch.equal(state["fc.weight"], fresh["fc.weight"])
    assert torch.equal(state["fc.weight"], tensors_of(model)["fc.weight"])
    with pytest.raises(
        ModelFileError, match=r"must hold iresnet_tiny with dim 4 .* got iresnet_ti"
    ):
        built(
            tiny_config(
                pack,
                backbone=BackboneConfig(
                    name="iresnet_tiny", dim=4, input_size=32, weights=str(model)
                ),
            )
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": LossConfig(name="arcfase")}, "loss must be one of .*did you mean 'arcface'"),
        (
            {"loss": LossConfig(name="arcface", options={"margin_rad": 28.6})},
            "margin_rad must lie in .* got 28.6; if it is in degrees",
        ),
        (
            {"backbone": BackboneConfig(name="iresnet_tinny", input_size=32)},
            "did you mean 'iresnet_tiny'",
        ),
        ({"freeze": ("layer9",)}, "freeze must be one of stem, layer1"),
        (
            {"backbone": BackboneConfig(name="iresnet_tiny", input_size=32, weights="sfase")},
            "backbone.weights must be one of sface",
        ),
        (
            {"backbone": BackboneConfig(name="iresnet_tiny", input_size=32, weights="sfase.pt")},
            "backbone.weights must be one of sface, FILE.safetensors, FILE.onnx",
        ),
        (
            {"backbone": BackboneConfig(name="iresnet_tiny", input_size=32, weights="sface")},
            "backbone.weights 'sface' must go with backbone.name 'sface', got 'iresnet_tiny'",
        ),
    ],
)
def test_unknown_names_and_options_are_refused(
    changes: dict[str, object], message: str, pack: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        built(tiny_config(pack, **changes))


def sface_config(pack: Path, weights: str | None) -> TrainConfig:
    return tiny_config(pack, backbone=BackboneConfig(name="sface", dim=128, weights=weights))


@pytest.fixture(scope="module")
def public_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public file under a name and in a place of the user's own."""
    return Path(shutil.copy(resolve_weights("sface"), tmp_path_factory.mktemp("own") / "mine.onnx"))


def test_a_users_onnx_file_is_a_start_and_comes_first(
    pack: Path, public_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = built(sface_config(pack, "sface")).backbone.state_dict()
    monkeypatch.setattr("marginface.weights._package_folder", lambda package: None)
    started = built(sface_config(pack, str(public_copy))).backbone.state_dict()
    torch.testing.assert_close(dict(started), dict(expected), rtol=0, atol=0)


def test_a_users_onnx_file_needs_its_network(pack: Path, public_copy: Path) -> None:
    backbone = BackboneConfig(name="iresnet_tiny", input_size=32, weights=str(public_copy))
    with pytest.raises(
        ValueError, match=r"mine\.onnx' must go with backbone\.name 'sface', got 'iresnet_tiny'"
    ):
        built(tiny_config(pack, backbone=backbone))


@pytest.mark.parametrize("name", ["absent.onnx", "absent.safetensors"])
def test_a_file_to_start_from_must_be_there(pack: Path, tmp_path: Path, name: str) -> None:
    config = sface_config(pack, str(tmp_path / name))
    for call in (built, lambda config: run_identity(config, open_training_data(config))):
        with pytest.raises(WeightsError, match=rf"a file or 'sface', got .*{name}, not found"):
            call(config)


def test_the_content_of_the_file_is_part_of_the_run(
    pack: Path, public_copy: Path, tmp_path: Path
) -> None:
    data = open_training_data(sface_config(pack, None))
    moved = Path(shutil.copy(public_copy, tmp_path / "moved.onnx"))
    other = tmp_path / "other.onnx"
    other.write_bytes(b"something else")
    first, same, different = (
        run_identity(sface_config(pack, str(path)), data) for path in (public_copy, moved, other)
    )
    assert first["backbone.weights"] == f"sha256 {PUBLIC_WEIGHTS['sface'].sha256}"
    assert first == same
    assert first != different
    assert run_identity(sface_config(pack, "sface"), data)["backbone.weights"] == "sface"


def test_the_licence_note_names_what_training_started_from(
    pack: Path, public_copy: Path, whole: Path, tmp_path: Path
) -> None:
    data = open_training_data(sface_config(pack, None))

    def note(weights: Path) -> str:
        return make_contract(sface_config(pack, str(weights)), data).licence_note

    public = "public weights under Apache-2.0 (opencv/opencv_zoo, models/face_recognition_sface)"
    assert note(Path("sface")) == f"CC0; fine-tuned from {public}"
    assert note(public_copy) == f"CC0; fine-tuned from mine.onnx, the {public}"
    other = tmp_path / "other.onnx"
    other.write_bytes(b"something else")
    assert note(other) == (
        f"CC0; fine-tuned from other.onnx (sha256 {sha256_of(other)}), whose terms are not known"
    )
    assert note(whole / "model.safetensors") == "CC0; fine-tuned from model.safetensors: CC0"


@pytest.fixture(scope="module")
def three_steps(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_config(pack, steps=3), tmp_path_factory.mktemp("three") / "run").model_path


@pytest.mark.parametrize("target", ["a.rec", "a.tar", "shards", "a.parquet"])
def test_every_format_trains_alike(
    target: str, pack: Path, three_steps: Path, tmp_path: Path
) -> None:
    kind = "webdataset" if target == "shards" else None
    convert_faces(pack, tmp_path / target, kind=kind, encoding="png", chunk=10)
    config = tiny_config(tmp_path / target, steps=3)
    assert_same_tensors(train(config, tmp_path / "run").model_path, three_steps)
    data = open_training_data(config)
    assert make_contract(config, data).training_data.fingerprint == data.fingerprint


def test_chosen_people_of_a_rec_train_alike(pack: Path, tmp_path: Path) -> None:
    convert_faces(pack, tmp_path / "a.rec", encoding="png")
    (tmp_path / "people.txt").write_text("person_1\nperson_4\nperson_5\n")
    models = [
        train(
            tiny_config(
                path, steps=3, data=DataConfig(path=path, identities=tmp_path / "people.txt")
            ),
            tmp_path / f"run{path.suffix}",
        ).model_path
        for path in (pack, tmp_path / "a.rec")
    ]
    assert_same_tensors(*models)


def test_a_rec_that_was_altered_is_another_run(pack: Path, tmp_path: Path) -> None:
    convert_faces(pack, tmp_path / "a.rec", encoding="png")
    config = tiny_config(tmp_path / "a.rec", steps=2)
    train(config, tmp_path / "run")
    assert train(config, tmp_path / "run").steps == 2
    content = bytearray((tmp_path / "a.rec").read_bytes())
    content[content.index(b"IDAT") + 4] ^= 1
    (tmp_path / "a.rec").write_bytes(content)
    with pytest.raises(CheckpointMismatchError, match=r"data\.fingerprint is"):
        train(config, tmp_path / "run")


def test_formats_without_aligned_people_are_refused(pack: Path, tmp_path: Path) -> None:
    convert_faces(pack, tmp_path / "folder", encoding="png")
    with pytest.raises(DataError, match="folder must be a set to train on, got a folder, where"):
        open_training_data(tiny_config(tmp_path / "folder"))
    pictures = [bytes(item) for item in open_faces(tmp_path / "folder").stored(range(4))]
    write_bin(tmp_path / "a.bin", pictures, np.array([True, False]))
    with pytest.raises(DataError, match=r"a\.bin must be a set to train on, got pairs"):
        open_training_data(tiny_config(tmp_path / "a.bin"))


def test_many_classes_are_streamed_unless_told_otherwise() -> None:
    config = tiny_config(Path("nowhere"))
    assert _first_head(config, DENSE_CLASSES, Processes()).chunk is None
    assert _first_head(config, DENSE_CLASSES + 1, Processes()).chunk == CHUNK
    told = tiny_config(Path("nowhere"), head=HeadConfig(chunk=7))
    assert _first_head(told, DENSE_CLASSES + 1, Processes()).chunk == 7
