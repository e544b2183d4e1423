"""``waybill webhooks listen`` as a process: it verifies, prints, answers, bears what it is sent, and ends cleanly."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network

import httpx
import pytest

from blocks.webhooks.secrets import new_secret, secret_bytes
from blocks.webhooks.send.address import AddressGuard
from blocks.webhooks.send.client import Attempt, EndpointClient
from tests.stack_driver import PATIENCE_SECONDS
from waybill.services.webhook_listener import _Handler
from waybill.services.webhook_listener import listening as listening_here

SECRET = new_secret()
EVENT = {
    "event_type": "stage_completed",
    "timestamp": "2026-11-20T12:00:00Z",
    "task_id": "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a",
    "source_file": "Bücher.pdf",
    "data": {"progress": 0.5},
}
BODY = json.dumps(EVENT, ensure_ascii=False).encode()
GUARD = AddressGuard((ip_network("127.0.0.0/8"), ip_network("::1/128")))


class Listener:
    """The running command: its lines as they come, and where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert process.stdout is not None and process.stderr is not None
        self.notice = process.stderr.readline()
        assert "listening on" in self.notice, self.notice + process.stderr.read()
        self.url = re.findall(r"http://\S+/", self.notice)[0]
        threading.Thread(target=self._read, daemon=True).start()

    def line(self) -> str:
        return self._lines.get(timeout=PATIENCE_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and what else was complained of."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        complaints = self.process.stderr.read()
        return self.process.wait(PATIENCE_SECONDS), complaints

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))


def started(*arguments: str, secret: str | None = None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    return subprocess.Popen(
        [sys.executable, "-m", "waybill", "webhooks", "listen", "--port", "0", *arguments],
        env=environment | ({"WAYBILL_WEBHOOK_SECRET": secret} if secret else {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@contextmanager
def listening(*arguments: str, secret: str | None = None, stdin: str = "") -> Generator[Listener]:
    with started(*arguments, secret=secret) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.close()
            yield Listener(process)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="module")
def verifying() -> Iterator[Listener]:
    """A listener with a secret that prints JSON."""
    with listening("--json", secret=SECRET) as listener:
        yield listener


async def send(url: str, secret: str = SECRET, body: bytes = BODY) -> Attempt:
    client = EndpointClient(url, guard=GUARD, timeout_seconds=PATIENCE_SECONDS)
    try:
        return await client.send(event_id="evt_1", body=body, keys=[secret_bytes(secret)])
    finally:
        await client.aclose()


async def test_verifies_and_prints_a_line_of_json(verifying: Listener) -> None:
    assert "verifying signatures" in verifying.notice
    attempt = await send(f"{verifying.url}any/path?at=all")
    assert attempt.status == 204
    told = json.loads(verifying.line())
    assert told.pop("received_at").endswith("+00:00")
    assert told == {
        **{name: EVENT[name] for name in ("event_type", "task_id", "source_file")},
        "event_id": "evt_1",
        "verified": True,
        "problem": None,
        "answered": 204,
        "body": EVENT,
    }


async def test_a_wrong_signature_is_answered_401_and_told(verifying: Listener) -> None:
    attempt = await send(verifying.url, new_secret())
    assert attempt.status == 401 and attempt.answer and "no signature matches" in attempt.answer
    told = json.loads(verifying.line())
    assert (told["verified"], told["answered"]) == (False, 401) and "no signature matches" in told["problem"]


def test_what_is_not_signed_at_all_is_told_too(verifying: Listener) -> None:
    assert httpx.post(verifying.url, content=b"{}", timeout=PATIENCE_SECONDS).status_code == 401
    assert "webhook-id" in json.loads(verifying.line())["problem"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", ""),
        (b"not JSON \x1b[31m\xff", "not JSON \x1b[31m\ufffd"),
        (b"[1, 2]", [1, 2]),
        (b'{"event_type": {"a": NaN}, "task_id": 7}', {"event_type": {"a": None}, "task_id": 7}),
        (b'{"event_type": "\\ud800"}', {"event_type": "\ud800"}),
        (b"9" * 5000, "9" * 5000),
    ],
)
async def test_any_body_is_told_in_one_line_of_ascii(verifying: Listener, body: bytes, told: object) -> None:
    assert (await send(verifying.url, body=body)).status == 204
    line = verifying.line()
    assert line.isascii() and json.loads(line)["body"] == told and json.loads(line)["verified"]


@pytest.mark.parametrize("depth", [100, 900, 950, 980, 990, 1000, 200_000])
async def test_deep_bodies_do_not_end_it(verifying: Listener, depth: int) -> None:
    assert (await send(verifying.url, body=b"[" * depth + b"]" * depth)).status == 204
    # Not parsed: what it prints is as deep.
    assert re.search(r'"verified": ?true', verifying.line())


def test_refuses_what_is_no_webhook_and_goes_on(verifying: Listener) -> None:
    address = (httpx.URL(verifying.url).host, httpx.URL(verifying.url).port)
    for sent, status in (
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"405"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"413"),
        (b"nonsense\r\n\r\n", b"400"),
    ):
        with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(sent)
            answer = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))
            assert status in answer.split(b"\r\n")[0] or status in answer, (sent[:60], answer)
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly the beginning")
    assert httpx.post(verifying.url, content=b"{}", timeout=PATIENCE_SECONDS).status_code == 401
    assert "webhook-id" in json.loads(verifying.line())["problem"]


