"""Make the pictures of ``docs/page.md``: walk through the page of a running `waybill up`.

waybill up                                                    # in a new home
.venv/bin/python -m tests.acceptance.make_page_images .waybill http://127.0.0.1:8000
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.acceptance.page_walk import PageWalk
from tests.chromium import Page, browser_page

IMAGES = Path("docs/images")
DROPPED = ("lauigraben-viaduct-report.docx", "rack-bar-wear.eml", "snow-clearance-handbook.md")
# Pages that are kept, light and dark; of a run under way the last look counts.
KEPT = {"dropped": "start", "run-under-way": "run", "document": "document", "search": "search", "share": "share"}


def main() -> int:
    """Walk and keep what is seen."""
    home, gateway = Path(sys.argv[1]), sys.argv[2]
    with browser_page() as page:
        page.resize(1200, 820)
        walk = PageWalk(page, gateway, seen=lambda name: _keep(page, name))
        walk.sign_in((home / "api-key").read_text().strip())
        walk.drop(*(Path("samples", name).absolute() for name in DROPPED))
        walk.watch()
        walk.read_document("snow-clearance-handbook.md")
        walk.share()
        walk.search("why does the rack bar wear")
    return 0


def _keep(page: Page, name: str) -> None:
    if name in KEPT:
        for scheme in ("dark", "light"):
            page.prefer_dark(scheme == "dark")
            suffix = "-dark" if scheme == "dark" else ""
            (IMAGES / f"page-{KEPT[name]}{suffix}.png").write_bytes(page.screenshot())


if __name__ == "__main__":
    sys.exit(main())
