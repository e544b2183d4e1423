"""Who reaches what `waybill up` listens on: another account of this machine, and a web page of another origin.

The table of ``docs/security.md`` names every listener; a new one without a row fails here.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.acceptance.listening import (
    Listener,
    answer_to_garbage,
    as_nobody,
    connects,
    listeners_of,
    prefect_routes,
    status_of,
)
from tests.chromium import browser_page
from tests.served_on_loopback import served_on_loopback
from tests.stack_driver import PATIENCE_SECONDS, eventually, prefect_login, processes_of

pytestmark = WITH_UP

_ROOT = Path(__file__).parents[2]
_AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another account needs root")
_ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
# What Prefect's app answers next to its API.
_DOCUMENTATION = ("/docs", "/redoc", "/openapi.json", "/api/docs", "/api/redoc", "/api/openapi.json", "/api/static/x")

# Every way a page has to reach another origin: a request whose answer it may read, one that it may only send, a
# websocket, a script. Each says what it got; "" for nothing.
_ATTACK = """
Promise.all([
  ...TARGETS.map(url => fetch(url).then(a => a.text().then(t => url + ' read: ' + a.status + t), () => '')),
  ...TARGETS.map(url => fetch(url, {method: 'POST', headers: {'content-type': 'application/json'}, body: '{}'})
    .then(a => url + ' posted: ' + a.status, () => '')),
  ...TARGETS.map(url => fetch(url, {mode: 'no-cors', method: 'POST', body: BODY}).then(() => '', () => '')),
  ...SOCKETS.map(url => new Promise(done => {
    const socket = new WebSocket(url, ['prefect']);
    socket.onopen = () => done(url + ' is open'); socket.onerror = () => done('');
  })),
  ...SCRIPTS.map(url => new Promise(done => {
    const script = document.createElement('script'); script.src = url;
    script.onload = () => done(url + ' is run'); script.onerror = () => done('');
    document.body.append(script);
  })),
]).then(all => all.filter(one => one))
"""


def rows_of_the_page() -> list[str]:
    """The names of the listeners in the table of the page."""
    section = (_ROOT / "docs" / "security.md").read_text().partition("## Who can reach what")[2].partition("###")[0]
    return [name for name in re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE) if name not in {"listener", "---"}]


@pytest.fixture(scope="module")
def listeners(waybill: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> set[Listener]:
    """What the running stack listens on while it processes a document."""
    login = prefect_login(waybill.home)
    (server,) = [one for one in listeners_of(waybill.home) if one.name == "Prefect server"]
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}/api", auth=login, timeout=PATIENCE_SECONDS) as prefect:
        deployment = prefect.get("/deployments/name/process-documents/waybill").json()["id"]
        folder = tmp_path_factory.mktemp("listeners")
        found = set[Listener]()
        deadline = time.monotonic() + PATIENCE_SECONDS
        # Its workers live for a second or so: on a busy machine they may be missed, and the next run has others.
        while not any(one.name == "worker processes" for one in found):
            assert time.monotonic() < deadline, "no run was seen to have workers"
            document = folder / f"{time.monotonic_ns()}.md"
            document.write_text(f"# A document\n\nOf {document.name}.\n")
            given = {"parameters": {"sources": [str(document)], "stages": [1]}}
            run = prefect.post(f"/deployments/{deployment}/create_flow_run", json=given).json()["id"]
            while prefect.get(f"/flow_runs/{run}").json()["state_type"] not in _ENDED:
                if not any(one.name == "worker processes" for one in found):
                    found |= listeners_of(waybill.home)
                time.sleep(0.1)
    return found


def one(listeners: set[Listener], name: str) -> Listener:
    return next(each for each in listeners if each.name == name)


def test_the_page_names_every_listener_and_no_other(listeners: set[Listener]) -> None:
    assert {each.name for each in listeners} == set(rows_of_the_page())
    assert {each.address for each in listeners if each.port} == {"127.0.0.1"}, "nothing listens on a network"
    assert not [each for each in listeners if each.address.startswith("@")], "an abstract name is open to every account"


@_AS_ROOT
def test_another_account_opens_no_socket_and_reads_no_file(waybill: CommandLine, listeners: set[Listener]) -> None:
    paths = sorted(each.address for each in listeners if not each.port)
    # Those of workers are gone with their run; their folder had the mode 0700, as the one that is there.
    postgres = one(listeners, "Postgres").address
    assert postgres in paths
    assert as_nobody(lambda: connects(postgres)) == "PermissionError"
    # Postgres and the processes of runs make and remove files all the time: a folder that is gone has none.
    kept = [str(Path(parent, name)) for parent, *names in os.walk(waybill.home) for name in chain(*names)]
    assert len(kept) > 10

    def opened() -> list[str]:
        found: list[str] = []
        for path in (str(waybill.home), *kept):
            with suppress(OSError):
                os.close(os.open(path, os.O_RDONLY))
                found.append(path)
        return found

    assert as_nobody(opened) == []


@_AS_ROOT
def test_no_secret_is_on_a_command_line_or_in_an_environment_that_another_account_reads(waybill: CommandLine) -> None:
    names = ("prefect-api-auth", "api-key", "storage-identity", "link-keys")
    secrets = [word for name in names for word in (waybill.home / name).read_text().split() if len(word) > 30]
    pids = [int(line.split()[0]) for line in processes_of(waybill.home)]

    def read() -> str:
        found = ""
        for pid in pids:
            for name in ("cmdline", "environ"):
                with suppress(OSError):
                    found += Path(f"/proc/{pid}/{name}").read_text(errors="replace")
        return found

    found = as_nobody(read)
    assert "waybill.stack.prefect_process" in found
    assert [secret for secret in secrets if secret in found] == []


@_AS_ROOT
def test_another_account_gets_health_from_prefect_and_nothing_else(listeners: set[Listener]) -> None:
    port = one(listeners, "Prefect server").port
    routes = [*prefect_routes(), *(("GET", path) for path in _DOCUMENTATION)]
    assert len(routes) > 150
    found = as_nobody(lambda: [(method, path, status_of(port, method, path)) for method, path in routes])
    refused = {"WEBSOCKET": 403}
    assert [each for each in found if each[2] != refused.get(each[0], 401)] == [["GET", "/api/ready", 200]]
    free = as_nobody(lambda: [status_of(port, "GET", path) for path in ("/api/health", "/ui-settings", "/")])
    assert free == [200, 200, 200]


def test_a_websocket_of_prefect_says_nothing_without_the_credential(
    waybill: CommandLine, listeners: set[Listener]
) -> None:
    port = one(listeners, "Prefect server").port
    paths = [path for method, path in prefect_routes() if method == "WEBSOCKET"]
    assert len(paths) >= 5

    def answer(path: str, token: str) -> str:
        address = f"ws://127.0.0.1:{port}{path}"
        with connect(address, subprotocols=["prefect"], open_timeout=PATIENCE_SECONDS) as client:  # type: ignore[list-item]
            client.send(json.dumps({"type": "auth", "token": token}))
            try:
                return str(client.recv(PATIENCE_SECONDS))
            except ConnectionClosed:
                return ""

    for path in paths:
        for token in ("", "waybill:", "null"):
            assert answer(path, token) == ""
        assert "auth_success" in answer(path, ":".join(prefect_login(waybill.home)))


@_AS_ROOT
def test_another_account_gets_nothing_from_the_other_ports(listeners: set[Listener]) -> None:
    gateway, flows = one(listeners, "gateway").port, one(listeners, "flow server").port
    paths = ("/health", "/ready", "/metrics", "/api/v1/files/list", "/api/v1/audit")
    # What it needs must answer within three seconds: on a busy machine it is ready a moment later.
    eventually(lambda: as_nobody(lambda: status_of(gateway, "GET", "/ready")) == 200, "the gateway is ready")
    statuses = as_nobody(lambda: [status_of(gateway, "GET", path) for path in paths])
    assert [statuses[0], *statuses[2:]] == [200, 401, 401, 401]
    assert statuses[1] in {200, 503}
    assert as_nobody(lambda: answer_to_garbage(flows)) == ""


def test_the_credential_is_shown_by_its_path_alone_and_is_in_no_log(waybill: CommandLine) -> None:
    said = (waybill.home / "up.log").read_text()
    assert str(waybill.home / "prefect-api-auth") in said
    assert ("running as root" in said) == (os.geteuid() == 0)
    _, password = prefect_login(waybill.home)
    logs = [waybill.home / "up.log", *(waybill.home / "logs").iterdir()]
    assert [log.name for log in logs if password in log.read_text(errors="replace")] == []


@pytest.mark.parametrize("one", ["PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"])
def test_one_half_of_a_credential_is_refused_before_anything_starts(alone: CommandLine, one: str) -> None:
    other = ({"PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"} - {one}).pop()
    for command in (("up", "--port", "0"), ("status", "00000000-0000-0000-0000-000000000000")):
        refused = alone.with_environment(**{one: "me:secret"}).run(*command, expect=2).stderr
        assert f"{one} is set without {other}" in refused
        assert "Traceback" not in refused
        assert "secret" not in refused
    assert not (alone.home / "postgres").exists()


class _EvilPage(BaseHTTPRequestHandler):
    """A page of another origin, and an answer that this page may read: it shows that the browser lets it ask."""

    def do_GET(self) -> None:
        is_script = self.path.endswith(".js")
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
        self.end_headers()
        self.wfile.write(b"1;" if is_script else b"<body>a page</body>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server has
        """Print nothing."""


def port_of(url: str) -> int:
    return httpx.URL(url).port or 0


def is_shown(text: str) -> str:
    """A condition for the page that has the text."""
    return f"document.body && document.body.innerText.includes({json.dumps(text)})"


def attack(*targets: str, sockets: list[str], scripts: list[str], body: str) -> str:
    given = {"TARGETS": list(targets), "SOCKETS": sockets, "SCRIPTS": scripts, "BODY": body}
    constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in given.items())
    return f"(() => {{ {constants} return {_ATTACK.strip()}; }})()"


def test_a_web_page_of_another_origin_gets_nothing_and_the_ui_asks_once(
    waybill: CommandLine, listeners: set[Listener]
) -> None:
    prefect, gateway, flows = (one(listeners, name).port for name in ("Prefect server", "gateway", "flow server"))
    ui, credential = f"http://127.0.0.1:{prefect}", ":".join(prefect_login(waybill.home))
    files = httpx.get(ui, headers={"accept": "text/html"}, timeout=PATIENCE_SECONDS).text
    script = re.search(r'src="(/[^"]+\.js)"', files)
    assert script is not None
    paths = ("/", "/api/health", "/api/version", "/api/work_pools/", "/api/flows/filter", "/ui-settings")
    with served_on_loopback(_EvilPage, port_of) as port, browser_page("evil.example") as page:
        page.open(f"http://evil.example:{port}/")
        open_to_all = f"http://127.0.0.1:{port}/"
        found = page.evaluate(attack(open_to_all, sockets=[], scripts=[f"{open_to_all}x.js"], body=""))
        assert found == [f"{open_to_all} read: 200<body>a page</body>", f"{open_to_all}x.js is run"]
        found = page.evaluate(
            attack(
                *(
                    f"http://{host}:{prefect}{path}"
                    for host in ("127.0.0.1", "localhost", "evil.example")
                    for path in paths
                ),
                *(f"http://127.0.0.1:{gateway}{path}" for path in ("/health", "/ready", "/api/v1/files/list")),
                f"http://127.0.0.1:{flows}/",
                sockets=[f"ws://127.0.0.1:{prefect}/api/events/in", f"ws://evil.example:{prefect}/api/events/out"],
                scripts=[f"{ui}{script[1]}", f"http://127.0.0.1:{gateway}/health"],
                body='{"name": "evil", "type": "process"}',
            )
        )
        assert found == []

        # A name of the page's owner that points to this machine: for the browser, Prefect is of this origin then.
        page.open(f"http://evil.example:{prefect}/")
        assert "this server answers on its own address only" in page.text()
        tried = page.evaluate("fetch('/api/flows/count', {method: 'POST'}).then(a => a.status)")
        assert tried == 421

        # The UI's own page asks, takes the credential, and keeps it.
        page.open(f"{ui}/")
        field = "document.querySelector('input[type=password]')"
        eventually(lambda: page.holds(field), "the UI asks for the credential")
        page.evaluate(f"{field}.focus()")
        page.type(credential)
        page.press_enter()
        eventually(lambda: page.holds(is_shown("Dashboard")), "the UI shows what there is")
        page.open(f"{ui}/deployments")
        # Ten to a page, in no order that is ours.
        flows_of_ui = [flow["name"] for flow in _prefect(waybill, ui, "flows/filter")]
        eventually(lambda: any(page.holds(is_shown(name)) for name in flows_of_ui), "the UI does not ask again")

        # The browser holds the credential now, and still no other page gets anything, not even one of the same host.
        page.open(open_to_all)
        again = [f"{ui}/api/flows/filter", f"{ui}/api/version"]
        sockets = [f"ws://127.0.0.1:{prefect}/api/events/in"]
        assert page.evaluate(attack(*again, sockets=sockets, scripts=[f"{ui}{script[1]}"], body="{}")) == []
    assert "evil" not in {pool["name"] for pool in _prefect(waybill, ui, "work_pools/filter")}


def _prefect(waybill: CommandLine, ui: str, path: str) -> list[dict[str, Any]]:
    login = prefect_login(waybill.home)
    answer = httpx.post(f"{ui}/api/{path}", json={}, auth=login, timeout=PATIENCE_SECONDS)
    return list(answer.raise_for_status().json())
