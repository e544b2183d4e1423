"""A person with a browser and no terminal: drops three files, watches them, reads, searches, downloads, shares."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.acceptance.page_walk import PageWalk
from tests.chromium import browser_page
from tests.stack_driver import PATIENCE_SECONDS, eventually

pytestmark = WITH_UP

DROPPED = ("visitor-guide.html", "rack-bar-wear.eml", "snow-clearance-handbook.md")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the browser may write to."""
    made = Path(tempfile.mkdtemp(prefix="waybill-downloads-"))
    yield made
    shutil.rmtree(made)


@contextmanager
def runs_held(waybill: CommandLine) -> Iterator[Callable[[], None]]:
    """No run begins until what is yielded is called, or the block ends: what serves the flows stands still."""
    server = json.loads((waybill.home / "serve.json").read_text())["pid"]
    os.kill(server, signal.SIGSTOP)
    try:
        yield lambda: os.kill(server, signal.SIGCONT)
    finally:
        os.kill(server, signal.SIGCONT)


def test_a_person_without_a_terminal_gets_from_files_to_answers(waybill: CommandLine, folder: Path) -> None:
    key = (waybill.home / "api-key").read_text().strip()
    with browser_page() as page:
        page.resize(1200, 900)
        page.listen()
        with runs_held(waybill) as let_go:
            # The run begins when the person has seen that it waits: it may take less than a busy browser to get there.
            walk = PageWalk(page, waybill.gateway, lambda name: let_go() if name.startswith("run") else None)
            walk.sign_in(key)
            walk.drop(*(Path("samples", name).absolute() for name in DROPPED))
            announced = walk.watch()
        assert len(announced) >= 2 and announced[-1] == "Completed", announced
        for name in DROPPED:
            assert name in page.text()
        shown = walk.read_document("snow-clearance-handbook.md")
        for part in ("Best facts", "English", "In the index", "Beginning of the Markdown", "Files in custody"):
            assert part in shown or page.evaluate(f"document.querySelector('[aria-label=\"{part}\"]') !== null"), part
        page.resize(390, 800)  # tables and code scroll by themselves, also those with labels for screen readers alone
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.resize(1200, 900)
        saved = walk.download(".chunks.json", folder)
        assert b'"chunks"' in saved
        link = walk.share()
        shared = httpx.get(link, timeout=PATIENCE_SECONDS)
        assert shared.status_code == 200 and shared.headers["content-disposition"].startswith("attachment")
        marked = walk.search("when is the rack greased")
        assert any("grease" in word.lower() for word in marked), marked
        for path in ("/runs", "/documents", "/exports", "/retention", "/docs", "/nothing-here", "/search?q=xyzzyq"):
            walk.visit(path, path)
        assert walk.serious() == {}
        # A page that is not there is an error of the network to a browser; of the policy there is none.
        assert [said for said in page.complaints() if "404" not in said] == []


def test_the_page_works_with_a_keyboard_alone(waybill: CommandLine) -> None:
    with browser_page() as page:
        page.resize(400, 800)  # as wide as a telephone
        PageWalk(page, waybill.gateway).sign_in((waybill.home / "api-key").read_text().strip())
        page.evaluate("document.activeElement.blur()")
        page.press("Tab")
        eventually(lambda: page.holds("document.activeElement.innerText === 'Skip to the content'"), "it comes first")
        page.press_enter()
        eventually(lambda: page.holds("document.activeElement.id === 'content'"), "it leads to the content")
        page.press("Tab")
        eventually(lambda: page.holds("document.activeElement.id === 'files'"), "the field for files comes next")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
