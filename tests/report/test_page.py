import base64
import copy
import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from marginface.report import comparison_page, write_comparison_page
from marginface.report.drawing import PALETTE, line_looks
from marginface.report.entries import cautions_of
from marginface.report.page import summary_sentences
from tests.report.made_up import comparison_record

SECTIONS = [
    "outcome",
    "metrics",
    "reading",
    "det",
    "scores",
    "margins",
    "training",
    "worst",
    "made",
]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds: tags with attributes, ids, text; complains about wrong nesting."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def record():
    return comparison_record()


@pytest.fixture(scope="module")
def html(record):
    return comparison_page(record)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_all_sections_are_there_and_in_the_contents(page):
    assert [attrs["id"] for attrs in page.all("section")] == SECTIONS
    linked = [attrs["href"] for attrs in page.all("a") if attrs["href"].startswith("#")]
    assert linked == [f"#{name}" for name in SECTIONS]


def test_nothing_is_fetched(page, html):
    for tag, attrs in page.tags:
        for key in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            assert attrs.get(key, "#").startswith(("#", "data:")), (tag, key)
        assert tag not in ("script", "link", "iframe", "object", "base")
    assert "@import" not in html
    assert "url(http" not in html.replace(" ", "")
    policy = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_ids_are_unique_and_references_resolve(page):
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag != "path"]
    clips = [attrs["id"] for tag, attrs in page.tags if tag == "clippath"]
    assert len(set(ids) - set(clips)) == len(ids) - len(clips)
    every = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for _, attrs in page.tags:
        if "xlink:href" in attrs:
            assert attrs["xlink:href"][1:] in every


def test_every_picture_says_what_it_shows(page):
    pictures, drawings = page.all("img"), page.all("svg")
    assert len(pictures) == 6 * 8 * 2
    assert len(drawings) == 5 + 6
    assert all(attrs["alt"] for attrs in pictures)
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)


def test_every_figure_is_well_formed_and_follows_the_theme(html):
    drawings = ["<svg" + part.split("</svg>")[0] + "</svg>" for part in html.split("<svg")[1:]]
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "currentColor" in drawing
        assert "#010203" not in drawing
        assert "<metadata" not in drawing


def test_the_record_is_stated_and_escaped(page, record):
    for words in (
        record["command"],
        "2026-11-22",
        "0, 1",
        "made-up/train: 173 people, 4,120 pictures, fingerprint 3f3f3f3f3f3f3f3f",
        "made-up/val: 60 other people, 900 pictures, 400 mated and 400 non-mated pairs",
        "failure to acquire 0.40 %",
        "2 cores <x86_64> & 8 GB",
        "iresnet_tiny",
        "torch 2.13.0",
        "FMR 0.001 cannot be seen in 400 non-mated scores",
        "no difference shown",
    ):
        assert words in page.text


def test_the_record_can_be_downloaded_without_pictures(page, record):
    link = next(attrs for attrs in page.all("a") if attrs.get("download"))
    assert link["download"] == "results.json"
    saved = json.loads(base64.b64decode(link["href"].split(",", 1)[1]))
    assert saved["losses"]["sface"]["metrics"] == record["losses"]["sface"]["metrics"]
    assert "first_picture" not in saved["losses"]["sface"]["worst"][0]
    assert saved["losses"]["sface"]["worst"][0]["score"] == pytest.approx(
        record["losses"]["sface"]["worst"][0]["score"]
    )


def test_the_same_record_gives_the_same_bytes_and_nothing_else_changes(record, html):
    before, settings = copy.deepcopy(record), dict(mpl.rcParams)
    assert comparison_page(record) == html
    assert record == before
    assert dict(mpl.rcParams) == settings


@pytest.fixture
def bare(record):
    """A record with nothing but what every comparison must state, and one metric."""
    kept = {key: record[key] for key in ("title", "command", "date", "baseline", "seeds", "data")}
    metrics = {"eer": {"value": 0.0, "low": 0.0, "high": 0.1}}
    return {**kept, "losses": {"softmax": {"metrics": metrics}}}


def test_writing_replaces_the_file_whole(tmp_path, bare):
    out = tmp_path / "new" / "report.html"
    write_comparison_page(bare, out)
    assert out.read_text() == comparison_page(bare)
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_a_bare_record_leaves_sections_out(bare):
    page = Page(comparison_page(bare))
    assert [attrs["id"] for attrs in page.all("section")] == [
        "outcome",
        "metrics",
        "reading",
        "made",
    ]
    assert "Best as measured: softmax, EER 0.00 %" in page.text


def test_perfect_curves_can_be_drawn(record):
    perfect = copy.deepcopy({**record, "losses": {"softmax": record["losses"]["softmax"]}})
    for result in perfect["losses"].values():
        result["curve"] = {"fmr": [0.0, 0.0, 1.0], "fnmr": [1.0, 0.0, 0.0]}
        result["histogram"] = {"edges": [0.0, 1.0], "mated": [0.0], "nonmated": [0.0]}
        result["runs"][0]["history"] = [{"step": 1, "loss": float("nan")}]
    assert "SFace has no" not in Page(comparison_page(perfect)).text


def test_the_page_says_what_holds_of_this_comparison(page):
    """Lists have folds in any number, and SFace's curve is not one of a margin."""
    assert "The list is in parts (folds)" in page.text
    assert "SFace has no softmax and no margin" in page.text


def test_no_losses_are_refused():
    with pytest.raises(ValueError, match="record must hold at least one loss under 'losses'"):
        comparison_page({"losses": {}})


def test_the_summary_sorts_losses_by_verdict(record):
    made = copy.deepcopy(record)
    verdicts = {"cosface": (0.1, True), "arcface": (-0.1, True), "sface": (0.1, False)}
    for name in list(made["losses"]):
        if name in verdicts:
            value, is_shown = verdicts[name]
            made["losses"][name]["difference"]["accuracy"].update(value=value, is_shown=is_shown)
        elif name != "softmax":
            del made["losses"][name]
    better, worse, tied, _ = summary_sentences(made)
    assert better.startswith("Better than softmax: cosface (+10.00 [")
    assert worse.startswith("Worse than softmax: arcface (−10.00 [")
    assert tied.startswith("No difference to softmax shown: sface (+10.00 [")


def test_thirteen_losses_look_different_and_the_baseline_is_ink(record):
    losses = {f"loss-{number:02d}": {} for number in range(12)}
    looks = line_looks({**record, "losses": {"softmax": {}, **losses}})
    assert len(set(looks.values())) == 13
    assert looks["softmax"][0] not in PALETTE


def test_cautions_are_said_once_with_the_names_they_hold_of(record):
    made = copy.deepcopy(record)
    for result in (*made["losses"].values(), *made["references"].values()):
        result["cautions"] = {}
    made["losses"]["arcface"]["cautions"] = {"fnmr_at_fmr_0.001": "3 false matches"}
    made["losses"]["sface"]["cautions"] = {"fnmr_at_fmr_0.001": "3 false matches"}
    (said,) = cautions_of(made)
    assert sorted(said.split(", ")[:2]) == ["arcface", "sface"]
    assert said.endswith("FNMR at FMR 0.1\N{NO-BREAK SPACE}%: 3 false matches")
    assert Page(comparison_page(made)).text.count("3 false matches") == 1
