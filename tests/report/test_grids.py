import pytest

from marginface.report import grids_of, systems_of
from tests.report import made_up


@pytest.fixture(scope="module")
def judged():
    return made_up.evaluation_record(resamples=20)


def only(grids, part):
    (grid,) = [grid for grid in grids if grid.part == part]
    return grid


def test_groups_stand_with_intervals_and_marked_where_a_rule_speaks(judged):
    grid = only(grids_of(systems_of({"r": judged})), "groups")
    rows = dict(grid.rows)
    assert list(rows) == [row["name"] for row in judged["groups"]["rows"]]
    for row in judged["groups"]["rows"]:
        for kind, column in (("fnmr", 1), ("fmr", 4)):
            cell = rows[row["name"]][column]
            assert cell.is_marked == (kind in row["cautions"])
            assert bool(cell.interval) == (row[kind] is not None)
            if kind in row["cautions"]:
                assert f"{row['name']}, {kind.upper()}: {row['cautions'][kind]}" in grid.notes
    assert any("rule of 30" in note for note in grid.notes)
    assert "FMR 10 % of all pairs" in grid.title


def test_rows_have_a_cell_under_every_head(judged):
    records = {
        "r": judged,
        "lfw": made_up.protocol_pair_record(),
        "ijbc": made_up.ijb_record(),
        "shop": made_up.gallery_record(),
        "megaface": made_up.megaface_record(),
    }
    grids = grids_of(systems_of(records))
    parts = {"verification", "public", "groups", "rejection", "cmc", "open set", "distractors"}
    assert {grid.part for grid in grids} == parts
    for grid in grids:
        assert all(len(cells) == len(grid.heads) - 1 for _, cells in grid.rows)


def test_a_metric_one_model_lacks_is_a_dash_and_the_columns_stay():
    ends = {"value": 0.1, "low": 0.0, "high": 0.2}
    one = {"protocol": "lfw", "pairs": 9, "metrics": {"fnmr_at_fmr_0.1": ends, "accuracy": ends}}
    two = {"protocol": "lfw", "pairs": 9, "metrics": {"eer": ends}}
    grid = only(grids_of(systems_of({"b": one, "a": two})), "verification")
    assert [head.split()[0] for head in grid.heads] == [
        "model",
        "Accuracy",
        "EER",
        "FNMR",
        "failure",
    ]
    assert [cell.value for cell in grid.rows[1][1]] == ["–", "10.00 %", "–", "–"]


def test_what_was_refused_is_said_once_for_all_it_holds_of(judged):
    refused = {**judged, "groups": {"column": "pose", "bins": [], "refused": "too few"}}
    refused["rejection"] = {"quality": "length", "refused": "one kind"}
    grids = grids_of(systems_of({"a": refused, "b": refused}))
    assert {grid.part for grid in grids} == {"verification"}
    assert "sface (a), sface (b), groups not measured: too few" in grids[0].notes
    assert "sface (a), sface (b), rejection not measured: one kind" in grids[0].notes


def test_published_figures_stand_beside_exact_ones_with_the_reason():
    judged = made_up.protocol_pair_record()
    grid = only(grids_of(systems_of({"lfw": judged})), "public")
    rows = dict(grid.rows)
    printed, exact, apart = rows["accuracy"]
    assert printed.text == "93.120 ± 1.230 % [90.00, 95.00]"
    accuracy = judged["metrics"]["accuracy"]
    assert exact.value == f"{100 * accuracy['value']:.3f} %"
    assert apart.value == f"{100 * (accuracy['value'] - 0.9312):+.3f}".replace("-", "−")
    assert [cell.value for cell in rows["TAR at FAR 0.001"]] == [
        *("81.000 ± 2.000 %", "not measured", "–"),
    ]
    assert grid.notes == ("Both come from the same scores: other thresholds are tried.",)
    judged = made_up.ijb_record()
    rows = dict(only(grids_of(systems_of({"ijbc": judged})), "public").rows)
    fnmr = judged["metrics"]["fnmr_at_fmr_0.1"]
    printed, exact, apart = rows["TAR at FAR 0.1"]
    assert printed.text == "100.000 % at FAR 0.1"
    low, high = 100 * (1 - fnmr["high"]), 100 * (1 - fnmr["low"])
    assert exact.text == f"{100 * (1 - fnmr['value']):.3f} % [{low:.2f}, {high:.2f}]"
    assert apart.value == f"−{100 * fnmr['value']:.3f}"


def test_open_set_keeps_rules_apart_and_gives_the_mean_its_interval():
    grid = only(grids_of(systems_of({"ijbc": made_up.ijb_record()})), "open set")
    rows = dict(grid.rows)
    assert [name.rsplit("rule ", 1)[1] for name in rows] == ["iso", "iso", "newer", "older"]
    mean = rows["ijbc, mean of galleries, rule iso"]
    assert [cell.text for cell in mean] == ["–", "20.00 % [10.00, 30.00]", "–", "–"]
    iso = rows["ijbc, gallery all, rule iso"][1]
    assert iso.is_marked
    assert iso.interval
    assert any("rule of 30 asks for 300" in note for note in grid.notes)
