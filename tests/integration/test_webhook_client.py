"""One attempt against a real receiver: what is sent, what is a success, what bad receivers can do (W3, W4, W7, W12)."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import httpcore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.webhooks.send import connection, transport
from blocks.webhooks.send.address import AddressGuard
from blocks.webhooks.send.client import Attempt, EndpointClient
from blocks.webhooks.send.connection import MAX_ANSWER_BYTES, Withdrawn, connect_to_address
from blocks.webhooks.send.networks import IPAddress
from blocks.webhooks.signature import verify
from tests.stack_driver import PATIENCE_SECONDS
from tests.webhooks import (
    BLACK_HOLE,
    CLOSED_WITHOUT_ANSWER,
    RESET,
    Answer,
    Receiver,
    Request,
    dripping,
    endless_body,
    gzip_bomb,
    redirect,
    running_receiver,
)

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
KEY, OLD_KEY = b"k" * 32, b"o" * 24
BODY = '{"event_type":"task_completed","source_file":"Bücher.pdf"}'.encode()
PUBLIC = "93.184.215.14"


@pytest.fixture(autouse=True)
def patient_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is held up is no receiver that lets nobody in."""
    monkeypatch.setitem(transport._TIMEOUTS, "connect", PATIENCE_SECONDS)


async def send_in_time(url: str, **options: object) -> Attempt:
    """One attempt that has come as far as it can in its short time: a busy machine may let it connect too late."""
    for _ in range(3):
        attempt = await send(url, **options)  # type: ignore[arg-type]
        if attempt.peer is not None and (attempt.status is not None or "no answer within" in (attempt.error or "")):
            break
    return attempt


async def send(url: str, *, keys: Sequence[bytes] = (KEY,), allowed: object = LOOPBACK, **options: object) -> Attempt:
    """One attempt by a client of its own."""
    guard = options.pop("guard", None) or AddressGuard(allowed)  # type: ignore[arg-type]
    options.setdefault("timeout_seconds", PATIENCE_SECONDS)
    client = EndpointClient(url, guard=guard, **options)  # type: ignore[arg-type]
    try:
        return await client.send(event_id="evt_1", body=BODY, keys=keys)
    finally:
        await client.aclose()


# What is sent ---------------------------------------------------------------------------------------------------------


async def test_sends_the_signed_bytes_with_the_documented_headers_and_nothing_else(receiver: Receiver) -> None:
    attempt = await send(receiver.url("/hook/a%20b?token=c%2Fd&e"), keys=[KEY, OLD_KEY])
    assert attempt.succeeded and attempt.status == 204 and attempt.error is None and attempt.answer is None
    assert attempt.peer == f"127.0.0.1:{receiver.port}" and 0 < attempt.milliseconds < 1000 * PATIENCE_SECONDS
    (request,) = receiver.requests
    assert (request.method, request.target, request.body) == ("POST", "/hook/a%20b?token=c%2Fd&e", BODY)
    assert request.headers.keys() == {
        *("host", "content-length", "content-type", "user-agent", "accept-encoding"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"Waybill/{version('waybill')}"
    assert request.headers["accept-encoding"] == "identity"
    for key in (KEY, OLD_KEY):
        verify([key], request.headers, request.body, now=time.time())


async def test_a_retry_has_the_same_id_and_body_and_a_fresh_time_and_signature(receiver: Receiver) -> None:
    receiver.answer(Answer(status=500), times=1)
    times = iter([datetime(2026, 5, 4, 12, 0, second, tzinfo=UTC) for second in (0, 0, 9, 9)])
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK), clock=lambda: next(times))
    attempts = [await client.send(event_id="evt_1", body=BODY, keys=[KEY]) for _ in range(2)]
    await client.aclose()
    assert [attempt.status for attempt in attempts] == [500, 204]
    first, second = receiver.requests
    assert (first.event_id, first.body) == (second.event_id, second.body) == ("evt_1", BODY)
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 9
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    for request in (first, second):
        verify([KEY], request.headers, request.body, now=int(request.headers["webhook-timestamp"]))


async def test_keeps_connections_and_never_opens_more_than_four(receiver: Receiver) -> None:
    released = threading.Event()
    receiver.answer(Answer(held_until=released))
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK), timeout_seconds=PATIENCE_SECONDS)
    sends = [asyncio.create_task(client.send(event_id=f"evt_{number}", body=BODY, keys=[KEY])) for number in range(40)]
    await receiver.until(4)
    released.set()
    assert all([(await one).succeeded for one in sends])
    assert receiver.connections == receiver.most_in_flight == 4
    await client.aclose()


