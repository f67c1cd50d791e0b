"""The table of commands, and what becomes of an error.

Exit codes: 0 done, 1 the task failed, 2 the words of the call are wrong, 130 stopped by Ctrl-C.
A traceback is shown with `--debug` and never without.
"""

import ast
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError
from rich.console import Console

from marginface.cli.whole_numbers import convert_unrounded
from marginface.errors import MarginfaceError

EPILOGUE = """Start here: `marginface demo` trains and compares losses on a procedural face
world. Every command has `--help` with examples; `--debug` anywhere shows tracebacks."""

app = App(
    name="marginface",
    help="Train, judge and run face recognition models.",
    help_epilogue=EPILOGUE,
    help_format="markdown",
    default_parameter=Parameter(converter=convert_unrounded),
    version=lambda: version("marginface"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
data = App(name="data", help="Pack, split and inspect face data; make a procedural face world.")
app.command(data)


def _add(table: App, name: str, module: str) -> None:
    """Add a command without reading its module, so that `--help` does not wait for torch.

    What it does stands in the module's source, which is parsed instead.
    """
    source = ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
    functions = (item for item in source.body if isinstance(item, ast.FunctionDef))
    told = next(ast.get_docstring(item) for item in functions if item.name == name)
    table.command(f"marginface.cli.{module}:{name}", name=name, help=told)


for _name in ("demo", "train", "compare", "report", "evaluate"):
    _add(app, _name, _name)
app.command(
    "marginface.cli.protocol:protocol", name="protocol", help="Judge on a published benchmark."
)
for _name in ("export", "embed", "verify", "enroll", "identify"):
    _add(app, _name, _name)
app.command(
    "marginface.cli.gallery:gallery",
    name="gallery",
    help="List who is enrolled, forget people, or make an index.",
)
for _name in ("losses", "recipes", "render", "noise", "doctor"):
    _add(app, _name, _name)
for _name in ("pack", "split", "pairs", "world", "sheet"):
    _add(data, _name, "data")
for _name in ("convert", "inspect"):
    _add(data, _name, "data_formats")


# The commands that keep what they have done when they are cut.
RESUMABLE = frozenset({"demo", "train", "compare"})


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(tokens: Sequence[str]) -> int:
    """Run one call and return its exit code; errors become one line on standard error."""
    # Threads that spin while they wait cost a busy machine ten times their work.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    is_debug = "--debug" in tokens
    words = [token for token in tokens if token != "--debug"]
    try:
        app(words or ["--help"], exit_on_error=False, print_error=False)
    except BaseException as error:
        if is_debug or isinstance(error, SystemExit):
            raise
        return _explain(error, words)
    return 0


def _explain(error: BaseException, words: Sequence[str]) -> int:
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        goes_on = "the same command goes on where it was"
        starts_over = "nothing was left half made; run it again"
        console.print(text or f"stopped; {goes_on if RESUMABLE & set(words[:1]) else starts_over}")
        return 130
    if isinstance(error, CycloptsError):
        command = " ".join(("marginface", *(error.command_chain or ())))
        console.print(f"{text} See `{command} --help`.")
        return 2
    if isinstance(error, ValueError | TypeError):
        console.print(text)
        return 2
    if isinstance(error, MarginfaceError | OSError):
        console.print(text)
        return 1
    console.print(f"{type(error).__name__}: {text}; this should not happen: see it with --debug")
    return 1
