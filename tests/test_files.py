"""Files appear whole or not at all, and a disk that refuses is told in the house's words."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from marginface import files
from marginface.errors import CheckpointWriteError
from marginface.files import atomic_path, is_running, write_atomically


def test_the_new_one_or_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    write_atomically(target, "old")
    with pytest.raises(TypeError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half" + temporary.write_text("half"))  # type: ignore[operator]
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]
    write_atomically(target, b"new")
    assert target.read_text() == "new"


def test_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    """A service may save one gallery or index from several threads; the last one's stays."""
    target = tmp_path / "file"
    with atomic_path(target) as temporary:
        temporary.write_text("slow")
        other = Thread(target=write_atomically, args=(target, "fast"))
        other.start()
        other.join()
        assert target.read_text() == "fast"
    assert target.read_text() == "slow"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told = f"^{tmp_path}/file/below could not be written .* untouched; free some space or check the"
    with pytest.raises(CheckpointWriteError, match=told):
        write_atomically(tmp_path / "file" / "below", "content")


def test_a_disk_that_takes_nothing_back_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    # On a file system that is read-only even removing what was never there is refused.
    for name in ("write_bytes", "unlink"):
        monkeypatch.setattr(files.Path, name, refuse)
    with pytest.raises(CheckpointWriteError, match=r"file could not be written \(Read-only file"):
        write_atomically(tmp_path / "file", "content")


def test_who_is_running() -> None:
    assert is_running(os.getpid())
    assert is_running(1)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert not is_running(child.pid)
    assert not is_running(10**30)
