"""`marginface report` from the command line, without torch: files in, files out."""

import json

import pytest

from marginface.cli.report import report
from marginface.errors import DataError
from tests.report import made_up

ENDS = {"value": 0.1, "low": 0.0, "high": 0.2}


@pytest.fixture
def paths(tmp_path):
    found = []
    for name, record in (
        ("sface", {"model": "sface", "metrics": {"eer": ENDS}, "pairs": 4}),
        ("megaface", made_up.megaface_record()),
    ):
        found.append(tmp_path / f"{name}.json")
        found[-1].write_text(json.dumps(record))
    return found


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("page.html", "<!doctype html>"),
        ("table.csv", "sface,sface,sface,verification,,eer,0.1,0.0,0.2,"),
        ("table.tex", r"sface & 10.00 \% {\footnotesize [0.00, 20.00]}"),
        ("table.md", "| sface | 10.00 % [0.00, 20.00] |"),
    ],
)
def test_the_ending_of_out_decides_the_form(paths, tmp_path, name, held):
    report(*paths, out=tmp_path / name)
    assert held in (tmp_path / name).read_text()


def test_one_record_gives_a_page_beside_it_and_its_tables(paths, capsys):
    report(paths[0])
    assert paths[0].with_suffix(".html").is_file()
    assert "10.00 % [0.00, 20.00]" in capsys.readouterr().out


def test_markdown_and_json_go_to_standard_output(paths, tmp_path, capsys):
    report(*paths, out=tmp_path / "a.html", markdown=True)
    assert "| 1,000,000 |" in capsys.readouterr().out
    told = tmp_path / "told.json"
    report(*paths, out=tmp_path / "a.html", json=told)
    found = [(s["name"], s["kind"]) for s in json.loads(told.read_text())["systems"]]
    assert found == [
        ("sface", "verification"),
        ("megaface", "verification"),
        ("megaface", "identification"),
    ]
    assert capsys.readouterr().out == ""


def test_records_of_one_file_name_keep_apart(paths, tmp_path):
    twin = tmp_path / "second" / "sface.json"
    twin.parent.mkdir()
    twin.write_text(paths[0].read_text())
    report(paths[0], twin, out=tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == ["sface", "second/sface"]


def test_wrong_calls_say_what_to_do(paths, tmp_path):
    with pytest.raises(ValueError, match="at least one record"):
        report()
    with pytest.raises(ValueError, match=r"ending of --out must be one of .*got '\.pdf'"):
        report(paths[0], out=tmp_path / "a.pdf")
    with pytest.raises(DataError, match=r"results must be the results\.json"):
        report(tmp_path / "absent.json")
    assert not list(tmp_path.glob("*.html"))
