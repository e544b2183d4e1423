"""The page's frame: sign-in, sessions, forms of other sites, headers, and errors as pages for browsers alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from blocks.access import Actor, end_session, is_session_ended
from blocks.links import LinkKeys
from blocks.runtime.clock import utc_now
from tests.gateway import Gateway, running_gateway
from tests.gateway.browsing import BROWSER, browsing, shown_text
from waybill.gateway.access import WRONG_KEYS_PER_MINUTE
from waybill.gateway.http.rate_limit import RateLimit
from waybill.gateway.pages.sessions import SESSION_LASTS, Sessions
from waybill.gateway.pages.visitors import own_path
from waybill.services.api_keys import revoke_api_key

# At once, so that no time passes in which the limit would be lifted.
MANY = 2 * WRONG_KEYS_PER_MINUTE
PUBLIC = "https://waybill.example.org"


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


async def test_without_a_session_every_page_leads_to_the_sign_in_page_and_back(gateway: Gateway) -> None:
    async with browsing(gateway, signed_in=False) as browser:
        start = await browser.open("/")
        assert (start.status_code, start.headers["location"]) == (303, "/sign-in")
        asked = await browser.open("/runs?state=failed")
        assert asked.headers["location"] == "/sign-in?next=%2Fruns%3Fstate%3Dfailed"
        page = await browser.open(asked.headers["location"])
        assert page.status_code == 200 and 'value="/runs?state=failed"' in page.text
        answer = await browser.send("/sign-in", {"key": await gateway.key(), "next": "/runs?state=failed"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs?state=failed")
        assert (await browser.open("/")).status_code == 200


async def test_the_cookie_holds_no_key_and_no_other_page_or_script_gets_it(gateway: Gateway) -> None:
    key = await gateway.key()
    async with browsing(gateway, signed_in=False) as browser:
        answer = await browser.sign_in(key)
        cookie = answer.headers["set-cookie"]
        flags = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/", f"max-age={int(SESSION_LASTS.total_seconds())}"} <= flags
        assert "secure" not in flags and not any(flag.startswith("domain") for flag in flags)
        assert key not in cookie and key.rpartition("_")[2] not in cookie
        # The API takes the key alone: neither the cookie nor what is in it, in any place.
        (token,) = browser.client.cookies.values()
        for refused in (
            await browser.client.get("/api/v1/files/list"),
            await browser.client.get("/api/v1/files/list", headers={"Authorization": f"Bearer {token}"}),
        ):
            assert refused.status_code == 401
        artifact = await gateway.put()
        linked = await browser.client.get(f"/api/v1/files/download/{artifact.file_id}?token={token}")
        assert linked.status_code == 403


async def test_over_https_the_cookie_is_secure_and_for_this_host_alone(database_url: str, tmp_path: Path) -> None:
    async with running_gateway(database_url, tmp_path / "home", public_url=PUBLIC) as gateway:
        behind_proxy = {"Host": "127.0.0.1:8000", "Origin": PUBLIC}
        form = {"key": await gateway.key(), "next": "/"}
        answer = await gateway.client.post("/sign-in", data=form, headers={**BROWSER, **behind_proxy})
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        assert cookie.startswith("__Host-waybill-") and "; Secure" in cookie and "Domain" not in cookie
        name, _, rest = cookie.partition("=")
        session = {"Cookie": f"{name}={rest.partition(';')[0]}"}
        assert (await gateway.client.get("/", headers={**BROWSER, **session})).status_code == 200
        # A browser that opened the page over http would lose the cookie: it is told so, and not sent in circles.
        plain = {"Host": "waybill.example.org", "Origin": "http://waybill.example.org"}
        refused = await gateway.client.post("/sign-in", data=form, headers={**BROWSER, **plain})
        assert refused.status_code == 403 and "https alone" in shown_text(refused)


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "",
        "/%0d%0aSet-Cookie: a=b\r\n", "/a\nb", "/ evil", "/sign-out", "/sign-in?next=/sign-in", "/api/v1/files/list",
        "http:evil.example", "///evil.example", "/\tevil", "evil.example",
    ],
)  # fmt: skip
async def test_signing_in_leads_nowhere_else(gateway: Gateway, path: str) -> None:
    assert own_path(path) == "/" or path.startswith("/%0d")
    async with browsing(gateway, signed_in=False) as browser:
        answer = await browser.send("/sign-in", {"key": await gateway.key(), "next": path})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/" and "a=b" not in str(answer.headers)


async def test_forms_of_other_sites_and_sessions_do_nothing(gateway: Gateway) -> None:
    key = await gateway.key()
    async with browsing(gateway) as browser, browsing(gateway) as other:
        for headers in (
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": gateway.url.replace("http:", "http://evil.example/?")},
        ):
            refused = await browser.send("/sign-in", {"key": key}, **headers)
            assert (refused.status_code, "set-cookie" in refused.headers) == (403, False), headers
            refused = await browser.send("/sign-out", **headers)
            assert (refused.status_code, "another site" in refused.text) == (403, True), headers
        for token in (other.form_token, "", "0" * 64, "é"):
            refused = await browser.send("/sign-out", form_token=token)
            assert (refused.status_code, "earlier session" in refused.text) == (403, True)
        assert (await browser.open("/")).status_code == 200
        assert (await browser.send("/sign-out")).status_code == 303


async def test_each_sign_in_is_a_new_session_and_signing_out_ends_it_for_good(gateway: Gateway) -> None:
    key = await gateway.key()
    async with browsing(gateway, signed_in=False) as browser:
        await browser.sign_in(key)
        ((name, first),) = browser.client.cookies.items()
        await browser.sign_in(key)
        (second,) = browser.client.cookies.values()
        assert first != second
        await browser.send("/sign-out")
        assert list(browser.client.cookies) == []
        for kept in (first, second):
            answer = await gateway.client.get("/", headers={**BROWSER, "Cookie": f"{name}={kept}"})
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_a_session_that_was_signed_out_at_one_gateway_opens_no_page_of_another(
    gateway: Gateway, database_url: str, tmp_path: Path
) -> None:
    async with running_gateway(database_url, tmp_path / "home") as other, browsing(gateway) as browser:
        (token,) = browser.client.cookies.values()
        name, form = Sessions(LinkKeys(tmp_path / "none"), other.url).cookie_name, {"form_token": browser.form_token}
        copied = {**BROWSER, "Cookie": f"{name}={token}"}
        assert (await other.client.get("/documents", headers=copied)).status_code == 200
        await browser.send("/sign-out")
        answer = await other.client.get("/documents", headers=copied)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fdocuments")
        sent = await other.client.post("/sign-out", headers=copied, data=form)
        assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in")
        assert "Sign out" not in (await other.client.get("/nothing-here", headers=copied)).text


async def test_ended_sessions_are_forgotten_when_they_have_expired(gateway: Gateway) -> None:
    now = utc_now()
    async with gateway.custody.catalog.transaction() as connection:
        await end_session(connection, "old", now - timedelta(days=2))
        await end_session(connection, "new", now + SESSION_LASTS)
        await end_session(connection, "new", now + SESSION_LASTS)
        assert not await is_session_ended(connection, "old")
        assert await is_session_ended(connection, "new") and not await is_session_ended(connection, "other")


async def test_a_revoked_key_ends_its_sessions_at_once(gateway: Gateway) -> None:
    key = await gateway.key()
    async with browsing(gateway, signed_in=False) as browser:
        await browser.sign_in(key)
        assert (await browser.open("/")).status_code == 200
        async with gateway.custody.catalog.transaction() as connection:
            await revoke_api_key(connection, key.split("_")[1], by=Actor(actor="cli:a test"))
        assert (await browser.open("/")).headers["location"] == "/sign-in"
        part = await browser.open("/runs/0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a/progress", HX_Request="true")
        assert part.status_code == 401 and part.headers["hx-redirect"].startswith("/sign-in?next=%2Fruns%2F")
        refused = await browser.sign_in(key)
        assert refused.status_code == 401 and "revoked or expired" in shown_text(refused)


def test_a_session_ends_after_its_time_and_with_the_signing_keys(tmp_path: Path) -> None:
    now = utc_now()
    keys = LinkKeys(tmp_path / "link-keys", clock=lambda: now)
    sessions = Sessions(keys, "http://127.0.0.1:8000", clock=lambda: now)
    session = sessions.begin("0123456789ab")
    assert sessions.read(session.token) == session
    assert sessions.read(session.token[:-2] + "xx") is None and sessions.read("x" * 5000) is None
    assert Sessions(LinkKeys(tmp_path / "others"), "http://127.0.0.1:8000").read(session.token) is None
    now += SESSION_LASTS - timedelta(seconds=2)
    assert sessions.read(session.token) is not None
    now += timedelta(seconds=2)
    assert sessions.read(session.token) is None
    again = sessions.begin("0123456789ab")
    keys.rotate(revoke=True)
    assert sessions.read(again.token) is None


async def test_wrong_keys_are_counted_like_those_of_the_api(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # One more may come each second, and a busy machine takes that long for some of these.
    monkeypatch.setattr(gateway.resources.gate, "_wrong_keys", RateLimit(lambda: 0.0))
    async with browsing(gateway, signed_in=False) as browser:
        sign_in = (browser.send("/sign-in", {"key": f"wb_{number:012x}_{'0' * 64}"}) for number in range(MANY))
        answers = await asyncio.gather(*sign_in)
        assert {answer.status_code for answer in answers} == {401, 429}
        for answer in answers:
            is_wrong = answer.status_code == 401
            assert ("Unknown API key" if is_wrong else "Too many requests") in shown_text(answer)
            assert is_wrong or int(answer.headers["retry-after"]) >= 1
        assert (await browser.sign_in(await gateway.key())).status_code == 303


async def test_the_headers_of_every_page_allow_nothing_from_elsewhere(gateway: Gateway) -> None:
    async with browsing(gateway) as browser:
        for path in ("/", "/sign-in", "/nothing-here"):
            headers = (await browser.open(path)).headers
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'" == policy["style-src"]
            assert policy["frame-ancestors"] == "'none'" and policy["form-action"] == "'self'"
            assert "unsafe" not in headers["content-security-policy"] and policy["base-uri"] == "'none'"
            assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "private, no-store" and headers["referrer-policy"] == "same-origin"
        text = (await browser.open("/")).text
        assert "<style" not in text and " style=" not in text and " onclick" not in text


async def test_what_belongs_to_the_page_is_served_to_every_client(gateway: Gateway) -> None:
    async with browsing(gateway, signed_in=False) as browser:
        page = (await browser.open("/sign-in")).text
        for name in ("page.css", "page.js", "htmx-2.0.11.min.js", "mark.svg"):
            address = next(part for part in page.split('"') if f"/static/{name}" in part)
            found = await browser.open(address)
            assert found.status_code == 200 and "immutable" in found.headers["cache-control"]
            assert (await browser.open(address, If_None_Match=found.headers["etag"])).status_code == 304
        for path in ("/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/none.css", "/static/"):
            assert (await browser.open(path)).status_code == 404, path
        assert (await browser.open("/favicon.ico")).headers["content-type"] == "image/x-icon"
        assert (await browser.open("/robots.txt")).text == "User-agent: *\nDisallow: /\n"


async def test_browsers_get_errors_as_pages_and_programs_as_json(gateway: Gateway) -> None:
    async with browsing(gateway) as browser:
        page = await browser.open("/nothing-here")
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "There is nothing here" in page.text and "Sign out" in page.text
        wrong = await browser.client.put("/", headers=BROWSER)
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
        for path in ("/api/v1/nothing", "/api/v1/files/list", "/nothing-here"):
            accept = BROWSER if path.startswith("/api") else {"Accept": "*/*"}
            answer: httpx.Response = await browser.client.get(path, headers=accept)
            assert answer.headers["content-type"] == "application/json" and answer.json()["error"]["code"]


async def test_an_unexpected_error_is_a_page_that_says_nothing_of_the_inside(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    async with browsing(gateway) as browser:
        monkeypatch.setattr("waybill.gateway.pages.routes.home.why_nothing_runs", broken)
        page = await browser.open("/")
        assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
        assert "a secret" not in page.text and "RuntimeError" not in page.text and "x-request-id" in page.headers


async def test_the_start_page_shows_what_a_key_may_do_and_that_prefect_is_away(gateway: Gateway) -> None:
    async with browsing(gateway, "read") as reader, browsing(gateway, "write") as writer:
        read, wrote = await reader.open("/"), await writer.open("/")
        for page in (read, wrote):
            assert "Prefect does not answer" in page.text and 'action="/upload"' not in page.text
        assert 'href="/documents"' in read.text and "lacks the scope" in shown_text(read)
        assert 'href="/documents"' not in wrote.text
