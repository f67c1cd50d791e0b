"""`marginface verify` and `marginface gallery`, on the public network and six portraits."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from marginface.cli.app import run
from marginface.recognition import Gallery, ModelContract, Recognizer, save_model

PICTURES = Path(__file__).parents[1] / "pictures"
MACRON = [PICTURES / f"emmanuel_macron/emmanuel_macron_000{n}.jpg" for n in (1, 2)]
OBAMA = PICTURES / "barack_obama/barack_obama_0001.jpg"


@pytest.fixture(scope="module")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people; of one of them the first picture only."""
    folder = tmp_path_factory.mktemp("photos")
    for picture in (MACRON[0], OBAMA):
        (folder / "photos" / picture.parent.name).mkdir(parents=True)
        shutil.copy(picture, folder / "photos" / picture.parent.name)
    assert run(["enroll", "sface", str(folder / "staff"), str(folder / "photos")]) == 0
    return folder / "staff"


def fails(capsys: pytest.CaptureFixture[str], words: list[object], code: int, message: str) -> None:
    capsys.readouterr()
    assert run(list(map(str, words))) == code
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert len(err.strip().splitlines()) == 1, err


def test_verify(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["verify", "sface", *map(str, MACRON), "--json", str(tmp_path / "said.json")]) == 0
    out = capsys.readouterr().out
    assert re.match(r"match: score 0\.[56]\d+ ≥ threshold 0\.3630\n", out)
    assert "LFW, by OpenCV, highest accuracy, false match rate not stated" in out
    record = json.loads((tmp_path / "said.json").read_text())
    assert (record["is_match"], record["threshold"], record["fmr"]) == (True, 0.363, None)
    assert run(["verify", "sface", str(MACRON[0]), str(OBAMA), "--threshold", "0.9"]) == 0
    out = capsys.readouterr().out
    assert re.match(r"no match: score -?0\.0\d+ < threshold 0\.9000\n", out)


def test_verify_without_a_threshold_gives_no_answer(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sface = Recognizer.load("sface")
    contract = ModelContract(architecture="sface", dim=128, input_size=(112, 112))
    save_model(tmp_path / "bare.safetensors", sface.network.backbone, contract)
    assert run(["verify", str(tmp_path / "bare.safetensors"), *map(str, MACRON)]) == 0
    assert "no answer: the model has no threshold; give --threshold" in capsys.readouterr().out


def test_enrolment_tells_what_it_did(
    staff: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(staff, tmp_path / "g")
    photos = tmp_path / "photos"
    for person, picture in (("obama_again", OBAMA), ("barack_obama", OBAMA)):
        (photos / person).mkdir(parents=True)
        shutil.copy(picture, photos / person)
    (photos / "barack_obama" / "cut.jpg").write_bytes(OBAMA.read_bytes()[:999])
    assert run(["enroll", "sface", str(tmp_path / "g"), str(photos)]) == 0
    out, err = capsys.readouterr()
    assert "g: 1 new picture of 1 person, 1 left out; now 3 people" in out
    assert "left out: barack_obama/cut.jpg is cut off" in err
    assert "look alike: barack_obama and obama_again (score 1.000); one person twice?" in err


def test_search(staff: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    door = tmp_path / ("door" * 40)  # a path longer than a line
    door.mkdir()
    shutil.copy(MACRON[1], door / "имя.jpg")
    (door / "cut.jpg").write_bytes(OBAMA.read_bytes()[:999])
    words = ["identify", "sface", str(staff), str(door), str(OBAMA), "--k", "2"]
    assert run([*words, "--json", str(tmp_path / "found.json")]) == 0
    record = json.loads((tmp_path / "found.json").read_text())
    cut, macron, obama = record["pictures"]
    assert "is cut off" in cut["failed"]
    assert [each["name"] for each in macron["candidates"]] == ["emmanuel_macron", "barack_obama"]
    assert [each["is_match"] for each in macron["candidates"]] == [True, False]
    assert obama["candidates"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert record["people"] == 2
    out = capsys.readouterr().out
    assert str(door / "имя.jpg") in out
    assert "no match" in out
    assert "with 2 people false matches add up" in out


def test_list_and_remove(staff: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(staff, tmp_path / "g")
    assert run(["gallery", "list", str(tmp_path / "g"), "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["people"] == {"barack_obama": 1, "emmanuel_macron": 1}
    assert run(["gallery", "remove", str(tmp_path / "g"), "barack_obama"]) == 0
    assert Gallery.load(tmp_path / "g").names == ["emmanuel_macron"]
    # One of two is unknown: nobody is removed.
    before = (tmp_path / "g").read_bytes()
    words = ["gallery", "remove", tmp_path / "g", "emmanuel_macron", "nobody"]
    fails(capsys, words, 2, "got 'nobody'")
    assert (tmp_path / "g").read_bytes() == before
    # The last one too: the gallery is empty then, and a picture asked for is still named.
    assert run(["gallery", "remove", str(tmp_path / "g"), "emmanuel_macron"]) == 0
    capsys.readouterr()
    assert run(["identify", "sface", str(tmp_path / "g"), str(OBAMA)]) == 0
    assert re.search(r"barack_obama_0001\.jpg +nobody is enrolled", capsys.readouterr().out)


def test_bad_calls(staff: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    search = ["identify", "sface", staff]
    fails(capsys, [*search, tmp_path / "empty"], 1, "must hold pictures")
    fails(capsys, [*search, tmp_path / "no.jpg"], 1, "no picture could be searched with; the first")
    fails(capsys, search, 2, "at least one picture")
    fails(capsys, [*search, OBAMA, "--threshold", "36"], 2, r"cosine in \[-1, 1\], got 36")
    fails(capsys, ["gallery", "remove", staff], 2, "at least one person")
    fails(capsys, ["gallery", "list", OBAMA], 1, "not a safetensors file|cut off")
    fails(capsys, ["identify", "sface", "absent", OBAMA], 1, "got nothing there")
    folder = tmp_path / "photos" / os.fsdecode(b"caf\xe9")  # as other systems wrote it
    folder.mkdir(parents=True)
    shutil.copy(OBAMA, folder)
    words = ["enroll", "no model is needed to see it", tmp_path / "g", tmp_path / "photos"]
    fails(capsys, words, 2, r"name must be text in UTF-8, got 'caf\\udce9'; rename")
    fails(capsys, ["verify", "sface", OBAMA, tmp_path / "no.jpg"], 1, "could not be read")
    fails(capsys, ["verify", "sfase", OBAMA, OBAMA], 2, "did you mean 'sface'")