async def test_without_a_secret_it_says_that_nothing_is_verified_and_prints_for_people() -> None:
    with listening() as listener:
        assert "verifying NOTHING" in listener.notice
        assert (await send(listener.url)).status == 204
        line = listener.line()
        assert re.match(r"\d\d:\d\d:\d\d  stage_completed        evt_1  task 0b6f1c3e-", line)
        assert line.endswith("  Bücher.pdf  not verified")
        # A terminal would act on these.
        hostile = {**EVENT, "source_file": "a\x1b]0;owned\x07\nb\u202e", "event_type": "x" * 5000, "task_id": ["a"]}
        assert (await send(listener.url, body=json.dumps(hostile).encode())).status == 204
        line = listener.line()
        assert line.isprintable() and "\x1b" not in line and len(line) < 400 and "no task" in line
        assert listener.stop() == (0, "  stop it with Ctrl-C\n")


async def test_the_secret_may_come_by_standard_input_and_the_answer_may_be_another() -> None:
    with listening("--secret", "-", "--status", "503", stdin=f"{SECRET}\n") as listener:
        attempt = await send(listener.url)
        assert attempt.status == 503 and not attempt.succeeded
        assert listener.line().endswith("verified, answered 503")
        assert (await send(listener.url, new_secret())).status == 401
        assert "NOT VERIFIED: no signature matches" in listener.line()
        assert listener.stop(signal.SIGINT) == (0, "  stop it with Ctrl-C\n")


def test_ends_when_nobody_reads_along_any_more() -> None:
    with started("--json") as process:
        assert process.stdout is not None and process.stderr is not None
        url = re.findall(r"http://\S+/", process.stderr.readline())[0]
        process.stdout.close()
        # The pipe is broken for what is printed next.
        assert httpx.post(url, content=b"{}", timeout=PATIENCE_SECONDS).status_code == 204
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr.read() == "  stop it with Ctrl-C\n"


def test_closing_waits_for_answers_and_not_for_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    answering = threading.Event()
    answer = _Handler._answer

    def held_answer(handler: _Handler, status: int, text: str) -> None:
        assert answering.wait(PATIENCE_SECONDS)
        answer(handler, status, text)

    monkeypatch.setattr(_Handler, "_answer", held_answer)
    with ExitStack() as stack:
        with listening_here("127.0.0.1", 0, keys=(), status=204) as listener:
            address = ("127.0.0.1", int(listener.server_address[1]))
            idle = stack.enter_context(socket.create_connection(address, timeout=PATIENCE_SECONDS))
            sender = stack.enter_context(socket.create_connection(address, timeout=PATIENCE_SECONDS))
            sender.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            assert listener.arrivals.get(timeout=PATIENCE_SECONDS).body == {}
            # Longer than closing takes by itself.
            threading.Timer(0.5, answering.set).start()
        assert answering.is_set()
        assert b"".join(iter(lambda: sender.recv(65536), b"")).startswith(b"HTTP/1.1 204")
        assert idle.recv(1) == b""


@pytest.mark.parametrize(
    ("arguments", "secret", "told"),
    [
        (["--secret", SECRET], None, "can be read by others"),
        ([], "whsec_abc", "a webhook secret"),
        (["--host", "203.0.113.1"], None, "cannot listen on 203.0.113.1"),
        (["--status", "100"], None, "--status"),
    ],
)
def test_wrong_use_is_told_and_exits_with_2(arguments: list[str], secret: str | None, told: str) -> None:
    with started(*arguments, secret=secret) as process:
        _, complaints = process.communicate("", timeout=PATIENCE_SECONDS)
    assert process.returncode == 2 and told in complaints and "Traceback" not in complaints
    assert "whsec_abc" not in complaints and SECRET not in complaints


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, started("--port", str(taken.getsockname()[1])) as process:
        _, complaints = process.communicate("", timeout=PATIENCE_SECONDS)
    assert process.returncode == 2 and "already in use" in complaints and "--port" in complaints
