"""Sphinx's settings: no request leaves the page, and every warning fails the build."""

import sys
from dataclasses import MISSING, fields, is_dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from docutils import nodes

from docstrings import to_rst
from reference import public_names

project = "marginface"
author = "The marginface founders"
project_copyright = "2026, the marginface founders, Apache-2.0"
release = version = installed("marginface")
html_title = f"marginface {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "index"
myst_heading_anchors = 4
myst_enable_extensions: list[str] = []

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False
toc_object_entries_show_parents = "hide"

# Quotes in docstrings are those of code, and two hyphens begin a flag.
smartquotes = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["house.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "default"
pygments_dark_style = "github-dark"

PUBLIC = public_names()


def process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Turn a house docstring into reStructuredText, in place as Sphinx asks for it."""
    lines[:] = to_rst(list(lines))


def resolve(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Link what is named by the file that defines it to its public name."""
    public = PUBLIC.get(node.get("reftarget", ""))
    if public is None or node.get("refdomain") != "py":
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, content)


def show_factories(
    app: Any, what: str, name: str, thing: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Say what a dataclass makes for a field, where Python says `<factory>`."""
    if not is_dataclass(thing) or signature is None:
        return None
    for field in fields(thing):
        if field.init and field.default_factory is not MISSING:
            made = getattr(field.default_factory, "__name__", "...").replace("<lambda>", "...")
            shown = made if made == "..." else f"{made}()"
            signature = signature.replace("<factory>", shown, 1)
    return signature, returns


def show_dashes(app: Any, doctree: Any) -> None:
    """Part a parameter from its meaning by a dash."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def setup(app: Any) -> None:
    """Hook them in."""
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", show_factories)
    app.connect("doctree-read", show_dashes)
    app.connect("missing-reference", resolve)
