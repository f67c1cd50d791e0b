import json

import pytest

from marginface.errors import DataError
from marginface.report import kind_of, read_record, systems_of
from tests.report import made_up

METRICS = {"eer": {"value": 0.1, "low": 0.0, "high": 0.2}}
COMPARED = {
    "baseline": "softmax",
    "losses": {"softmax": {"metrics": METRICS}, "sface": {"metrics": METRICS}},
    "references": {"untrained": {"metrics": METRICS}},
    "data": {"evaluation": {"name": "val"}},
}
JUDGED = {"model": "sface", "metrics": METRICS, "pairs": {"mated": 1, "nonmated": 1}}


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (COMPARED, "comparison"),
        (JUDGED, "verification"),
        ({"cmc": {"1": {"value": 0.5}}, "fnir_at_fpir": [], "refused": {}}, "identification"),
        (made_up.megaface_record(), "identification"),
    ],
)
def test_records_are_told_apart_by_their_content(record, kind, tmp_path):
    path = tmp_path / "any name.json"
    path.write_text(json.dumps(record))
    assert kind_of(read_record(path)) == kind


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "7",
        "{}",
        '{"losses": {}, "baseline": "softmax"}',
        '{"losses": 3}',
        '{"metrics": {"eer": 0.1}, "pairs": 4}',
        '{"metrics": {"eer": {"value": 0.1}}, "pairs": 4}',
        '{"steps": 3, "config": {}}',
        '{"identification": [3]}',
        '{"cmc": {"1": 1.0}}',
        '{"metrics": {"eer": {"value": NaN, "low": 0, "high": 1}}, "pairs": 4}',
        "no JSON",
        "",
    ],
)
def test_foreign_json_is_refused(content, tmp_path):
    path = tmp_path / "foreign.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"results must be the results\.json.*foreign\.json"):
        read_record(path)


def test_a_missing_file_and_a_picture_are_refused(tmp_path):
    (tmp_path / "face.png").write_bytes(b"\x89PNG\xff")
    reasons = {"absent.json": "No such file or directory", "face.png": "UnicodeDecodeError"}
    for name, reason in reasons.items():
        with pytest.raises(DataError, match=rf"{name} \({reason}\)"):
            read_record(tmp_path / name)


def test_every_loss_reference_and_search_is_a_system():
    systems = systems_of({"study": COMPARED, "mine": JUDGED})
    assert [(s.name, s.judged_on, s.record) for s in systems] == [
        ("untrained", "val", "study"),
        ("softmax", "val", "study"),
        ("sface", "val", "study"),
        ("sface", "mine", "mine"),
    ]
    searched = {
        "protocol": "ijbc 1:N",
        "cmc": {"1": {"value": 1.0}},
        "fnir_at_fpir": [],
        "refused": {},
    }
    both = systems_of({"c": {**JUDGED, "protocol": "ijbc 1:1", "identification": searched}})
    assert [(s.kind, s.judged_on) for s in both] == [
        ("verification", "ijbc 1:1"),
        ("identification", "ijbc 1:N"),
    ]
    both = systems_of({"mega": made_up.megaface_record()})
    assert [(s.kind, s.judged_on, s.name) for s in both] == [
        ("verification", "megaface 1:1", "mega"),
        ("identification", "megaface", "mega"),
    ]


def test_models_of_one_name_on_one_set_are_told_apart_by_their_record():
    one = {**JUDGED, "protocol": "lfw"}
    names = [s.name for s in systems_of({"a": one, "b": one, "c": {**JUDGED, "protocol": "cfp"}})]
    assert names == ["sface (a)", "sface (b)", "sface"]


def test_a_record_without_a_model_is_called_by_its_features_or_file():
    bare = {"metrics": METRICS, "pairs": 1}
    records = {"one": {**bare, "features": "runs/lfw.npy"}, "two": bare}
    assert [s.name for s in systems_of(records)] == ["lfw.npy", "two"]
