"""Build the site into `build/site`: `make docs` runs this."""

import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import build_main

from offline import requests_in
from pages import ROOT, gather
from reference import write_reference

HERE = Path(__file__).parent
PAGES, SITE = ROOT / "build" / "site-pages", ROOT / "build" / "site"


def main() -> int:
    """Gather, build with warnings as errors, and refuse requests to elsewhere."""
    gather(PAGES)
    write_reference(PAGES / "reference")
    shutil.rmtree(SITE, ignore_errors=True)
    flags = ["-q", "-W", "--keep-going", "-E", "-b", "html", "-d", str(PAGES.parent / "doctrees")]
    if code := build_main([*flags, "-c", str(HERE), str(PAGES), str(SITE)]):
        return code
    found = list(requests_in(SITE))
    for line in found:
        print(f"a page may fetch nothing from elsewhere; {line}", file=sys.stderr)
    if not found:
        print(f"open {SITE.relative_to(ROOT)}/index.html")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
