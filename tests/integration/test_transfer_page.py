"""The page of a transfer's link: what browsers see, what programs get, and that looking begins nothing."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from pathlib import Path

import httpx
import pytest

from blocks.access import Actor
from blocks.age import ScryptRecipient, X25519Identity, identity_file
from blocks.runtime.clock import utc_now
from blocks.transfers.prepare import For, prepare_download, record_download
from tests.chromium import browser_page
from tests.gateway import CONTENT, Gateway, running_gateway
from tests.stack_driver import PATIENCE_SECONDS
from waybill.services.transfers import TRANSFERS_PATH, cancel_transfer, hand_over_file, with_token

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
RECEIVER = X25519Identity.generate()
TESTER = Actor(actor="cli:a test")
# Quotes, tags and a command, in a name.
HOSTILE = 'it\'s <b onload=alert(1)> & `touch x` $(touch y) "q".pdf'


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


async def link_to(gateway: Gateway, name: str = "report.pdf") -> tuple[str, str]:
    """A link and the id of its transfer."""
    artifact = await gateway.put(name=name)
    transfer = await hand_over_file(
        gateway.custody, artifact.file_id, recipients=[RECEIVER.recipient.text], lasts=timedelta(hours=1), by=TESTER
    )
    made = with_token(gateway.resources.transfer_tokens, gateway.url, transfer)
    return f"{made.url}?token={made.token}", transfer.transfer_id


async def state_of(gateway: Gateway, transfer_id: str) -> str:
    answer = await gateway.client.get(f"{TRANSFERS_PATH}/{transfer_id}/status", headers=await gateway.headers("read"))
    return str(answer.json()["state"])


async def test_a_browser_sees_a_page_and_begins_nothing(gateway: Gateway) -> None:
    link, transfer_id = await link_to(gateway)
    for _ in range(3):
        shown = await gateway.client.get(link, headers=BROWSER)
        assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for part in ("report.pdf", "3\u202f145\u202f745 bytes", "UTC", "pending", "age -d -i KEY_FILE"):
        assert part in shown.text
    assert shown.headers["cache-control"] == "private, no-store"
    assert shown.headers["referrer-policy"] == "no-referrer"
    policy = shown.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    assert "<script" not in shown.text and "src=" not in shown.text
    assert set(re.findall(r"https?://[^/\s'\"]+", unescape(shown.text))) == {gateway.url}
    assert await state_of(gateway, transfer_id) == "pending"


@pytest.mark.parametrize("accept", ["*/*", "application/octet-stream", None])
async def test_programs_get_the_bytes_and_so_does_the_link_on_the_page(gateway: Gateway, accept: str | None) -> None:
    link, _ = await link_to(gateway)
    page = (await gateway.client.get(link, headers=BROWSER)).text
    (direct,) = re.findall(r'href="([^"]+)"', page)
    headers = {"Accept": accept} if accept else {}
    got = await gateway.client.get(link, headers={**headers, "Range": "bytes=0-20"})
    assert got.content == b"age-encryption.org/v1"
    clicked = await gateway.client.get(unescape(direct), headers=BROWSER)
    assert clicked.content.startswith(b"age-encryption.org/v1")
    assert clicked.headers["content-disposition"].startswith("attachment")


async def test_what_is_over_or_not_right_is_a_clear_page_with_its_status(gateway: Gateway) -> None:
    link, transfer_id = await link_to(gateway)
    address = link.partition("?")[0]
    other = address.replace(transfer_id, "trf_0000000000000000")
    for url, status, text in (
        (address, 401, "This link is not complete"),
        (f"{address}?token=nonsense", 403, "This link is not valid"),
        (f"{other}?token=nonsense", 404, "There is nothing here"),
    ):
        shown = await gateway.client.get(url, headers=BROWSER)
        assert (shown.status_code, shown.headers["content-type"]) == (status, "text/html; charset=utf-8"), url
        assert text in shown.text and "default-src 'none'" in shown.headers["content-security-policy"]
        plain = await gateway.client.get(url)
        assert (plain.status_code, plain.headers["content-type"]) == (status, "application/json")
    await cancel_transfer(gateway.custody, gateway.resources.event_links, transfer_id, by=TESTER)
    shown = await gateway.client.get(link, headers=BROWSER)
    assert (shown.status_code, "This link does not work any more" in shown.text) == (410, True)
    assert "cancelled" in shown.text


async def test_names_are_text_and_the_commands_are_what_a_shell_may_run(gateway: Gateway, tmp_path: Path) -> None:
    link, _ = await link_to(gateway, HOSTILE)
    page = (await gateway.client.get(link, headers=BROWSER)).text
    assert "<b onload" not in page
    received, with_curl = (unescape(found) for found in re.findall(r"<pre>(.*?)</pre>", page))
    assert shlex.split(received) == ["waybill", "receive", link]
    folder = tmp_path / "shell"
    folder.mkdir()
    (folder / "KEY_FILE").write_text(identity_file(RECEIVER, utc_now()))
    if shutil.which("age") is None or shutil.which("curl") is None:
        pytest.skip("age and curl are needed to run what the page shows")
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", with_curl.replace("curl ", "curl -s ", 1)],
        cwd=folder,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0
    names = {found.name for found in folder.iterdir()}
    assert len(names) == 3 and not names & {"x", "y"}
    (plain,) = (name for name in names if name.endswith(".pdf"))
    assert (folder / plain).read_bytes() == CONTENT


async def test_the_command_for_a_passphrase(gateway: Gateway) -> None:
    artifact = await gateway.put()
    receiver = For(recipients=[ScryptRecipient("a passphrase", log_n=10)], requested_by="cli:a test")
    new = await prepare_download(gateway.custody, artifact, receiver)
    async with gateway.custody.catalog.transaction() as connection:
        transfer = await record_download(connection, new)
    made = with_token(gateway.resources.transfer_tokens, gateway.url, transfer)
    shown = await gateway.client.get(f"{made.url}?token={made.token}", headers=BROWSER)
    assert "age -d -o" in unescape(shown.text) and "the passphrase opens it" in shown.text


async def test_a_real_browser_shows_the_page_in_light_and_dark(gateway: Gateway) -> None:
    link, transfer_id = await link_to(gateway, HOSTILE)

    def look() -> tuple[str, str, str, str]:
        with browser_page() as page:
            page.open(link)
            text = page.text()
            padding = str(page.evaluate("getComputedStyle(document.querySelector('pre')).paddingTop"))
            light = str(page.evaluate("getComputedStyle(document.querySelector('pre')).backgroundColor"))
            page.prefer_dark()
            dark = str(page.evaluate("getComputedStyle(document.querySelector('pre')).backgroundColor"))
            return text, padding, light, dark

    text, padding, light, dark = await asyncio.to_thread(look)
    assert "b onload=alert(1)" in text
    # The policy lets the style through, which it names by its hash.
    assert padding != "0px" and light != dark
    assert await state_of(gateway, transfer_id) == "pending"


async def test_a_head_request_tells_name_and_size_and_begins_nothing(gateway: Gateway) -> None:
    link, transfer_id = await link_to(gateway)
    found: httpx.Response = await gateway.client.head(link, headers=BROWSER)
    assert found.headers["waybill-content-size"] == str(len(CONTENT))
    assert "report.pdf.age" in found.headers["content-disposition"]
    assert await state_of(gateway, transfer_id) == "pending"
