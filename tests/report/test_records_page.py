import base64
import json
import re
from xml.etree import ElementTree

import pytest

from marginface.report import records_page, write_records_page
from tests.report import made_up
from tests.report.test_page import Page


@pytest.fixture(scope="module")
def records():
    return {
        "sface": made_up.evaluation_record(has_curve=True, resamples=20),
        "vmf": made_up.evaluation_record(name="vmf", strength=1.5, resamples=20),
        "ijbc": made_up.ijb_record(),
        "megaface": made_up.megaface_record(),
    }


@pytest.fixture(scope="module")
def html(records):
    return records_page(records)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_sections_are_there_and_linked(page):
    ids = [attrs["id"] for attrs in page.all("section")]
    found = ["verification", "groups", "rejection", "identification", "reading", "made"]
    assert ids == found
    linked = [attrs["href"] for attrs in page.all("a") if attrs["href"].startswith("#")]
    assert linked == [f"#{name}" for name in found]


def test_nothing_is_fetched_and_nothing_runs(page, html):
    for tag, attrs in page.tags:
        for key in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            assert attrs.get(key, "#").startswith(("#", "data:")), (tag, key)
        assert tag not in ("script", "link", "iframe", "object", "base")
    named = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert not re.search(r"https?://|@import", named)
    policy = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_figures_are_well_formed_follow_the_theme_and_hold_no_nan(html):
    drawings = ["<svg" + part.split("</svg>")[0] + "</svg>" for part in html.split("<svg")[1:]]
    # DET and ROC of two sets, two histograms, two of rejection, CMC, open set, distractors.
    assert len(drawings) == 4 + 2 + 2 + 3
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "currentColor" in drawing
        assert "#010203" not in drawing
        assert not re.search(r"\b(nan|inf)\b", drawing, flags=re.IGNORECASE)


def test_names_are_escaped_and_cautions_told(page):
    for words in (
        "side_view & <dark>",
        "Verification on pairs_50%.txt",
        "rule of 30",
        "gallery both, rule older",
        "points of a thinned curve",
        "Rule of 3",
    ):
        assert words in page.text


def test_each_record_can_be_downloaded(page, records):
    links = [attrs for attrs in page.all("a") if attrs.get("download")]
    assert [attrs["download"] for attrs in links] == [f"{stem}.json" for stem in records]
    for attrs, record in zip(links, records.values(), strict=True):
        saved = json.loads(base64.b64decode(attrs["href"].split(",", 1)[1]))
        assert saved == json.loads(json.dumps(record))


def test_one_bare_record_is_enough_and_gives_the_same_bytes(tmp_path):
    ends = {"value": 0.0, "low": 0.0, "high": 0.1}
    bare = {"bare": {"metrics": {"eer": ends}, "pairs": 4}}
    write_records_page(bare, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text == records_page(bare)
    found = [attrs["id"] for attrs in Page(text).all("section")]
    assert found == ["verification", "reading", "made"]


def test_no_records_are_refused():
    with pytest.raises(ValueError, match="records must hold at least one record"):
        records_page({})
