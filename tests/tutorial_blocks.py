"""The fenced blocks of a tutorial, and a runner that holds a page to what it says.

`python` blocks run in one namespace, `sh` blocks call the command, both in the folder they are
given. A `text` block below one is what it printed: its words must be the same, and its numbers
close, because another processor rounds otherwise and training carries that on.
"""

import contextlib
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from marginface.cli.app import run

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+−]?\d+(?:,\d{3})*(?:\.\d+)?")
# Of what was trained; a tenth of the value, and so much where the value is nearly nothing.
RELATIVE, ABSOLUTE = 0.1, 0.02


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the line of the page it starts at."""

    language: str
    text: str
    line: int


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    return [
        Block(match[1], match[2], page.count("\n", 0, match.start()) + 2)
        for match in FENCE.finditer(page)
    ]


def check_printed(printed: str, promised: str) -> None:
    """Assert that words agree, and numbers to a tenth."""
    one, other = printed.strip(), promised.strip()
    shape = [" ".join(NUMBER.sub("#", text).split()) for text in (one, other)]
    assert shape[0] == shape[1], f"printed:\n{one}\npromised:\n{other}"
    numbers = [[_value(found) for found in NUMBER.findall(text)] for text in (one, other)]
    for got, wanted in zip(*numbers, strict=True):
        assert abs(got - wanted) <= RELATIVE * abs(wanted) + ABSOLUTE, (
            f"{got} is not close to {wanted}, printed:\n{one}"
        )


def run_page(path: Path) -> str:
    """Run every block of a page in the working directory; return all that was printed."""
    names: dict[str, object] = {"__name__": "__tutorial__"}
    printed, told = "", ""
    for block in blocks_of(path.read_text(encoding="utf-8")):
        if block.language == "text":
            check_printed(printed, block.text)
        elif block.language in ("python", "sh"):
            caught = io.StringIO()
            with contextlib.redirect_stdout(caught):
                _run_block(block, path, names)
            printed = caught.getvalue()
            told += printed
    return told


def _run_block(block: Block, path: Path, names: dict[str, object]) -> None:
    if block.language == "python":
        # Lines of a traceback are those of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(path), "exec")
        exec(code, names)
        return
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "marginface", f"{path.name}:{block.line}: {line}"
            assert run(words[1:]) == 0, line


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))
