"""`--index` of `identify` and `gallery`, on the public network and two portraits."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_client

from marginface.cli.app import run
from marginface.recognition import Gallery, Recognizer
from marginface.search import FaissIndex
from tests.cli.test_gallery import MACRON, OBAMA, fails
from tests.search.test_faiss_index import blocked

SERVER = ["--index", "qdrant", "--url", ":memory:"]
CODES = ["--index", "faiss"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for picture in (MACRON[0], OBAMA):
        (folder / "photos" / picture.parent.name).mkdir(parents=True)
        shutil.copy(picture, folder / "photos" / picture.parent.name)
    assert run(["enroll", "sface", str(folder / "staff"), str(folder / "photos")]) == 0
    return folder / "staff"


@pytest.fixture(scope="module")
def sface() -> Recognizer:
    return Recognizer.load("sface")


@pytest.fixture(autouse=True)
def _loaded_once(sface: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recognizer, "load", lambda *_, **__: sface)


@pytest.fixture
def staff(made: Path, tmp_path: Path) -> Path:
    shutil.copy(made, tmp_path / "staff.gallery")
    return tmp_path / "staff.gallery"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One store in memory for all commands."""
    client = qdrant_client.QdrantClient(":memory:")
    monkeypatch.setattr("qdrant_client.QdrantClient", lambda *_, **__: client)
    return client


def found(staff: Path, *words: str) -> dict[str, Any]:
    out = staff.with_name("found.json")
    line = ["identify", "sface", str(staff), str(MACRON[1]), "--k", "2", "--json", str(out)]
    assert run([*line, *words]) == 0
    return json.loads(out.read_text())


def test_every_index_answers_alike(
    staff: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = found(staff)
    assert exact["index"] == "exact"
    coded = found(staff, *CODES)  # none was kept: made for this search
    assert (coded["index"], coded["pictures"]) == ("faiss", exact["pictures"])
    assert not staff.with_name("staff.gallery.faiss").exists()
    for words in (CODES, SERVER):
        capsys.readouterr()
        assert run(["gallery", "index", str(staff), *words]) == 0
        out = capsys.readouterr().out
        assert "staff.gallery: 2 people into" in out
        assert found(staff, *words)["pictures"] == exact["pictures"]
    assert len(FaissIndex.load(staff.with_name("staff.gallery.faiss"))) == 2
    assert server.count("staff.gallery").count == 2


def test_a_changed_gallery_refuses_its_index(
    staff: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (CODES, SERVER):
        assert run(["gallery", "index", str(staff), *words]) == 0
    gallery = Gallery.load(staff)
    gallery.add("new", np.eye(1, gallery.dim, dtype=np.float32))
    gallery.save(staff)
    for words in (CODES, SERVER):
        told = "of these 3 people, got 2 of another state of the gallery; build it anew"
        fails(capsys, ["identify", "sface", staff, OBAMA, *words], 1, told)
        assert run(["gallery", "index", str(staff), *words]) == 0
        assert len(found(staff, *words)["pictures"][0]["candidates"]) == 2


def test_who_is_removed_is_removed_everywhere(
    staff: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (CODES, SERVER):
        assert run(["gallery", "index", str(staff), *words]) == 0
    capsys.readouterr()
    line = ["gallery", "remove", str(staff), "barack_obama", "barack_obama", *SERVER]
    assert run(line) == 0
    assert "staff.gallery.faiss: held them too, and was deleted" in capsys.readouterr().out
    assert not staff.with_name("staff.gallery.faiss").exists()
    assert server.count("staff.gallery").count == 1
    assert found(staff, *SERVER)["people"] == 1


def test_codes_that_cannot_be_deleted_keep_everybody(
    staff: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of the gallery and still in its codes, nobody could be removed by the same command."""
    assert run(["gallery", "index", str(staff), *CODES]) == 0
    before = staff.read_bytes()

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        fails(capsys, ["gallery", "remove", staff, "barack_obama"], 1, "denied: '.*gallery.faiss'")
    assert staff.read_bytes() == before
    assert run(["gallery", "remove", str(staff), "barack_obama"]) == 0
    assert not staff.with_name("staff.gallery.faiss").exists()


def test_nobody_is_sent_anywhere_by_a_search(
    staff: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    told = r"collection 'staff.gallery' holds nobody; fill it with `marginface gallery index"
    fails(capsys, ["identify", "sface", staff, OBAMA, *SERVER], 1, told)
    assert server.count("staff.gallery").count == 0
    told = "collection 'other' holds nobody"
    fails(capsys, ["identify", "sface", staff, OBAMA, *SERVER, "--collection", "other"], 1, told)
    # Of nobody there is nothing to be filled in, and nothing amiss.
    held = Gallery.load(staff)
    for name in held.names:
        held.remove(name)
    held.save(staff)
    assert found(staff, *SERVER)["pictures"][0]["candidates"] == []


def test_bad_calls(
    staff: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = ["identify", "sface", staff, OBAMA]
    fails(capsys, [*search, "--index", "qdrant"], 2, "needs --url, such as http://127.0.0.1:6333")
    fails(capsys, [*search, "--url", "http://127.0.0.1:6333"], 2, "for --index qdrant, got --index")
    fails(capsys, [*search, "--index", "qdrant", "--url", "http://a.org"], 2, "must be https where")
    # Else they would be believed forgotten on a server that was never asked.
    line = ["gallery", "remove", staff, "barack_obama", "--url", "http://127.0.0.1:6333"]
    fails(capsys, line, 2, "for --index qdrant, got --index exact")
    assert len(Gallery.load(staff)) == 2
    fails(capsys, ["gallery", "index", staff], 2, "must be faiss or qdrant, got exact")
    staff.with_name("staff.gallery.faiss").write_bytes(b"no index")
    fails(capsys, [*search, *CODES], 1, "not a whole safetensors file")
    before = staff.read_bytes()
    blocked(monkeypatch, "faiss")
    staff.with_name("staff.gallery.faiss").unlink()
    fails(capsys, [*search, *CODES], 1, r"pip install 'marginface\[faiss\]'")
    blocked(monkeypatch, "qdrant_client")
    line = ["gallery", "remove", staff, "barack_obama", *SERVER]
    fails(capsys, line, 1, r"pip install 'marginface\[qdrant\]'")
    assert staff.read_bytes() == before
