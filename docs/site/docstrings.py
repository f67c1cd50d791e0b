"""House docstrings to reStructuredText: equations kept as they are, sections under their names.

A docstring is a summary, paragraphs, indented blocks (equations, or code) and sections such as
`Args:` or `Source:`. Nothing else is markup: what stands between backticks is code, a link where
it is the name of something public, and every other character means itself.
"""

import re
from itertools import groupby

SECTION = re.compile(
    r"(Args|Attributes|Overrides|Returns|Yields|Raises|Source|Differs|Gradient|Example):(?: (.*))?$"
)
# What looks like a section and is none was meant to be one.
UNKNOWN = re.compile(r"[A-Z][a-z]+:$")
ENTRY = re.compile(r"(\*{0,2}[\w.]+): (.*)$")
ITEM = re.compile(r"\s*[-*] ")
NAME = re.compile(r"[A-Za-z_][\w.]*(\(\))?$")
FIELDS = {"Args": "param", "Attributes": "ivar", "Raises": "raises"}


def to_rst(docstring: list[str]) -> list[str]:
    """Return the lines of a cleaned docstring as lines of reStructuredText.

    Raises:
        ValueError: If a section has a name that house docstrings do not have.
    """
    rst: list[str] = []
    for header, body in _sections(docstring):
        if header is None:
            rst += _prose(body)
        elif header in FIELDS:
            rst += _entries(FIELDS[header], body)
        elif header in ("Returns", "Yields"):
            rst += [f":{header.lower()}: {inline(' '.join(_unwrapped(body)))}", ""]
        elif header == "Example":
            rst += [".. rubric:: Example", "", ".. code-block:: pycon", ""]
            rst += [*(f"   {line}" for line in _dedented(body)), ""]
        else:
            text = inline(" ".join(_unwrapped(body)))
            rst += [".. container:: house-section", "", f"   **{header}:** {text}", ""]
    return rst


def inline(text: str) -> str:
    r"""Return one run of text with backticks as code and everything else as it is.

    Example:
        >>> inline("|x| of `make_loss`, `a + b` and *args")
        '\\|x\\| of :py:obj:`make_loss`, ``a + b`` and \\*args'
    """
    # Double backticks mean the same as single ones.
    parts = re.split(r"(`+[^`]+`+)", text)
    rst = ""
    for place, part in enumerate(parts):
        if not place % 2:
            rst += re.sub(r"([\\*|_])", r"\\\1", part)
            continue
        code = part.strip("`")
        before = "\\ " if re.search(r"[^\s(\[\"'/-]$", parts[place - 1]) else ""
        after = "\\ " if re.match(r"[^\s.,;:!?)\]\"'/-]", parts[place + 1]) else ""
        role = f":py:obj:`{code}`" if NAME.match(code) else f"``{code}``"
        rst += before + role + after
    return rst


def _sections(lines: list[str]) -> list[tuple[str | None, list[str]]]:
    """Part the lines; a section ends at the next one, or at text that is not indented."""
    parts: list[tuple[str | None, list[str]]] = [(None, [])]
    for line in lines:
        header = SECTION.match(line)
        if header:
            parts.append((header[1], [header[2]] if header[2] else []))
            continue
        if UNKNOWN.match(line):
            raise ValueError(f"a section must be one of {SECTION.pattern}, got {line!r}")
        # `Source:` and `Differs:` may go on at the margin; a blank line ends them there.
        ended = parts[-1][0] is not None and line[:1].strip() and "" in parts[-1][1][-1:]
        if ended:
            parts.append((None, []))
        parts[-1][1].append(line)
    return parts


def _prose(lines: list[str]) -> list[str]:
    rst: list[str] = []
    for block in _blocks(lines):
        if ITEM.match(block[0]):
            rst += _text(block)
            continue
        # An equation may stand right below its sentence, without a blank line between.
        for is_equation, run in groupby(block, lambda line: line.startswith("    ")):
            part = list(run)
            rst += _equation(part) if is_equation else _text(part)
    return rst


def _equation(lines: list[str]) -> list[str]:
    head = [".. code-block:: text", "   :class: equation", ""]
    return [*head, *(f"   {line}" for line in _dedented(lines)), ""]


def _text(block: list[str]) -> list[str]:
    items: list[str] = []
    for line in block:
        if ITEM.match(line) or not items:
            items.append(line.strip())
        else:
            items[-1] += " " + line.strip()
    rst: list[str] = []
    for item in items:
        # A list needs a blank line above it where a sentence runs into it.
        rst += ["", f"- {inline(item[2:])}"] if ITEM.match(item) else [inline(item)]
    return [*rst, ""]


def _entries(field: str, body: list[str]) -> list[str]:
    rst: list[str] = []
    for line in _dedented(body):
        entry = ENTRY.match(line)
        if entry:
            rst.append(f":{field} {entry[1].lstrip('*')}: {entry[2]}")
        elif line.strip() and rst:
            rst[-1] += " " + line.strip()
    # The name of the field may hold no markup; its text may.
    return [*(head + inline(text) for head, text in map(_split_field, rst)), ""]


def _split_field(line: str) -> tuple[str, str]:
    head, text = line[1:].split(": ", 1)
    return f":{head}: ", text


def _blocks(lines: list[str]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _unwrapped(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def _dedented(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[margin:] for line in lines]
