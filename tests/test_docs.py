"""The documents name only what exists, and no file says where it was made."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from marginface.cli.app import app

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
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


def test_every_relative_link_exists() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in tracked(".md")
        for target in LINK.findall(path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


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