async def test_keeps_no_cookies_and_does_not_mind_the_environment(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    receiver.answer(Answer(status=200, headers={"Set-Cookie": "session=1; Path=/"}))
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK))
    for _ in range(2):
        assert (await client.send(event_id="evt_1", body=BODY, keys=[KEY])).succeeded
    await client.aclose()
    assert "cookie" not in receiver.requests[1].headers and receiver.connections == 1


async def test_logs_no_address_and_no_secret(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        await send(receiver.url("/?token=s3cret"))
    assert caplog.records == []


# What counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
async def test_2xx_is_success(receiver: Receiver, status: int) -> None:
    receiver.answer(Answer(status=status, headers={"Retry-After": "60"}))
    attempt = await send(receiver.url())
    assert attempt.succeeded and (attempt.status, attempt.error, attempt.retry_after) == (status, None, None)


@pytest.mark.parametrize("status", [304, 400, 401, 404, 410, 429, 500, 503, 599, 999])
async def test_every_other_status_is_a_failure_and_told(receiver: Receiver, status: int) -> None:
    receiver.answer(Answer(status=status, headers={"Retry-After": "60"}, body=b"" if status == 304 else b"sorry"))
    attempt = await send(receiver.url())
    assert not attempt.succeeded and attempt.status == status and not attempt.hopeless
    assert attempt.error and attempt.error.startswith(f"answered {status}")
    assert attempt.answer == (None if status == 304 else "sorry")
    assert attempt.retry_after == timedelta(seconds=60)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_failures_and_never_followed(receiver: Receiver, status: int) -> None:
    receiver.answer(redirect(receiver.url("/elsewhere"), status=status))
    attempt = await send(receiver.url())
    assert not attempt.succeeded and attempt.error and "redirects are not followed" in attempt.error
    assert [request.target for request in receiver.requests] == ["/hook"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (RESET, "broke before an answer"),
        (CLOSED_WITHOUT_ANSWER, "broke before an answer"),
        (Answer(raw=b"", ending="half-close"), "broke before an answer"),
        (BLACK_HOLE, "no answer within 1 s"),
        (dripping(seconds=0.1, from_status_line=True), "no answer within 1 s"),
        (Answer(raw=b"SSH-2.0-OpenSSH_9.6\r\n", ending="close"), "not HTTP/1.1"),
        (Answer(raw=b"HTTP/1.1 20", ending="close"), "not HTTP/1.1"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), "not HTTP/1.1"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), "not HTTP/1.1"),
        (Answer(raw=b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), "not HTTP/1.1"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * MAX_ANSWER_BYTES), "longer than 64 KiB"),
        (Answer(raw=b"", repeat=b"HTTP/1.1 100 Continue\r\n\r\n"), "longer than 64 KiB"),
    ],
)
async def test_what_is_no_answer_is_a_failure(receiver: Receiver, answer: Answer, told: str) -> None:
    receiver.answer(answer)
    # Some end by the time; the others have all of it that a busy machine may take.
    url = receiver.url("/?token=s3cret")
    attempt = await (send_in_time(url, timeout_seconds=1) if "within 1 s" in told else send(url))
    assert not attempt.succeeded and attempt.status is None and not attempt.hopeless
    assert attempt.error and told in attempt.error and "s3cret" not in attempt.error
    assert attempt.peer == f"127.0.0.1:{receiver.port}"


async def test_a_receiver_that_is_down_is_a_failure(receiver: Receiver) -> None:
    receiver.go_down()
    attempt = await send(receiver.url())
    assert (attempt.status, attempt.peer, attempt.hopeless) == (None, None, False)
    assert attempt.error == f"cannot connect to 127.0.0.1:{receiver.port}: connection refused"


