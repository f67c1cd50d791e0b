from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from marginface.backbones import make_backbone
from marginface.errors import ModelFileError
from marginface.evaluation import FrozenThreshold, freeze_threshold
from marginface.recognition import (
    ModelContract,
    Recognizer,
    load_model,
    save_model,
    write_with_threshold,
)
from marginface.recognition.freeze import check_freezable
from marginface.recognition.network import Network

CONTRACT = ModelContract(architecture="iresnet_tiny", dim=16, input_size=(32, 32), loss="arcface")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(
        tmp_path / "model.safetensors",
        make_backbone("iresnet_tiny", dim=16, input_size=32),
        CONTRACT,
    )
    return tmp_path / "model.safetensors"


def frozen(value: float = 0.25) -> FrozenThreshold:
    scores = np.concatenate([[0.9], np.linspace(-0.5, value, 3000)])
    return freeze_threshold(scores, np.arange(3001) == 0, fmr=0.01)


def test_the_copy_differs_in_its_threshold_alone(model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    out = tmp_path / "fixed.safetensors"
    fixed = frozen()
    recognizer = Recognizer.load(model)
    carried = write_with_threshold(recognizer, out, fixed, fixed_on="val_pairs.txt")
    assert model.read_bytes() == before
    assert carried.fixed_on == "val_pairs.txt, 3,000 non-mated pairs"
    assert (carried.value, carried.fmr) == (fixed.value, 0.01)
    (old, contract), (new, written) = load_model(model), load_model(out)
    assert written == replace(contract, threshold=carried)
    for name, tensor in old.state_dict().items():
        torch.testing.assert_close(new.state_dict()[name], tensor, rtol=0, atol=0)
    face = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert Recognizer.load(out).contract.threshold == carried
    assert (
        Recognizer.load(out).embed(face, is_aligned=True) == recognizer.embed(face, is_aligned=True)
    ).all()


def test_what_may_not_travel(model: Path, tmp_path: Path) -> None:
    recognizer, out = Recognizer.load(model), tmp_path / "fixed.safetensors"
    plain = {"score": "cosine", "flip_average": None}
    check_freezable(recognizer, out, **plain)
    check_freezable(recognizer, out, **plain | {"flip_average": False})
    with pytest.raises(ValueError, match="a cosine, got score 'vmf-mutual'"):
        check_freezable(recognizer, out, **plain | {"score": "vmf-mutual"})
    with pytest.raises(ValueError, match="must be the model's own, False"):
        check_freezable(recognizer, out, **plain | {"flip_average": True})
    with pytest.raises(ValueError, match="another file than the model"):
        check_freezable(recognizer, model.parent / "." / model.name, **plain)
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        check_freezable(recognizer, tmp_path / "fixed.onnx", **plain)

    class Graph(Network):
        def run(self, inputs: np.ndarray) -> np.ndarray:
            raise AssertionError("nothing is run")

    with pytest.raises(ModelFileError, match=r"net\.onnx is an ONNX network"):
        check_freezable(Recognizer(Graph(CONTRACT), name="net.onnx"), out, **plain)
    with pytest.raises(ValueError, match="threshold must be a cosine"):
        write_with_threshold(recognizer, out, frozen(1.5), fixed_on="x")
    assert not out.exists()
