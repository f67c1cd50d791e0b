"""The common look of all figures, and the way from a matplotlib figure to inline SVG.

Text and axes take the page's colours (light or dark) and its font; lines have colours that stand
out on both. The same record gives the same bytes: no date, and ids made from the content.
"""

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marginface.report.entries import Record, entries_of

# Stand-ins that are looked up in the finished SVG; the page decides what they are.
INK, GRID = "#010203", "#040506"
# Each has a contrast of 3 or more on white and on near black.
PALETTE = (
    "#3f7fd0",
    "#d0702a",
    "#2e9464",
    "#c9508f",
    "#8c6bd1",
    "#1795a3",
    "#998a1f",
    "#d2504c",
    "#a0745a",
    "#7d858c",
)
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))

LineStyle = str | tuple[int, tuple[float, ...]]
Look = tuple[str, LineStyle]


@contextmanager
def house_look() -> Iterator[None]:
    """Draw and save inside this block; matplotlib's settings outside stay what they are."""
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "marginface",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "axes.unicode_minus": True,
    }
    with mpl.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, without any global state."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_below(figure: Figure, axes: Axes) -> None:
    """Put one legend under the whole figure, in as many columns as its longest name allows."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        # A letter is about 0.075 inch wide, a sample with its gaps as wide as nine of them.
        fitting = int(figure.get_figwidth() / (0.075 * (9 + max(map(len, labels)))))
        columns = max(1, min(5, fitting))
        figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def to_svg(figure: Figure, *, alt: str) -> str:
    """Return the figure as one `<svg>` element for a page, described by `alt` for who cannot see.

    Args:
        figure: A figure drawn within `house_look`.
        alt: What the figure shows, in a sentence.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Ids of groups are counters that would repeat from figure to figure; nothing refers to them.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    described = f'<svg role="img" aria-label="{html.escape(alt)}"'
    svg = svg.replace("<svg", described, 1)
    return svg.replace(INK, "currentColor").replace(GRID, "var(--line)").strip()


def line_looks(record: Record) -> dict[str, Look]:
    """Return each loss's colour and dash, the same in every figure; the baseline is in ink."""
    names = sorted(entry.name for entry in entries_of(record) if not entry.is_reference)
    looks = iter(looks_of(len(names)))
    return {name: (INK, "-") if name == record.get("baseline") else next(looks) for name in names}


def looks_of(count: int) -> list[Look]:
    """Return so many colours with dashes; neighbours differ in both, for who sees few colours."""
    return [(PALETTE[n % len(PALETTE)], _DASHES[n % len(_DASHES)]) for n in range(count)]


def css_colour(colour: str) -> str:
    """Return the colour as the page writes it."""
    return "currentColor" if colour == INK else colour