async def test_a_receiver_that_lets_nobody_in_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener with a full queue drops SYNs, as a firewall does."""
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    monkeypatch.setitem(transport._TIMEOUTS, "connect", transport.CONNECT_TIMEOUT_SECONDS)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())

        async def hurried(address: IPAddress, port: int, seconds: float) -> httpcore.AsyncNetworkStream:
            assert seconds == 5
            return await connect_to_address(address, port, 0.2)

        port = full.getsockname()[1]
        attempt = await send(f"http://127.0.0.1:{port}/", connect=hurried)
        for one in waiting:
            one.close()
    assert attempt.error == f"cannot connect to 127.0.0.1:{port}: no answer in time"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    raw=st.binary(max_size=60)
    | st.binary(max_size=40).map(b"HTTP/1.1 200 OK\r\n".__add__)
    | st.binary(max_size=40).map(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".__add__)
)
async def test_no_bytes_of_a_receiver_raise(receiver: Receiver, raw: bytes) -> None:
    receiver.forget_rules()
    receiver.answer(Answer(raw=raw, ending="close"))
    attempt = await send(receiver.url())
    assert attempt.succeeded == (attempt.error is None)
    assert attempt.error is None or "\n" not in attempt.error


# What follows the status ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("make", [endless_body, gzip_bomb, lambda status: dripping(status=status, seconds=0.05)])
async def test_no_body_changes_what_the_status_said(
    receiver: Receiver, make: Callable[..., Answer], status: int
) -> None:
    receiver.answer(make(status=status))
    for _ in range(3):
        attempt = await send(receiver.url(), timeout_seconds=1)
        if attempt.status is not None:  # a busy machine may be late with it
            break
    assert attempt.status == status and attempt.succeeded == (status == 200)
    assert attempt.milliseconds < 60_000 and len((attempt.answer or "").encode()) <= 4096


async def test_a_body_that_breaks_off_changes_nothing(receiver: Receiver) -> None:
    receiver.answer(Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", ending="reset"))
    attempt = await send(receiver.url())
    assert attempt.succeeded
    receiver.forget_rules()
    receiver.answer(Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", ending="close"))
    attempt = await send(receiver.url())
    assert attempt.succeeded and attempt.answer == "abc" and len(receiver.requests) == 2


async def test_reads_at_most_64_kib_and_does_not_use_that_connection_again(receiver: Receiver) -> None:
    receiver.answer(Answer(status=200, body=b"x" * (MAX_ANSWER_BYTES - 100)), times=2)
    receiver.answer(Answer(status=200, body=b"x" * MAX_ANSWER_BYTES))
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK))
    connections: list[int] = []
    for _ in range(4):
        attempt = await client.send(event_id="evt_1", body=BODY, keys=[KEY])
        assert attempt.succeeded and attempt.answer == "x" * 4096
        connections.append(receiver.requests[-1].connection)
    await client.aclose()
    assert connections == [1, 1, 1, 2]


async def test_keeps_clean_text_of_an_answer(receiver: Receiver) -> None:
    receiver.answer(Answer(status=500, body="Tür\0\x1b[31m\r\n\tzu\u202e".encode() + b"\xff"), times=1)
    receiver.answer(Answer(status=500, body=b"\xff" * 5000), times=1)
    receiver.answer(Answer(status=500, headers={"Content-Encoding": "br\x1b"}, body=b"abc"))
    texts = [(await send(receiver.url())).answer or "" for _ in range(3)]
    assert texts[0] == "Tür\ufffd\ufffd[31m\n\tzu\ufffd\ufffd"
    assert len(texts[1].encode()) <= 4096 and set(texts[1]) == {"\ufffd"}
    assert "not decompressed" in texts[2] and "\x1b" not in texts[2]


# Connections that were kept -------------------------------------------------------------------------------------------


async def test_a_kept_connection_that_the_receiver_has_closed_is_no_failure(receiver: Receiver) -> None:
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK))

    async def four() -> list[Attempt]:
        sends = [client.send(event_id=f"evt_{number}", body=BODY, keys=[KEY]) for number in range(4)]
        return await asyncio.gather(*sends)

    receiver.answer(Answer(delay_seconds=0.05))
    await four()
    receiver.cut_connections()
    assert all(attempt.succeeded for attempt in await four())
    await client.aclose()


@pytest.mark.parametrize("broken", [RESET, CLOSED_WITHOUT_ANSWER])
async def test_a_request_that_crosses_the_closing_of_its_connection_is_sent_again_at_once(
    receiver: Receiver, broken: Answer
) -> None:
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK))
    assert (await client.send(event_id="evt_1", body=BODY, keys=[KEY])).succeeded
    # The receiver closes the kept connection when the request has just been sent.
    receiver.answer(broken, times=1)
    assert (await client.send(event_id="evt_2", body=BODY, keys=[KEY])).succeeded
    assert [(request.event_id, request.connection) for request in receiver.requests] == [
        ("evt_1", 1),
        ("evt_2", 1),
        ("evt_2", 2),
    ]
    assert receiver.requests[1].raw_headers == receiver.requests[2].raw_headers
    await client.aclose()


@pytest.mark.parametrize(
    ("broken", "requests"),
    [
        (RESET, 2),  # the repeated request has a connection of its own: that failure counts
        (Answer(raw=b"HTTP/1.1 2", ending="close"), 1),  # an answer had begun
        (BLACK_HOLE, 1),
    ],
)
async def test_nothing_else_is_sent_again_within_an_attempt(receiver: Receiver, broken: Answer, requests: int) -> None:
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK), timeout_seconds=PATIENCE_SECONDS)
    assert (await client.send(event_id="evt_1", body=BODY, keys=[KEY])).succeeded
    receiver.answer(broken)
    if broken is BLACK_HOLE:
        client._timeout_seconds = 2.0
    # On a busy machine one that ends by the time may end before the receiver has read it.
    for number in range(2, 12):
        assert not (await client.send(event_id=f"evt_{number}", body=BODY, keys=[KEY])).succeeded
        received = Counter(request.event_id for request in receiver.requests[1:])
        if received or broken is not BLACK_HOLE:
            break
    assert set(received.values()) == {requests}
    await client.aclose()


# Requests that must not begin any more --------------------------------------------------------------------------------


async def test_what_is_withdrawn_while_it_connects_is_not_sent(receiver: Receiver) -> None:
    allowed = [True]

    async def connect(address: IPAddress, port: int, seconds: float) -> httpcore.AsyncNetworkStream:
        stream = await connect_to_address(address, port, seconds)
        allowed[0] = False
        return stream

    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK), connect=connect)
    with pytest.raises(Withdrawn):
        await client.send(event_id="evt_1", body=BODY, keys=[KEY], may_begin=lambda: allowed[0])
    assert (await client.send(event_id="evt_2", body=BODY, keys=[KEY])).succeeded
    assert [(request.event_id, request.connection) for request in receiver.requests] == [("evt_2", 2)]
    await client.aclose()


async def test_what_is_withdrawn_while_a_closed_connection_has_it_is_not_sent_again(receiver: Receiver) -> None:
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK))
    assert (await client.send(event_id="evt_1", body=BODY, keys=[KEY])).succeeded
    receiver.answer(CLOSED_WITHOUT_ANSWER, times=1)
    with pytest.raises(Withdrawn):
        await client.send(
            event_id="evt_2", body=BODY, keys=[KEY], may_begin=lambda: not receiver.received(has_id("evt_2"))
        )
    assert [request.event_id for request in receiver.requests] == ["evt_1", "evt_2"]
    await client.aclose()


async def test_a_request_that_has_begun_is_sent_to_its_end(receiver: Receiver) -> None:
    answers = iter([True])
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK))
    body = b"x" * 500_000
    attempt = await client.send(event_id="evt_1", body=body, keys=[KEY], may_begin=lambda: next(answers))
    assert attempt.succeeded and receiver.requests[0].body == body
    await client.aclose()


def has_id(event_id: str) -> Callable[[Request], bool]:
    return lambda request: request.event_id == event_id


async def test_a_cancelled_attempt_leaves_the_client_usable(receiver: Receiver) -> None:
    receiver.answer(BLACK_HOLE, times=4)
    client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK))
    sends = [asyncio.create_task(client.send(event_id="evt_1", body=BODY, keys=[KEY])) for _ in range(4)]
    await receiver.until(4)
    for one in sends:
        one.cancel()
    await asyncio.wait(sends)
    assert (await client.send(event_id="evt_2", body=BODY, keys=[KEY])).succeeded
    await client.aclose()


# TLS ------------------------------------------------------------------------------------------------------------------


async def test_tls_is_verified_by_name_date_and_issuer() -> None:
    async def loopback(host: str) -> Sequence[IPAddress]:
        return [ip_address("127.0.0.1")]

    guard = AddressGuard(LOOPBACK, resolve=loopback)
    names = ["hooks.example.com", "127.0.0.1"]
    with running_receiver(tls_names=names) as good, running_receiver(tls_names=names, tls_expired=True) as expired:
        url = good.url(host="hooks.example.com")
        assert (await send(url, guard=guard, tls=good.client_tls)).succeeded
        assert (await send(good.url(), guard=guard, tls=good.client_tls)).succeeded
        assert good.requests[0].headers["host"] == f"hooks.example.com:{good.port}"
        for refused, tls, told in (
            (url, None, "self-signed"),
            (good.url(host="other.example.com"), good.client_tls, "not valid for 'other.example.com'"),
            (expired.url(), expired.client_tls, "expired"),
        ):
            attempt = await send(refused, guard=guard, tls=tls)
            assert attempt.status is None and not attempt.hopeless
            assert attempt.error and "TLS" in attempt.error and told in attempt.error
        assert (len(good.requests), len(expired.requests)) == (2, 0)


async def test_many_sends_over_tls_share_a_connection() -> None:
    with running_receiver(tls_names=["127.0.0.1"]) as receiver:
        client = EndpointClient(receiver.url(), guard=AddressGuard(LOOPBACK), tls=receiver.client_tls)
        for _ in range(5):
            assert (await client.send(event_id="evt_1", body=BODY, keys=[KEY])).succeeded
        await client.aclose()
        assert receiver.connections == 1


async def test_a_receiver_that_hangs_within_the_handshake_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        attempt = await send_in_time(f"https://127.0.0.1:{port}/", timeout_seconds=1)
    assert attempt.error == "no answer within 1 s" and attempt.peer == f"127.0.0.1:{port}"


async def test_a_receiver_that_speaks_no_tls_is_a_failure(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        async def refuse() -> None:
            connection, _ = await asyncio.to_thread(plain.accept)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        refusing = asyncio.create_task(refuse())
        attempt = await send(f"https://127.0.0.1:{plain.getsockname()[1]}/")
        await refusing
    assert attempt.error and "cannot speak TLS" in attempt.error and not attempt.hopeless


# Addresses: zero bytes and zero connections ---------------------------------------------------------------------------


class Network:
    """Stands in for the world: notes where a connection would go to, and leads all of them to the receiver."""

    def __init__(self, receiver: Receiver, *, dead: Sequence[str] = ()) -> None:
        self.receiver = receiver
        self.dead = dead
        self.connected: list[str] = []
        self.shares: list[float] = []

    async def __call__(self, address: IPAddress, port: int, seconds: float) -> httpcore.AsyncNetworkStream:
        self.connected.append(str(address))
        self.shares.append(seconds)
        if str(address) in self.dead:
            raise httpcore.ConnectError("unreachable") from OSError(101, "unreachable")
        return await connect_to_address(ip_address("127.0.0.1"), self.receiver.port, seconds)


def dns(*answers: Sequence[str]) -> tuple[AddressGuard, list[str]]:
    """A guard without an allow-list on DNS that gives these answers in turn, and what it was asked."""
    asked: list[str] = []

    async def resolve(host: str) -> Sequence[IPAddress]:
        asked.append(host)
        return [ip_address(address) for address in answers[min(len(asked), len(answers)) - 1]]

    return AddressGuard(resolve=resolve), asked


@pytest.mark.parametrize(
    "answer",
    [
        *(["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["0.0.0.1"], ["::1"], ["fd00::1"], ["::ffff:127.0.0.1"]),
        *(
            ["64:ff9b::7f00:1"],
            ["2002:7f00:1::"],
            [PUBLIC, "127.0.0.1"],
            ["127.0.0.1", PUBLIC],
            ["2606:4700::1", "::1"],
        ),
    ],
)
async def test_dns_that_leads_inside_sends_not_one_byte(receiver: Receiver, answer: Sequence[str]) -> None:
    network = Network(receiver)
    guard, asked = dns(answer)
    attempt = await send(receiver.url(host="hooks.example.com"), guard=guard, connect=network)
    assert attempt.status is None and attempt.peer is None and attempt.error and "must not reach" in attempt.error
    # DNS may be put right: not hopeless.
    assert not attempt.hopeless and asked == ["hooks.example.com"]
    assert (network.connected, receiver.connections, receiver.bytes_received) == ([], 0, 0)


async def test_dns_that_changes_its_mind_is_asked_once_and_believed_once(receiver: Receiver) -> None:
    network = Network(receiver)
    guard, asked = dns([PUBLIC], ["127.0.0.1"])
    client = EndpointClient(receiver.url(host="hooks.example.com"), guard=guard, connect=network)
    first = await client.send(event_id="evt_1", body=BODY, keys=[KEY])
    assert first.succeeded and first.peer == f"{PUBLIC}:{receiver.port}"
    assert (asked, network.connected) == (["hooks.example.com"], [PUBLIC])
    assert receiver.requests[0].headers["host"] == f"hooks.example.com:{receiver.port}"
    # The next connection asks again, and is refused.
    receiver.cut_connections()
    second = await client.send(event_id="evt_2", body=BODY, keys=[KEY])
    await client.aclose()
    assert second.error and "must not reach 127.0.0.1" in second.error
    assert (len(asked), network.connected, receiver.connections) == (2, [PUBLIC], 1)


async def test_the_name_on_the_certificate_is_asked_for_though_an_address_is_connected_to() -> None:
    with running_receiver(tls_names=["hooks.example.com"]) as receiver:
        guard, _ = dns([PUBLIC])
        url = receiver.url(host="hooks.example.com")
        attempt = await send(url, guard=guard, connect=Network(receiver), tls=receiver.client_tls)
    assert attempt.succeeded and attempt.peer == f"{PUBLIC}:{receiver.port}"


async def test_the_next_address_is_tried_when_one_is_dead_and_each_has_its_share_of_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    monkeypatch.setitem(transport._TIMEOUTS, "connect", transport.CONNECT_TIMEOUT_SECONDS)
    network = Network(receiver, dead=["2606:4700::1"])
    guard, _ = dns(["2606:4700::1", PUBLIC])
    attempt = await send(receiver.url(host="hooks.example.com"), guard=guard, connect=network)
    assert attempt.succeeded and network.connected == ["2606:4700::1", PUBLIC]
    assert network.shares == [2.5, 5.0]
    network = Network(receiver, dead=["2606:4700::1", PUBLIC])
    attempt = await send(receiver.url(host="hooks.example.com"), guard=guard, connect=network)
    assert attempt.error and attempt.error.count("network is unreachable") == 2 and attempt.peer is None


async def test_redirects_and_links_in_an_answer_lead_nowhere(receiver: Receiver) -> None:
    network = Network(receiver)
    guard, _ = dns([PUBLIC])
    receiver.answer(redirect("http://127.0.0.1:22/"))
    attempt = await send(receiver.url(host="hooks.example.com"), guard=guard, connect=network)
    assert attempt.status == 302 and network.connected == [PUBLIC] and len(receiver.requests) == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1", "a@127.0.0.1"]
)
async def test_a_url_that_can_never_be_sent_to_is_hopeless_at_once(receiver: Receiver, host: str) -> None:
    network = Network(receiver)
    url = f"http://{host}:{receiver.port}/?token=s3cret"
    attempt = await send(url, allowed=(), connect=network)
    assert attempt.hopeless and attempt.status is None and attempt.error and "s3cret" not in attempt.error
    assert (network.connected, receiver.connections, receiver.bytes_received) == ([], 0, 0)


async def test_a_name_that_does_not_resolve_is_a_failure_that_may_pass(receiver: Receiver) -> None:
    guard, _ = dns([])
    attempt = await send(receiver.url(host="hooks.example.com"), guard=guard, connect=Network(receiver))
    assert attempt.error == "DNS knows no address for hooks.example.com" and not attempt.hopeless


async def test_slow_dns_counts_against_the_time_of_the_attempt(receiver: Receiver) -> None:
    async def slow(host: str) -> Sequence[IPAddress]:
        await asyncio.sleep(60)
        return [ip_address(PUBLIC)]

    guard = AddressGuard(resolve=slow)
    attempt = await send(receiver.url(host="a.example"), guard=guard, connect=Network(receiver), timeout_seconds=0.2)
    assert attempt.error == "no connection within 0.2 s" and attempt.milliseconds < 40_000


async def test_slow_receivers_leave_the_time_of_day_alone(receiver: Receiver) -> None:
    """Retry-After dates count from the moment of the answer, by the same clock that signs."""
    noon = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
    receiver.answer(Answer(status=503, headers={"Retry-After": "Mon, 04 May 2026 12:00:40 GMT"}))
    attempt = await send(receiver.url(), clock=lambda: noon)
    assert attempt.retry_after == timedelta(seconds=40) and attempt.started_at == noon


def test_urls_are_sent_as_they_were_given() -> None:
    """httpx encodes what is not allowed in a URL; nothing that the guard lets through changes its meaning."""
    import httpx

    for path in ("/a%2Fb", "/a;b=c", "/a?x=%20&y=+", "/%C3%BC?q='", "/a|b"):
        sent = httpx.URL(f"http://hooks.example.com{path}").raw_path.decode()
        assert urllib.parse.unquote(sent) == urllib.parse.unquote(path)
