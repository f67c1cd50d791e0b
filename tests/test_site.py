"""What the site is built from: house docstrings in Sphinx's words, and pages that ask nobody."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docstrings import to_rst
from marginface.cli.app import app
from offline import requests_in, requests_of
from pages import GROUPS, command_reference, gather
from reference import ROOMS, public_names, write_reference

DOCS = Path(__file__).parents[1] / "docs"

HOUSE = """Sum two cosines.

    T = |a| + b_y*2,   a ≥ 0

Ties go to the first.

Args:
    margin_rad: Margin m, in radians, of `make_loss`
        and on a second line.
    scale: Above 0.

Raises:
    ValueError: If it is not.

Source: Deng et al., "ArcFace", eq. 3.
Differs: nothing; x_y is x*y.

Example:
    >>> 1 + 1
    2
"""


def test_a_house_docstring() -> None:
    rst = "\n".join(to_rst(HOUSE.splitlines()))
    assert "   :class: equation\n\n   T = |a| + b_y*2,   a ≥ 0\n" in rst
    assert ":param margin_rad: Margin m, in radians, of :py:obj:`make_loss` and on a" in rst
    assert ":raises ValueError: If it is not." in rst
    assert '**Source:** Deng et al., "ArcFace", eq. 3.' in rst
    assert r"**Differs:** nothing; x\_y is x\*y." in rst
    assert ".. code-block:: pycon\n\n   >>> 1 + 1\n   2\n" in rst
    assert rst.index("Ties go") > rst.index("T = |a|")


def test_a_sentence_that_runs_into_an_equation_or_a_list() -> None:
    rst = "\n".join(to_rst(["It is", "    a = b", "where", "- a is one", "  thing", "- b another"]))
    assert "It is\n\n.. code-block:: text" in rst
    assert "where\n\n- a is one thing\n\n- b another" in rst


def test_everything_public_is_documented(tmp_path: Path) -> None:
    write_reference(tmp_path)
    pages = {path.stem: path.read_text() for path in tmp_path.glob("*.rst")}
    assert pages.keys() == {*ROOMS, "index"}
    for room in ROOMS:
        for name in importlib.import_module(f"marginface.{room}").__all__:
            listed = (f"marginface.{room}.{name}\n", f"py:data:: {name}\n")
            assert any(line in pages[room] for line in listed), f"{room}.{name}"
    assert "eq. 3" in pages["losses"]


def test_public_names_are_those_of_their_room() -> None:
    names = public_names()
    assert names["marginface.losses.base.OwnClass"] == "marginface.losses.OwnClass"
    assert names["marginface.training.config.TrainConfig"] == "marginface.training.TrainConfig"


def test_every_config_class_tells_all_its_fields() -> None:
    training = importlib.import_module("marginface.training")
    kinds = [getattr(training, name) for name in training.__all__ if name.endswith("Config")]
    assert len(kinds) == 7
    for kind in kinds:
        told = "\n".join(to_rst((inspect.getdoc(kind) or "").splitlines()))
        for field in kind.__dataclass_fields__:
            assert f":param {field}:" in told, f"{kind.__name__}.{field}"


def public_things() -> Iterator[tuple[str, Any]]:
    """Yield every public class and function, and the public methods of the classes."""
    for room in ROOMS:
        module = importlib.import_module(f"marginface.{room}")
        for name in module.__all__:
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            yield f"{room}.{name}", thing
            held = vars(thing).items() if inspect.isclass(thing) else ()
            for inner, value in held:
                method = getattr(value, "__func__", value)
                if inspect.isfunction(method) and not inner.startswith("_"):
                    yield f"{room}.{name}.{inner}", inspect.unwrap(method)


def test_args_tell_every_parameter_and_no_other() -> None:
    seen = 0
    for name, thing in public_things():
        rst = to_rst((inspect.getdoc(thing) or "").splitlines())
        told = {found[1] for line in rst if (found := re.match(r":param (\S+):", line))}
        if told:
            held = inspect.signature(thing).parameters
            public = {each for each in held if each not in ("self", "cls") and each[0] != "_"}
            assert told == public, name
            seen += 1
    assert seen > 100


def test_a_misspelt_section_fails() -> None:
    with pytest.raises(ValueError, match="'Return:'"):
        to_rst(["Sum.", "", "Return:", "    The sum."])


def test_every_command_is_in_the_reference() -> None:
    text = command_reference()
    names = [name for name in app if not name.startswith("-")]
    names += [f"{group} {name}" for group in ("data", "protocol", "gallery") for name in app[group]]
    for name in names:
        assert f"marginface {name}\n" in text or name.split()[-1].startswith("-"), name
    assert "--loss.name" in text
    assert "    marginface data pack lfw lfw.pack\n" in text


def test_every_page_stands_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names.values()]
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    made = {"README", "CONVENTIONS", "CONTRIBUTING", "CHANGELOG", "commands", "reference/index"}
    assert sorted(grouped) == sorted(pages | made | {"benchmarks"})


def test_every_link_of_a_page_leads_to_a_page_of_the_site(tmp_path: Path) -> None:
    gather(tmp_path / "pages")
    seen = 0
    for page in (tmp_path / "pages").glob("*.md"):
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not link.startswith(("http", "reference/")):
                assert (page.parent / link).is_file(), f"{page.name} links to {link}"
                seen += 1
    assert seen > 50


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ('<script src="https://cdn.example/a.js"></script>', ".html"),
        ('<link rel="stylesheet" href="//fonts.example/a.css">', ".html"),
        ('<img srcset="https://img.example/a.png 2x">', ".html"),
        ('<p style="background: url(https://img.example/a.png)">', ".html"),
        ("<style>@import 'https://fonts.example/a.css';</style>", ".html"),
        ("src: url('https://fonts.example/a.woff2')", ".css"),
        ("fetch('https://api.example/hit')", ".js"),
    ],
)
def test_a_request_to_elsewhere_is_seen(tmp_path: Path, text: str, suffix: str) -> None:
    assert len(requests_of(text, suffix)) == 1
    (tmp_path / f"page{suffix}").write_text(text)
    assert len(list(requests_in(tmp_path))) == 1


def test_a_link_to_click_is_no_request() -> None:
    text = '<a href="https://arxiv.org/abs/1801.07698">paper</a><img src="pictures/a.png">'
    assert requests_of(text, ".html") == []
