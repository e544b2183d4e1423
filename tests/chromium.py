"""A real browser without a window: Chromium, driven through its DevTools protocol.

Names in the internet are not resolved: what a test shows is served on this machine, under any name it gives.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.stack_driver import PATIENCE_SECONDS, eventually

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# How the browser says that the page is gone that was to run a script.
_BETWEEN_PAGES = ("navigated or closed", "context was destroyed", "Cannot find context", "Cannot find default")

# The middle of an element, after it was moved into sight.
_BOX = """selector => {
    const element = document.querySelector(selector);
    element.scrollIntoView({block: "center"});
    const box = element.getBoundingClientRect();
    return {x: box.x + box.width / 2, y: box.y + box.height / 2};
}"""


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)
        self._events: list[dict[str, Any]] = []

    def open(self, url: str) -> None:
        """Go to *url* and wait until it is loaded."""
        self._call("Page.navigate", url=url)
        eventually(lambda: self.holds("document.readyState === 'complete'"), f"{url} is loaded")

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise's, when it has one."""
        found = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def holds(self, condition: str) -> bool:
        """Whether a JavaScript condition is true on the page now; it is not while one page makes way for another."""
        answer = self._answer("Runtime.evaluate", expression=f"Boolean({condition})", returnByValue=True)
        if "error" in answer and any(said in answer["error"]["message"] for said in _BETWEEN_PAGES):
            return False
        assert "error" not in answer and "exceptionDetails" not in answer["result"], answer
        return answer["result"]["result"]["value"] is True

    def text(self) -> str:
        """What the page shows."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def type(self, text: str) -> None:
        """Type into the field that has the focus."""
        self._call("Input.insertText", text=text)

    def prefer_dark(self, chosen: bool = True) -> None:
        """Show pages as for a person who has chosen dark colours, or light ones."""
        scheme = "dark" if chosen else "light"
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def resize(self, width: int, height: int) -> None:
        """Show pages in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def screenshot(self) -> bytes:
        """What the window shows, as PNG."""
        return b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def listen(self) -> None:
        """From now on, keep what `complaints` returns."""
        self._call("Log.enable")
        self._call("Runtime.enable")

    def complaints(self) -> list[str]:
        """What the browser had to say of the pages so far: violations of their policy, errors of scripts."""
        self._call("Runtime.evaluate", expression="0")  # what was said before arrives first
        entries = [event["params"]["entry"] for event in self._events if event["method"] == "Log.entryAdded"]
        thrown = [event["params"] for event in self._events if event["method"] == "Runtime.exceptionThrown"]
        return [entry["text"] for entry in entries if entry["level"] == "error"] + [str(one) for one in thrown]

    def drop(self, selector: str, *files: Path) -> None:
        """Drop *files* on the element, as from a file manager."""
        box = self.evaluate(f"(({_BOX}))({json.dumps(selector)})")
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._call("Input.dispatchDragEvent", type=kind, x=box["x"], y=box["y"], data=data)

    def download_to(self, folder: Path) -> None:
        """Save downloads in *folder* without a question."""
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def press(self, key: str) -> None:
        """Press a key that types nothing, such as Tab."""
        for kind in ("rawKeyDown", "keyUp"):
            codes = {"Tab": 9, "Escape": 27}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key])

    def press_enter(self) -> None:
        """Press the key in the field that has the focus."""
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
            )

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        answer = self._answer(method, **parameters)
        assert "error" not in answer, answer
        return answer["result"]

    def _answer(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(PATIENCE_SECONDS))
            if "method" in answer:
                self._events.append(answer)
            elif answer.get("id") == number:
                return answer


def _tabs(port: int) -> list[dict[str, Any]]:
    found = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE_SECONDS).json()
    return [tab for tab in found if tab["type"] == "page"]


@contextmanager
def browser_page(*names: str) -> Generator[Page]:
    """An empty tab of a new browser, in which *names* lead to this machine. Without one, the test is skipped."""
    program = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("Chromium is not installed; 'make test' installs it where it may")
    profile = Path(tempfile.mkdtemp(prefix="waybill-chromium-"))
    rules = [*(f"MAP {name} 127.0.0.1" for name in names), "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE localhost"]
    process = subprocess.Popen(
        [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-dev-shm-usage", "--remote-debugging-port=0",
            f"--user-data-dir={profile}", f"--host-resolver-rules={', '.join(rules)}", "about:blank",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        told = profile / "DevToolsActivePort"
        eventually(lambda: told.exists() and told.read_text().count("\n") == 1, "the browser listens")
        port = int(told.read_text().split()[0])
        eventually(lambda: _tabs(port), "the browser has its tab")
        (tab,) = _tabs(port)
        # Without pings: a browser that has no processor for some seconds is not gone.
        with connect(
            tab["webSocketDebuggerUrl"], max_size=None, open_timeout=PATIENCE_SECONDS, ping_interval=None
        ) as connection:
            yield Page(connection)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
        shutil.rmtree(profile, ignore_errors=True)
