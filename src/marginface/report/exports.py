"""Tables for other programs: LaTeX (booktabs), CSV, Markdown."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from marginface.report.cells import Cell, Grid
from marginface.report.records import System
from marginface.report.words import ordered_metrics

COLUMNS = ("record", "set", "system", "part", "of", "measure", "value", "low", "high", "caution")

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    # After the end of a row these two would be read as its options.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "′": "$'$",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "κ": r"$\kappa$",
    "–": "--",
    "“": "``",
    "”": "''",
    "\N{NO-BREAK SPACE}": "~",
}


def escape_latex(text: str) -> str:
    r"""Return text that LaTeX prints as it stands; line ends become spaces.

    Example:
        >>> print(escape_latex("50 % of a_b"))
        50 \% of a\_b
    """
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split("\n")))


def latex_tables(grids: Sequence[Grid]) -> str:
    """Return one `tabular` per grid, each row one line, in the style of the package booktabs."""
    parts = ["% needs \\usepackage{booktabs}; intervals are 95 % bootstrap intervals\n"]
    return "\n".join([*parts, *map(_latex_table, grids)])


def _latex_table(grid: Grid) -> str:
    lines = [f"% {' '.join(grid.title.split())}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(grid.heads) - 1)}}}", r"\toprule"]
    lines += [" & ".join(map(escape_latex, grid.heads)) + r" \\", r"\midrule"]
    for name, cells in grid.rows:
        lines.append(" & ".join([escape_latex(name), *map(_latex_cell, cells)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    for note in grid.notes:
        lines.append(rf"\par{{\footnotesize {escape_latex(note)}}}")
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Cell) -> str:
    mark = r"$^{\ast}$" if cell.is_marked else ""
    # An interval stands behind its value, so its brackets need no braces.
    inner = escape_latex(cell.interval.strip("[]"))
    ends = rf" {{\footnotesize [{inner}]}}" if inner else ""
    return f"{escape_latex(cell.value)}{mark}{ends}"


def markdown_tables(grids: Sequence[Grid]) -> str:
    """Return the grids as Markdown, each under its title, notes as a list."""
    return "\n".join(_markdown(grid) for grid in grids)


def _markdown(grid: Grid) -> str:
    rows = [[name, *(cell.text for cell in cells)] for name, cells in grid.rows]
    table = [list(grid.heads), ["---", *["---:"] * (len(grid.heads) - 1)], *rows]
    lines = ["| " + " | ".join(map(_bar_free, row)) + " |" for row in table]
    notes = ["", *(f"- {note}" for note in grid.notes)] if grid.notes else []
    return "\n".join([f"### {grid.title}", "", *lines, *notes]) + "\n"


def _bar_free(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("*", "\\*").split("\n"))


def csv_table(systems: Sequence[System]) -> str:
    """Return every number of every system, one a line, with the columns `COLUMNS`.

    Rates are fractions with all their digits; low and high are empty where there is no interval.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for system in systems:
        head = {"record": system.record, "set": system.judged_on, "system": system.name}
        for row in _numbers(system):
            writer.writerow({**head, **row})
    return buffer.getvalue()


def _numbers(system: System) -> Iterator[dict[str, Any]]:
    result = system.result
    cautions = result.get("cautions", {})
    for metric in ordered_metrics(system.metrics):
        ends = _ends(system.metrics[metric])
        caution = cautions.get(metric, "")
        yield {"part": system.kind, "measure": metric, **ends, "caution": caution}
    if (failure := result.get("failure_to_acquire")) is not None:
        yield {"part": system.kind, "measure": "failure_to_acquire", "value": failure}
    for metric, ends in result.get("difference", {}).items():
        where = {"part": "difference", "of": f"minus {system.baseline}"}
        yield {**where, "measure": metric, **_ends(ends)}
    yield from _group_numbers(result.get("groups", {}))
    yield from _rejection_numbers(result.get("rejection", {}))
    yield from _public_numbers(result.get("insightface", {}))
    yield from _search_numbers(result)


def _group_numbers(groups: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in groups.get("rows", []):
        where = {"part": f"groups by {groups['column']}", "of": row["name"]}
        for kind, pairs in (("fnmr", "mated"), ("fmr", "nonmated")):
            yield {**where, "measure": f"{pairs}_pairs", "value": row[pairs]}
            caution = row["cautions"].get(kind, "")
            for measure in (kind, f"{kind}_minus_all"):
                if row.get(measure) is not None:
                    yield {**where, "measure": measure, **_ends(row[measure]), "caution": caution}


def _rejection_numbers(rejection: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("fnmr", "fmr"):
        if kind not in rejection:
            continue
        part, where = rejection[kind], {"part": "rejection", "of": kind}
        caution = part.get("caution", "")
        yield {**where, "measure": "area", **_ends(part["area"]), "caution": caution}
        ends = _ends(part["difference_to_random"])
        yield {**where, "measure": "area_minus_random", **ends, "caution": caution}
        yield {**where, "measure": "random", "value": part["random"]}
        yield {**where, "measure": "area_oracle", "value": part["area_oracle"]}


def _public_numbers(public: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    where = {"part": "public"}
    if "mean" in public:
        yield {**where, "measure": "accuracy", **_ends(public, "mean")}
        yield {**where, "measure": "fold_std", "value": public["std"]}
    if "tar" in public:
        yield {**where, "of": "far 0.001", "measure": "tar", "value": public["tar"]}
    for point in public.get("tar_at_far", []):
        of = f"far {point['target']:g}"
        yield {**where, "of": of, "measure": "tar", "value": point["tar"]}
        yield {**where, "of": of, "measure": "far", "value": point["far"]}


def _search_numbers(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    caution = result.get("cautions", {}).get("intervals", "")
    for rank, ends in result.get("cmc", {}).items():
        where = {"part": "cmc", "of": f"rank {rank}", "measure": "tpir"}
        yield {**where, **_ends(ends), "caution": caution}
    for point in result.get("fnir_at_fpir", []):
        of = f"gallery {point['gallery']}, rule {point['rule']}, fpir {point['target']:g}"
        where = {"part": "open set", "of": of}
        yield {**where, "measure": "fnir", **_ends(point, "fnir"), **_said(point)}
        for measure in ("fpir", "threshold"):
            if point[measure] is not None:
                yield {**where, "measure": measure, "value": point[measure]}
    for point in result.get("mean_fnir", []):
        of = f"mean of galleries, rule {point['rule']}, fpir {point['target']:g}"
        yield {"part": "open set", "of": of, "measure": "fnir", **_ends(point, "fnir")}
    sizes = result.get("identification")
    for row in sizes if isinstance(sizes, list) else []:
        for rank, ends in row["cmc"].items():
            of = f"rank {rank}, {row['distractors']} distractors"
            where = {"part": "distractors", "of": of, "measure": "tpir"}
            yield {**where, **_ends(ends), "caution": caution}


def _said(point: Mapping[str, Any]) -> dict[str, str]:
    return {"caution": point.get("caution", "")}


def _ends(ends: Mapping[str, Any], key: str = "value") -> dict[str, float]:
    """Return the value under a key, with its interval where it has one."""
    return {"value": ends[key], **{end: ends[end] for end in ("low", "high") if end in ends}}
