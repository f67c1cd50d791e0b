"""Refuse built pages that would ask another machine for something."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

# What a browser fetches unasked; a link that somebody has to click is no request.
FETCHED = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "use": ("href", "xlink:href"),
    "image": ("href", "xlink:href"),
}
REMOTE = re.compile(r"(?:https?:)?//")
IN_STYLE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")
# Addresses a script could fetch; names of vocabularies and licences in comments are not fetched.
IN_SCRIPT = re.compile(
    r"(?:fetch|import|importScripts|\.src\s*=)\s*\(?\s*['\"`](https?://[^'\"`]+)"
)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        for name in FETCHED.get(tag, ()):
            # A canonical address is told to search engines and fetched by nobody.
            if values.get("rel") != "canonical" and REMOTE.match(values.get(name) or ""):
                self.found.append(f"<{tag} {name}={values[name]}>")
        self.found += IN_STYLE.findall(values.get("style") or "")


def requests_of(text: str, suffix: str) -> list[str]:
    """Return what a page, a style sheet or a script would fetch from elsewhere.

    Example:
        >>> requests_of('<img src="//cdn.example/x.png"><a href="https://example.org">', ".html")
        ['<img src=//cdn.example/x.png>']
        >>> requests_of("@import 'https://fonts.example/inter.css';", ".css")
        ['https://fonts.example/inter.css']
    """
    if suffix == ".css":
        return IN_STYLE.findall(text)
    if suffix == ".js":
        return IN_SCRIPT.findall(text)
    page = _Page()
    page.feed(text)
    styles = re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)
    return page.found + [address for style in styles for address in IN_STYLE.findall(style)]


def requests_in(site: Path) -> Iterator[str]:
    """Yield file and address of every request that the built site would make."""
    for path in sorted(site.rglob("*")):
        if path.suffix in {".html", ".css", ".js", ".svg"}:
            text = path.read_text(encoding="utf-8", errors="replace")
            kind = ".html" if path.suffix == ".svg" else path.suffix
            for address in requests_of(text, kind):
                yield f"{path.relative_to(site)}: {address}"
