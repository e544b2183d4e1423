"""Whom the local Prefect server answers: by Host, by the page that a browser shows, and by the credential."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from blocks.errors import InvalidSettings
from waybill.stack.prefect_guard import PrefectGuard, allowed_origins, guarded

CREDENTIAL = "waybill:random"
OWN = "http://127.0.0.1:4200"


def basic(credential: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(credential.encode()).decode()}


GOOD = basic(CREDENTIAL)


def _answer(_: object) -> PlainTextResponse:
    return PlainTextResponse("answered")


async def _talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("answered")
    await websocket.close()


@pytest.fixture(scope="module")
def client() -> TestClient:
    """The guard in front of an app of the shape of Prefect's: documentation, the API and the UI."""
    methods = ["GET", "HEAD", "POST", "OPTIONS"]
    api = Starlette(routes=[WebSocketRoute("/events/in", _talk), Route("/{rest:path}", _answer, methods=methods)])
    ui = Starlette(routes=[Route("/{rest:path}", _answer, methods=methods)])
    documentation = [Route("/docs", _answer), Route("/openapi.json", _answer)]
    app = Starlette(routes=[*documentation, Mount("/api", api), Mount("/", ui)])
    app = guarded(app, credential=CREDENTIAL, origins=allowed_origins(4200, "https://ui.example.org"))
    return TestClient(app, base_url=OWN)


def status(client: TestClient, path: str, method: str = "GET", **headers: str) -> int:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    return client.request(method, path, headers=sent).status_code


@pytest.mark.parametrize(
    "path", ["/api/health", "/api/ready", "/", "/runs/flow-run/1", "/assets/index.js", "/ui-settings"]
)
def test_health_and_the_files_of_the_ui_need_no_credential(client: TestClient, path: str) -> None:
    assert (status(client, path), status(client, path, "HEAD")) == (200, 200)
    assert status(client, path, "POST") == 401


@pytest.mark.parametrize(
    "path",
    ["/api/", "/api", "/api/version", "/api/admin/settings", "/api/health/", "/api/x/health", "/docs", "/openapi.json"],
)
def test_everything_else_needs_it(client: TestClient, path: str) -> None:
    assert status(client, path) == 401
    assert status(client, path, **GOOD) in {200, 307, 404}


@pytest.mark.parametrize(
    "sent",
    ["", "Basic", "Basic ", "Basic !", "Basic d2F5YmlsbDpyYW5kb20", "Bearer waybill:random", "Basic waybill:random",
     basic("waybill:rando")["authorization"], basic("waybill:random ")["authorization"], basic(":")["authorization"],
     basic("waybill:ränd")["authorization"], "Bearer " + base64.b64encode(CREDENTIAL.encode()).decode()],
)  # fmt: skip
def test_another_credential_is_refused(client: TestClient, sent: str) -> None:
    answer = client.post("/api/flows/count", headers={"authorization": sent})
    assert (answer.status_code, answer.json()) == (401, {"exception_message": "Unauthorized"})


def test_two_credentials_are_none(client: TestClient) -> None:
    value = GOOD["authorization"]
    assert client.get("/api/version", headers=[("authorization", value), ("authorization", value)]).status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "LOCALHOST:4200", "[::1]:4200", "ui.example.org"])
def test_its_own_addresses_are_answered(client: TestClient, host: str) -> None:
    assert status(client, "/api/health", host=host) == 200
    assert status(client, "/api/version", host=host, **GOOD) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4200", "127.0.0.1", "127.0.0.1:4201", "localhost", "127.0.0.1.evil.example:4200", "",
     "127.0.0.1:4200@evil.example", "0.0.0.0:4200", "localhost.:4200"],
)  # fmt: skip
def test_another_host_is_refused_whatever_the_credential(client: TestClient, host: str) -> None:
    for path in ("/api/health", "/", "/api/version"):
        assert status(client, path, host=host, **GOOD) == 421


