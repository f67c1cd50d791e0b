"""The table of commands, and what becomes of an error.

Exit codes: 0 done, 1 the task failed, 2 the words of the call are wrong, 130 stopped by Ctrl-C.
A traceback is shown with `--debug` and never without.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError
from rich.console import Console

from marginface.cli.whole_numbers import convert_unrounded
from marginface.errors import MarginfaceError

EPILOGUE = """Start here: `marginface demo` trains and compares losses on a procedural face
world. Every command has `--help` with examples; `--debug` anywhere shows tracebacks."""

app = App(
    name="marginface",
    help="Train, judge and compare face recognition losses.",
    help_epilogue=EPILOGUE,
    help_format="markdown",
    default_parameter=Parameter(converter=convert_unrounded),
    version=lambda: version("marginface"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
data = App(name="data", help="Pack, split and inspect face data; make a procedural face world.")
app.command(data)

# A command's module is read when it is called, so that `--help` does not wait for torch.
app.command("marginface.cli.demo:demo", name="demo")
app.command("marginface.cli.train:train", name="train")
app.command("marginface.cli.export:export", name="export")
app.command("marginface.cli.compare:compare", name="compare")
app.command("marginface.cli.evaluate:evaluate", name="evaluate")
app.command("marginface.cli.embed:embed", name="embed")
app.command("marginface.cli.verify:verify", name="verify")
app.command(
    "marginface.cli.gallery:gallery",
    name="gallery",
    help="Enrol people, search among them, forget them.",
)
app.command("marginface.cli.losses:losses", name="losses")
app.command("marginface.cli.recipes:recipes", name="recipes")
app.command("marginface.cli.render:render", name="render")
app.command("marginface.cli.report:report", name="report")
app.command("marginface.cli.doctor:doctor", name="doctor")
app.command(
    "marginface.cli.protocol:protocol", name="protocol", help="Judge on a published benchmark."
)
data.command("marginface.cli.data:pack", name="pack")
data.command("marginface.cli.data:split", name="split")
data.command("marginface.cli.data:pairs", name="pairs")
data.command("marginface.cli.data:world", name="world")
data.command("marginface.cli.data:sheet", name="sheet")
data.command("marginface.cli.data_formats:convert", name="convert")
data.command("marginface.cli.data_formats:inspect", name="inspect")


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
        console.print(f"{text} See `marginface --help`.")
        return 2
    if isinstance(error, ValueError | TypeError):
        console.print(text)
        return 2
    if isinstance(error, MarginfaceError | OSError):
        console.print(text)
        return 1
    console.print(f"{type(error).__name__}: {text}; this should not happen: see it with --debug")
    return 1
