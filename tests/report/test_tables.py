import io

import pytest
from rich.console import Console

from marginface.report import comparison_table, evaluation_table, markdown_table
from marginface.report.words import difference_words
from tests.report.made_up import STRENGTH, comparison_record


@pytest.fixture(scope="module")
def record():
    return comparison_record()


def printed(table, width=80):
    # Without colours even where the environment asks for them everywhere.
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_the_terminal_table_fits_80_columns_uncut(record):
    text = printed(comparison_table(record))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for metric in ("Accuracy", "EER", "AUC", "d′", "FNMR at FMR\u00a01 %".replace("\u00a0", " ")):
        assert metric in text.replace("\u00a0", " ")


def test_each_metric_of_each_loss_has_its_interval_and_difference(record):
    text = printed(comparison_table(record), width=120)
    for name, result in record["losses"].items():
        assert text.count(f" {name} ") >= len(result["metrics"])
        for metric, difference in result.get("difference", {}).items():
            assert difference_words(metric, difference) in text


def test_no_difference_is_said_plainly(record):
    shown = [
        d["is_shown"] for r in record["losses"].values() for d in r.get("difference", {}).values()
    ]
    text = printed(comparison_table(record))
    assert 0 < shown.count(False) == text.count("no difference shown")
    words = [word for line in text.splitlines() for word in line.split()]
    assert words.count("better") + words.count("worse") == shown.count(True)


def test_best_first_after_the_references(record):
    lines = markdown_table(record).splitlines()[2:]
    names = [line.split("|")[1].strip() for line in lines]
    accuracies = [record["losses"][n]["metrics"]["accuracy"]["value"] for n in names[1:]]
    assert names[0] == "untrained network"
    assert sorted(names[1:]) == sorted(STRENGTH)
    assert accuracies == sorted(accuracies, reverse=True)


def test_markdown_is_a_table(record):
    lines = markdown_table(record).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[1].startswith("| --- | ---: |")
    assert "not measured" in lines[2]
    assert "| baseline |" in markdown_table(record)


def test_evaluation_table_shows_refusals_and_cautions():
    record = {
        "metrics": {"eer": {"value": 0.125, "low": 0.1, "high": 0.2}},
        "refused": {"fnmr_at_fmr_0.001": "too few pairs"},
        "cautions": {"eer": "rests on little", "intervals": "drawn from 4 identities only"},
        "failure_to_acquire": 0.031,
        "pairs": {"mated": 1200, "nonmated": 90},
        "identities": 4,
        "model": {"name": "sface"},
    }
    text = printed(evaluation_table(record), width=110)
    for words in (
        "Verification by sface",
        "12.50 %   [10.00, 20.00]",
        "rests on little",
        "not measured: too few pairs",
        "drawn from 4 identities only",
        "4 people, 1,200 mated and 90 non-mated pairs; failure to acquire 3.10 %",
    ):
        assert " ".join(words.split()) in " ".join(text.split())


def test_evaluation_table_takes_a_bare_record():
    metrics = {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}
    assert "50.00 %" in printed(evaluation_table({"metrics": metrics, "pairs": 20, "model": "x"}))
