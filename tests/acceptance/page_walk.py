"""A person with a browser and no terminal: the way through the page, step by step, with a look at each page for
accessibility. Used by the test of it, and by ``make_page_images``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chromium import Page
from tests.stack_driver import eventually
from tests.webhooks.node_packages import node_packages

AXE = "axe-core@4.14.1"
# What a person who uses a keyboard, a screen reader or large print could not go on with.
SERIOUS = ("serious", "critical")
_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


@dataclass
class PageWalk:
    """Steps on the page at *gateway*. *seen* is called with the name of each page that the person looks at."""

    page: Page
    gateway: str
    seen: Callable[[str], None] = lambda name: None
    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])

    def sign_in(self, key: str) -> None:
        """Open the address that `waybill up` prints, and paste the key."""
        self.page.open(f"{self.gateway}/")
        self._look("sign-in")
        self.page.evaluate("document.querySelector('#key').focus()")
        self.page.type(key)
        self.page.press_enter()
        self._wait_for("document.querySelector('h1').innerText.startsWith('Documents in')", "the start page")
        self._look("start")

    def drop(self, *files: Path) -> None:
        """Drop files on the form and send it; the run's page opens."""
        self.page.drop("[data-drop]", *files)
        self._wait_for(f"document.querySelector('#files').files.length === {len(files)}", "the files are chosen")
        self._look("dropped")
        self.click("[data-drop] button")
        self._wait_for("location.pathname.startsWith('/runs/')", "the page of the run")

    def watch(self) -> list[str]:
        """Stay on the page of the run, without a reload, until it has ended; return each state and stage announced."""
        self.page.evaluate("window.isTheSamePage = true")
        announced: list[str] = []

        def has_ended() -> bool:
            said = str(self.page.evaluate("document.querySelector('[data-announce]').dataset.announce"))
            if not announced or announced[-1] != said:
                announced.append(said)
                self._look("run-under-way" if "hx-get" in self._progress() else "run")
            return "hx-get" not in self._progress()

        eventually(has_ended, "the run has ended")
        assert self.page.evaluate("window.isTheSamePage") is True
        return announced

    def read_document(self, name: str) -> str:
        """Open a document of the run; return the text of its page."""
        self.page.evaluate(
            f"[...document.querySelectorAll('td a')].find(a => a.innerText === {json.dumps(name)}).click()"
        )
        self._wait_for("location.pathname.startsWith('/documents/')", "the page of the document")
        self._look("document")
        return self.page.text()

    def download(self, name_ends: str, folder: Path) -> bytes:
        """Click on a file; return what the browser saved."""
        self.page.download_to(folder)
        self.page.evaluate(
            f"[...document.querySelectorAll('a[download]')].find(a => a.innerText.endsWith('{name_ends}')).click()"
        )
        eventually(lambda: any(one.name.endswith(name_ends) for one in folder.iterdir()), "the file is saved")
        (saved,) = [one for one in folder.iterdir() if one.name.endswith(name_ends)]
        return saved.read_bytes()

    def share(self) -> str:
        """Make a link to the last file of the document; return it."""
        self.page.evaluate("[...document.querySelectorAll('form[action$=\"/share\"] button')].at(-1).click()")
        self._wait_for("document.querySelector('#link') !== null", "the link")
        self._look("share")
        return str(self.page.evaluate("document.querySelector('#link').value"))

    def search(self, question: str) -> list[str]:
        """Ask; return the marked words of the first passage."""
        self.page.open(f"{self.gateway}/search")
        self.page.evaluate("document.querySelector('#q').focus()")
        self.page.type(question)
        self.page.press_enter()
        self._wait_for("document.querySelector('.hits li') !== null", "passages are found")
        self._look("search")
        script = "[...document.querySelector('.hits li').querySelectorAll('mark')].map(mark => mark.innerText)"
        return [str(word) for word in self.page.evaluate(script)]

    def visit(self, path: str, name: str) -> None:
        """Open one of the other pages."""
        self.page.open(f"{self.gateway}{path}")
        self._look(name)

    def click(self, selector: str) -> None:
        self.page.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def serious(self) -> dict[str, list[dict[str, Any]]]:
        """What axe found to be serious, by page and colours."""
        return {where: found for where, found in self.found.items() if found}

    def _look(self, name: str) -> None:
        for scheme in ("dark", "light"):
            self.page.prefer_dark(scheme == "dark")
            self.found[f"{name}, {scheme}"] = self._axe()
        self.seen(name)

    def _axe(self) -> list[dict[str, Any]]:
        if not self.page.evaluate("typeof axe === 'object'"):
            self.page.evaluate((node_packages([AXE]) / "node_modules" / "axe-core" / "axe.min.js").read_text() + "; 0")
        options = json.dumps({"runOnly": {"type": "tag", "values": _RULES}, "resultTypes": ["violations"]})
        script = (
            f"axe.run(document, {options}).then(found => found.violations.map(one => "
            "({id: one.id, impact: one.impact, help: one.help, nodes: one.nodes.map(node => node.html).slice(0, 5)})))"
        )
        return [one for one in self.page.evaluate(script) if one["impact"] in SERIOUS]

    def _progress(self) -> str:
        return str(self.page.evaluate("document.querySelector('#progress').outerHTML.slice(0, 300)"))

    def _wait_for(self, condition: str, what: str) -> None:
        eventually(lambda: self.page.holds(f"document.readyState === 'complete' && ({condition})"), what)
