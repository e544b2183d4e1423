"""A person's browser without a window or script: it keeps cookies, follows redirects by hand, and sends forms."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

import httpx

from tests.gateway.place import Gateway
from tests.stack_driver import PATIENCE_SECONDS

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


class Browser:
    """One browser of one person."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.form_token = ""

    async def open(self, path: str, **headers: str) -> httpx.Response:
        """Open a path; the token of its forms is remembered."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        shown = await self.client.get(path, headers={**BROWSER, **named})
        if found := _FORM_TOKEN.search(shown.text):
            self.form_token = found[1]
        return shown

    async def send(
        self, path: str, fields: Mapping[str, str] | None = None, *, form_token: str | None = None, **headers: str
    ) -> httpx.Response:
        """Send a form of the page that was opened last."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        token = self.form_token if form_token is None else form_token
        given = {"form_token": token, **(fields or {})}
        origin = {"Origin": str(self.client.base_url).rstrip("/")}
        return await self.client.post(path, data=given, headers={**BROWSER, **origin, **named})

    async def upload(self, *files: tuple[str, bytes], path: str = "/upload", **fields: str) -> httpx.Response:
        """Send files with the form of the start page."""
        parts: list[tuple[str, Any]] = [("form_token", (None, self.form_token))]
        parts += [(name, (None, value)) for name, value in fields.items()]
        parts += [("files", (name, content)) for name, content in files]
        return await self.client.post(path, files=parts, headers=BROWSER)

    async def sign_in(self, key: str, then: str = "/") -> httpx.Response:
        """Send the form of the sign-in page, and open the start page for the token of its forms."""
        answer = await self.send("/sign-in", {"key": key, "next": then})
        if answer.status_code == 303:
            await self.open("/")
        return answer


@asynccontextmanager
async def browsing(gateway: Gateway, *scopes: str, signed_in: bool = True) -> AsyncGenerator[Browser]:
    """A browser at the gateway, signed in with a new key that has *scopes*, by default all."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=PATIENCE_SECONDS) as client:
        browser = Browser(client)
        if signed_in:
            answer = await browser.sign_in(await gateway.key(*scopes))
            assert answer.status_code == 303, answer.text
        yield browser


def shown_text(response: httpx.Response) -> str:
    """The text of a page without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.text)).split())