def test_origins_are_compared_as_browsers_send_them() -> None:
    assert allowed_origins(80)[:2] == ("http://127.0.0.1", "http://localhost")
    more = "https://UI.example.org:443/ , http://ui.example.org:8080,*,"
    assert allowed_origins(4200, more)[3:] == ("https://ui.example.org", "http://ui.example.org:8080")


@pytest.mark.parametrize(
    "given",
    ["ui.example.org", "https://", "http://:80", "null", "file:///tmp", "https://a.example/path", "https://*:x", "http://[",
     "https://user@a.example", "https://a.example?x"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(InvalidSettings, match="PREFECT_SERVER_CORS_ALLOWED_ORIGINS"):
        allowed_origins(4200, given)


@pytest.mark.parametrize("host", [[], [("host", "")], [("host", "127.0.0.1:4200"), ("host", "127.0.0.1:4200")]])
async def test_a_request_without_one_host_is_refused(host: list[tuple[str, str]]) -> None:
    said: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def app(*_: object) -> None:
        raise AssertionError("it has reached Prefect")

    sent = [(name.encode(), value.encode()) for name, value in (*host, *GOOD.items())]
    guard = PrefectGuard(app, credential=CREDENTIAL, origins=allowed_origins(4200), routes=[])
    await guard({"type": "http", "method": "GET", "path": "/api/version", "headers": sent}, receive, send)
    assert said[0]["status"] == 421


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:4201", "http://localhost", "https://127.0.0.1:4200", "file://",
     "", "http://ui.example.org"],
)  # fmt: skip
def test_another_page_is_refused_whatever_the_credential(client: TestClient, origin: str) -> None:
    for path, method in (
        ("/api/health", "GET"),
        ("/", "GET"),
        ("/api/flows/count", "POST"),
        ("/api/flows/count", "OPTIONS"),
    ):
        assert status(client, path, method, origin=origin, access_control_request_method="POST", **GOOD) == 403


@pytest.mark.parametrize("origin", [OWN, "http://localhost:4200", "http://[::1]:4200", "https://ui.example.org"])
def test_the_ui_s_own_pages_are_answered(client: TestClient, origin: str) -> None:
    assert status(client, "/api/flows/count", "POST", origin=origin, **GOOD) == 200
    assert status(client, "/api/flows/count", "POST", origin=origin) == 401
    assert status(client, "/api/flows/count", "OPTIONS", origin=origin, access_control_request_method="POST") == 200


def test_a_browser_that_names_no_origin_says_where_it_comes_from(client: TestClient) -> None:
    for site in ("cross-site", "same-site"):
        for mode, kind in (("no-cors", "script"), ("no-cors", "image"), ("navigate", "iframe")):
            assert status(client, "/", sec_fetch_site=site, sec_fetch_mode=mode, sec_fetch_dest=kind) == 403
        # A link to the UI on another page.
        assert status(client, "/", sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest="document") == 200
    for site in ("same-origin", "none"):
        assert status(client, "/", sec_fetch_site=site, sec_fetch_mode="no-cors", sec_fetch_dest="script") == 200


def test_nobody_shows_the_ui_inside_of_another_page(client: TestClient) -> None:
    for path in ("/", "/api/version"):
        headers = client.get(path).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"] == "frame-ancestors 'none'"
        assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}])
def test_a_websocket_of_another_page_or_host_is_refused(client: TestClient, headers: dict[str, Any]) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/events/in", headers=headers):
        pass


def test_a_websocket_of_a_program_or_of_the_ui_reaches_prefect_which_asks_for_the_credential(
    client: TestClient,
) -> None:
    for headers in ({"host": "127.0.0.1:4200"}, {"host": "127.0.0.1:4200", "origin": OWN}):
        with client.websocket_connect("/api/events/in", headers=headers) as websocket:
            assert websocket.receive_text() == "answered"
