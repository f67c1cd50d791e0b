"""`marginface train`: what it does around the run itself."""

from pathlib import Path
from typing import Any

import pytest

from marginface.cli.app import run
from marginface.training import build
from tests.cli.command import SMALL
from tests.training.tiny import write_pack


def test_the_data_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, opened = build.open_faces, []

    def counted(path: Path) -> Any:
        opened.append(path)
        return original(path)

    monkeypatch.setattr(build, "open_faces", counted)
    pack = write_pack(tmp_path / "patterns.pack")
    words = ["train", str(pack), str(tmp_path / "run"), "--backbone.name", "iresnet_tiny", *SMALL]
    assert run([*words, "--steps", "1"]) == 0
    assert opened == [pack]
