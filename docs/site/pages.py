"""Gather the pages of the site: those written by hand, the commands, the examples, the reference.

The Markdown in `docs/` links as it lies in the repository. On the site all pages lie in one folder,
so links to files above `docs/` are turned there.
"""

import re
import shutil
from pathlib import Path

from marginface.cli.app import app

ROOT = Path(__file__).parents[2]
ABOVE = ("README", "CONVENTIONS", "CONTRIBUTING", "CHANGELOG")
# Title of the group, and its pages in reading order, by the name the menu has for them.
GROUPS = {
    "Learn": {
        "Overview": "README",
        "What a margin does": "tutorial-margin",
        "A threshold that holds": "tutorial-threshold",
        "Comparing two losses": "tutorial-comparison",
        "Examples": "examples",
    },
    "Use": {
        "Losses": "losses",
        "Recipes": "recipes",
        "Formats": "formats",
        "Benchmarks": "protocols",
        "Deploying a model": "deploy",
        "Searching a gallery": "search",
        "Reconstruction": "reconstruction",
        "Faces are people's": "people",
    },
    "Large runs": {
        "The head at scale": "heads",
        "Processes and machines": "distributed",
        "Planning a run": "planning",
    },
    "Look up": {
        "Commands": "commands",
        "Reference": "reference/index",
        "Conventions": "CONVENTIONS",
    },
    "The project": {
        "Results": "results",
        "Speed": "benchmarks",
        "How the house is built": "architecture",
        "Contributing": "CONTRIBUTING",
        "Changelog": "CHANGELOG",
    },
}

MADE_HERE = """
## Look up

- [Commands](commands.md): every command, its flags and examples
- [Reference](reference/index.rst): every public name
- [Conventions](CONVENTIONS.md): words, units, scores, intervals
"""


def gather(out: Path) -> None:
    """Write every page but the reference to `out`, emptied first."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(ROOT / "docs" / "pictures", out / "pictures")
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        (out / page.name).write_text(_turned(text), encoding="utf-8")
    for name in ABOVE:
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        (out / f"{name}.md").write_text(text.replace("](docs/", "]("), encoding="utf-8")
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    (out / "benchmarks.md").write_text(text.replace("](../docs/", "]("), encoding="utf-8")
    _write_examples(out / "examples")
    (out / "commands.md").write_text(command_reference(), encoding="utf-8")
    with (out / "index.md").open("a", encoding="utf-8") as index:
        index.write(MADE_HERE)
        for title, names in GROUPS.items():
            pages = "\n".join(f"{called} <{name}>" for called, name in names.items())
            index.write(f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```\n")


def command_reference() -> str:
    """Return every command with its flags and examples, as its `--help` tells them."""
    text = app.generate_docs(output_format="markdown", recursive=True, max_heading_level=3)
    head, _, rest = text.partition("## Table of Contents")
    listed = rest[rest.index("**Commands**") :]
    # The shell's prompt is no part of what is typed.
    head = head.replace("# marginface\n", "# Commands\n", 1)
    return head + listed


def _turned(text: str) -> str:
    text = text.replace("](../benchmarks/README.md", "](benchmarks.md")
    text = re.sub(r"\]\(\.\./(examples/\w+)\.py\)", r"](\1.md)", text)
    return text.replace("](../", "](")


def _write_examples(folder: Path) -> None:
    folder.mkdir()
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text(encoding="utf-8")
        page = f"---\norphan: true\n---\n# {path.name}\n\n```python\n{code}```\n"
        (folder / f"{path.stem}.md").write_text(page, encoding="utf-8")
