import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.report import csv_table, grids_of, latex_tables, markdown_tables, systems_of
from marginface.report.cells import Cell, Grid
from marginface.report.exports import COLUMNS, escape_latex
from tests.report import made_up


@pytest.fixture(scope="module")
def records():
    return {
        "sface": made_up.evaluation_record(resamples=20),
        "lfw": made_up.protocol_pair_record(),
        "ijbc": made_up.ijb_record(),
        "megaface": made_up.megaface_record(),
    }


@pytest.fixture(scope="module")
def systems(records):
    return systems_of(records)


@pytest.fixture(scope="module")
def grids(systems):
    return grids_of(systems)


@pytest.fixture(scope="module")
def rows(systems):
    return list(csv.DictReader(io.StringIO(csv_table(systems))))


def test_csv_gives_every_metric_back_with_all_its_digits(rows, records):
    found = {
        row["measure"]: {end: float(row[end]) for end in ("value", "low", "high")}
        for row in rows
        if row["record"] == "sface" and row["part"] == "verification" and row["low"]
    }
    assert found == records["sface"]["metrics"]
    assert tuple(rows[0]) == COLUMNS


def test_csv_holds_groups_with_their_cautions(rows, records):
    for row in records["sface"]["groups"]["rows"]:
        of = [r for r in rows if r["part"] == "groups by pose" and r["of"] == row["name"]]
        by_measure = {r["measure"]: r for r in of}
        assert float(by_measure["mated_pairs"]["value"]) == row["mated"]
        for kind in ("fnmr", "fmr"):
            assert (kind in by_measure) == (row[kind] is not None)
            if row[kind]:
                assert float(by_measure[kind]["high"]) == row[kind]["high"]
                assert by_measure[kind]["caution"] == row["cautions"].get(kind, "")


def test_csv_holds_searches_rejection_and_public_figures(rows, records):
    parts = {row["part"] for row in rows}
    assert parts >= {"cmc", "open set", "rejection", "public", "distractors", "identification"}
    (older,) = [r for r in rows if "rule older" in r["of"] and r["measure"] == "fnir"]
    assert not [r for r in rows if "rule older" in r["of"] and r["measure"] == "fpir"]
    assert older["low"] == ""
    (mean,) = [r for r in rows if r["of"].startswith("mean of galleries")]
    assert (float(mean["low"]), float(mean["high"])) == (0.1, 0.3)
    searched = records["ijbc"]["identification"]
    for rank, ends in searched["cmc"].items():
        (row,) = [r for r in rows if r["part"] == "cmc" and r["of"] == f"rank {rank}"]
        assert {end: float(row[end]) for end in ends} == ends
    for point in (p for p in searched["fnir_at_fpir"] if p["rule"] == "iso"):
        of = f"gallery all, rule iso, fpir {point['target']:g}"
        (row,) = [r for r in rows if r["of"] == of and r["measure"] == "fnir"]
        assert (float(row["low"]), float(row["high"])) == (point["low"], point["high"])
        assert row["caution"] == point.get("caution", "")
    far = [r for r in rows if r["part"] == "distractors" and r["of"] == "rank 1, 10 distractors"]
    assert [float(r["low"]) for r in far] == [0.985]


def test_csv_holds_paired_differences_of_a_comparison():
    ends = {"value": 0.1, "low": 0.0, "high": 0.2}
    loss = {"metrics": {"eer": ends}, "difference": {"eer": {**ends, "is_shown": False}}}
    record = {
        "baseline": "softmax",
        "losses": {"softmax": {"metrics": {"eer": ends}}, "sface": loss},
        "data": {"evaluation": {"name": "val"}},
    }
    rows = list(csv.DictReader(io.StringIO(csv_table(systems_of({"study": record})))))
    (row,) = [row for row in rows if row["part"] == "difference"]
    assert (row["system"], row["of"], row["measure"]) == ("sface", "minus softmax", "eer")


def test_latex_is_balanced_and_every_row_has_all_columns(grids):
    text = latex_tables(grids)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == len(grids)
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == len(grids)
    for table, grid in zip(text.split(r"\begin{tabular}")[1:], grids, strict=True):
        lines = [line for line in table.split(r"\end{tabular}")[0].splitlines() if "&" in line]
        assert len(lines) == 1 + len(grid.rows)
        for line in lines:
            assert len(re.findall(r"(?<!\\)&", line)) == len(grid.heads) - 1
            assert line.endswith(r" \\")
            assert line.count("{") - line.count(r"\{") == line.count("}") - line.count(r"\}")
    assert "–" not in text.replace("% ", "")
    assert r"side\_view \& \textless{}dark\textgreater{}" in text


def test_latex_and_markdown_show_value_interval_and_mark():
    cells = (Cell(value="1.00 %", interval="[0.50, −2.00]", is_marked=True),)
    rows = (("[a]_1*|", cells),)
    grid = Grid(part="x", title="T", heads=("model", "EER"), rows=rows, notes=("few & bad",))
    latex = latex_tables([grid])
    assert r"1.00 \%$^{\ast}$ {\footnotesize [0.50, $-$2.00]} \\" in latex
    assert r"{[}a{]}\_1{*}\textbar{} & " in latex
    assert r"\par{\footnotesize few \& bad}" in latex
    markdown = markdown_tables([grid])
    assert r"| [a]_1\*\| | 1.00 %\* [0.50, −2.00] |" in markdown
    assert "- few & bad" in markdown


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & c%", r"a\_b \& c\%"),
        ("\\{}", r"\textbackslash{}\{\}"),
        ("#$~^", r"\#\$\textasciitilde{}\textasciicircum{}"),
        ("line\nend", "line end"),
        ("κ ± 1 × 2 −3", r"$\kappa$ $\pm$ 1 $\times$ 2 $-$3"),
    ],
)
def test_latex_specials_are_escaped(text, escaped):
    assert escape_latex(text) == escaped


def test_markdown_tables_are_tables(grids):
    for part in markdown_tables(grids).split("### ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


SPECIALS = st.text(st.sampled_from(list('ab &%$#_{}~^\\<>|"[]*′−±×κ–“”\n')), max_size=12)


@given(name=SPECIALS, value=SPECIALS, note=SPECIALS, title=SPECIALS)
def test_no_name_breaks_latex(name, value, note, title):
    cell = Cell(value=value, interval="[1, 2]", is_marked=True)
    grid = Grid(part="x", title=title, heads=(name, value), rows=((name, (cell,)),), notes=(note,))
    lines = latex_tables([grid]).splitlines()
    # A comment ends with its line; an escaped sign is none of those that mean something.
    kept = [re.sub(r"\\[\\&%$#_{}]", "", line) for line in lines if not line.startswith("%")]
    text = "\n".join(kept)
    assert [line.count("&") for line in kept if "&" in line] == [1, 1]
    assert re.findall(r"\\(?:begin|end)\{\w+\}", text) == [r"\begin{tabular}", r"\end{tabular}"]
    assert not re.search("[%#~_]", text)
    assert all(line.count("{") == line.count("}") for line in kept)
    assert all(line.count("$") % 2 == 0 for line in kept)
    assert text.isascii()
