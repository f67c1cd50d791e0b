"""The documents name only what exists, and no file says where it was made."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from marginface.cli.app import app

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s#]*)(#[^)\s]+)?\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
DOORS = ("README.md", "docs/index.md")
# A call in a block of commands or between backticks, not the word in a sentence.
CALL = re.compile(r"(?:^ {4}|^\$ |^|`)(?:\.venv/bin/)?marginface ((?:[a-z]+ ?)+)", re.MULTILINE)
# Put together here, so that this file does not hold what it looks for.
MACHINE = [f"/{folder}/" for folder in ("work", "tmp")]
HOSTS = ["py" + "pi.org", "files.python" + "hosted", "artifact" + "ory", "index" + "-url"]
NEIGHBOUR = ".." + "/shared"


@cache
def tracked(*endings: str) -> list[Path]:
    """Files under version control; a copy without it has nothing to check."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git working tree")
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in endings and path.is_file()]


def holding(needle: str, *endings: str) -> list[str]:
    found = [path for path in tracked(*endings) if needle in path.read_text().lower()]
    return [str(path.relative_to(ROOT)) for path in found]


def links_of(path: Path) -> list[tuple[Path, str]]:
    """Return the relative links of a page: the file, and the anchor in it or nothing."""
    found = LINK.findall(CODE.sub("", path.read_text()))
    return [
        ((path.parent / target).resolve() if target else path, anchor.removeprefix("#"))
        for target, anchor in found
        if "://" not in target
    ]


def anchors_of(text: str) -> set[str]:
    """Return the anchors that headings get: lower case, spaces to hyphens, no punctuation."""
    headings = HEADING.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_every_relative_link_exists() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target.name}#{anchor}"
        for path in tracked(".md")
        for target, anchor in links_of(path)
        if not target.exists() or (anchor and anchor not in anchors_of(target.read_text()))
    ]
    assert broken == []


def test_a_broken_link_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Does it help, really?\n[a](b.md#c) [d](#e) `[f](g.md)` [h](https://i.org)\n")
    assert links_of(page) == [(tmp_path / "b.md", "c"), (page, "e")]
    assert anchors_of(page.read_text()) == {"does-it-help-really"}


def test_every_page_is_reached_from_a_door() -> None:
    reached, ahead = set[Path](), [ROOT / door for door in DOORS]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            ahead += [target for target, _ in links_of(page) if target.suffix == ".md"]
    pages = {path for path in tracked(".md") if path.parent == ROOT / "docs"}
    assert {path.name for path in pages - reached} == set()


def commands() -> set[str]:
    subcommands = {f"data {name}" for name in app["data"]}
    return {name for name in app if not name.startswith("-")} | subcommands


def unknown_calls(text: str) -> list[str]:
    """Return the calls of commands that are not there; further words may be arguments."""
    wrong = []
    for words in (call.split() for call in CALL.findall(text)):
        name = " ".join(words[:2]) if words[0] == "data" and len(words) > 1 else words[0]
        if name not in commands():
            wrong.append(name)
    return wrong


def test_every_command_exists() -> None:
    wrong = {
        str(path): names for path in tracked(".md") if (names := unknown_calls(path.read_text()))
    }
    assert wrong == {}


def test_a_wrong_command_would_be_seen() -> None:
    text = "    marginface data park x\nsee `marginface imbed a.jpg`, or marginface at large\n"
    assert unknown_calls(text) == ["data park", "imbed"]
    assert {"demo", "train", "compare", "evaluate", "data pack"} <= commands()


@pytest.mark.parametrize("needle", MACHINE)
def test_no_machine_paths(needle: str) -> None:
    assert holding(needle, ".md", ".py") == []


@pytest.mark.parametrize("needle", HOSTS)
def test_no_registry_hosts(needle: str) -> None:
    assert holding(needle, ".md", ".py", ".toml", ".txt") == []


def test_no_neighbours_of_the_repository() -> None:
    assert holding(NEIGHBOUR, ".md") == []
