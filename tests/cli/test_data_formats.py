"""`data convert` and `data inspect` as a user meets them."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from marginface.backbones import make_backbone
from marginface.cli.app import run
from marginface.data import convert_faces, open_rec, write_bin
from marginface.recognition import ModelContract, TrainingData, save_model
from tests.cli.command import CTRL_C, ends_in_one_line, started
from tests.data.made import save, smooth_image
from tests.data.records import jpeg, write_rec


@pytest.fixture
def people(tmp_path: Path) -> Path:
    folder = tmp_path / "people"
    for person in range(3):
        for number in range(4):
            image = smooth_image(10 * person + number, 32)
            save(folder / f"p{person}" / f"p{person}_{number}.png", image)
    save(folder / "p2" / "p2_9.png", smooth_image(1, 32))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    options = {"widths": (4, 4, 8, 8)}
    backbone = make_backbone("iresnet_tiny", dim=8, input_size=32, **options)
    contract = ModelContract(
        architecture="iresnet_tiny",
        options=options,
        input_size=(32, 32),
        dim=8,
        loss="arcface",
        loss_options={},
        training_data=TrainingData(name="none", identities=2, images=2, fingerprint="0" * 64),
        licence_note="made for a test",
        versions={},
    )
    save_model(tmp_path / "model.safetensors", backbone, contract)
    return tmp_path / "model.safetensors"


def test_convert(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set.rec"
    assert run(["data", "convert", str(people), str(out)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"set.rec: 13 pictures of 3 people in [\d.]+ s .*, 13 untouched", told)
    assert "read back and found the same" in told
    assert run(["data", "convert", str(out), str(tmp_path / "s"), "--to", "webdataset",
                "--shard", "5", "--json", "-"]) == 0  # fmt: skip
    record = json.loads(capsys.readouterr().out)
    assert record["checksum"] in told
    assert record["kind"] == "webdataset"
    assert len(list((tmp_path / "s").glob("*.tar"))) == 3
    assert run(["data", "convert", str(tmp_path / "s"), str(out)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert run(["data", "convert", str(tmp_path / "s"), str(out), "--replace"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["absent", "a.rec"], 1, "absent must be a set of faces, got nothing there"),
        (["{people}", "a.mxnet"], 2, "out must end in one of"),
        (["{people}", "a.bin"], 2, "a .bin holds pairs; name the pair list"),
        (["{people}", "a", "--to", "rekord"], 2, "rekord"),
        (["{people}", "a.rec", "--encoding", "raw"], 2, "encoding raw goes with a pack"),
    ],
)
def test_wrong_words_are_one_line(
    people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["data", "convert", *(word.format(people=people) for word in words)]) == code
    err = capsys.readouterr().err
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["people"]


def test_broken_sets_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rec(tmp_path / "a.rec")
    content = (tmp_path / "a.rec").read_bytes()
    (tmp_path / "a.rec").write_bytes(content[:-50])
    (tmp_path / "b.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    for name, told in (("a.rec", r"a.rec record \d+ \(byte [\d,]+\)"), ("b.bin", "'os.system'")):
        for words in (["inspect"], ["convert"]):
            out = [str(tmp_path / "out")] if words == ["convert"] else []
            assert run(["data", *words, str(tmp_path / name), *out]) == 1
            err = capsys.readouterr().err
            assert re.search(told, err)
            assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_inspect(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (people / "p1" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    sheet = tmp_path / "sheet.png"
    assert run(["data", "inspect", str(people), "--sheet", str(sheet)]) == 0
    told = capsys.readouterr().out
    assert "14 pictures of 3 people" in told
    assert "pictures of a person: 4 to 5, median 5, mean 4.7" in told
    assert "32 x 32 (13)" in told
    assert re.search(r"does not decode: 1\s", told)
    assert "p1/broken.jpg" in told
    assert "same pixels, 1 with several people: 1" in told
    assert "p0/p0_1.png, p2/p2_9.png" in told
    picture = cv2.imread(str(sheet))
    assert picture.shape[0] > 100


def test_inspect_with_a_model_and_another_set(
    people: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert_faces(people, tmp_path / "set.rec")
    pictures = [jpeg(seed, 32) for seed in range(6)]
    pictures[4] = (people / "p1" / "p1_2.png").read_bytes()
    write_bin(tmp_path / "judge.bin", pictures, np.array([True, False, True]))
    words = ["data", "inspect", str(tmp_path / "set.rec"), "--model", str(model)]
    words += ["--against", str(tmp_path / "judge.bin"), "--sheet", str(tmp_path / "s.jpg")]
    assert run([*words, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["set"]["images"] == 13
    assert record["set"]["is_as_converted"] is True
    assert ["p1/p1_2.png", "pair_00002/pair_00002_0001.jpg"] in record["shared_pictures"]["exact"]
    assert record["no_face"] == []
    # The network knows nothing, so every list may hold anything but other names.
    assert {each["identity"] for each in record["mislabels"]} <= {"p0", "p1", "p2"}
    assert {each["second"].partition("_")[0] for each in record["overlap"]} <= {"pair"}
    assert run(words) == 0
    told = capsys.readouterr().out
    assert "likely wrong labels" in told
    assert "people who also stand in" in told
    assert run([*words[:3], "--sheet", "a.gif"]) == 1
    assert "sheet must end in .png or .jpg, got a.gif" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_says_that_the_same_command_goes_on(tmp_path: Path) -> None:
    source, out = tmp_path / "people", tmp_path / "out.rec"
    for number in range(300):
        (source / f"p{number % 10}").mkdir(parents=True, exist_ok=True)
        (source / f"p{number % 10}" / f"{number}.jpg").write_bytes(jpeg(number % 7))
    words = ("data", "convert", source, out, "--shard", "10")
    ctrl_c = CTRL_C.format(module="marginface.data.convert", name="_checked", number=206)
    with started(*words, first=ctrl_c) as child:
        code, told = ends_in_one_line(child)
    assert code == 130
    assert told.strip() == "stopped; the same command goes on where it was"
    assert not out.exists()
    assert run([*map(str, words), "--json", str(tmp_path / "report.json")]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["resumed_at"] == 200
    assert len(open_rec(out)) == 300
