"""The scripted receiver itself: what other tests rely on."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import httpx
import pytest

from tests.stack_driver import PATIENCE_SECONDS, eventually
from tests.webhooks import (
    CLOSED_WITHOUT_ANSWER,
    RESET,
    Answer,
    Receiver,
    dripping,
    endless_body,
    gzip_bomb,
    redirect,
    running_receiver,
)
from tests.webhooks.certificate import write_certificate


def test_keeps_what_it_was_sent_byte_for_byte(receiver: Receiver) -> None:
    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        for number in range(3):
            sent = client.post(receiver.url("/a?b=c"), content=b"body %d" % number, headers={"Webhook-Id": "evt_1"})
            assert sent.status_code == 204
    assert [request.body for request in receiver.requests] == [b"body 0", b"body 1", b"body 2"]
    assert receiver.requests[0].target == "/a?b=c" and receiver.requests[0].event_id == "evt_1"
    # The answer is there a moment before it counts as given.
    eventually(lambda: receiver.in_flight == 0, "all is answered")
    assert (receiver.connections, receiver.most_in_flight) == (1, 1)


def test_answers_by_rule_in_order_and_by_path(receiver: Receiver) -> None:
    receiver.answer(Answer(status=503, headers={"Retry-After": "7"}), times=2, when="/a")
    receiver.answer(lambda request: Answer(status=200, body=request.body))
    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        answers = [client.post(receiver.url(path), content=b"!") for path in ("/a", "/b", "/a", "/a")]
    assert [answer.status_code for answer in answers] == [503, 200, 503, 200]
    assert answers[0].headers["retry-after"] == "7" and answers[1].content == b"!"


@pytest.mark.parametrize("answer", [RESET, CLOSED_WITHOUT_ANSWER, Answer(raw=b"", ending="half-close")])
def test_breaks_off_without_an_answer(receiver: Receiver, answer: Answer) -> None:
    receiver.answer(answer)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        httpx.post(receiver.url(), timeout=PATIENCE_SECONDS, content=b"!")
    assert len(receiver.requests) == 1


def test_drips_and_never_ends(receiver: Receiver) -> None:
    receiver.answer(dripping(seconds=0.01), when="/drip")
    receiver.answer(endless_body(), when="/endless")
    receiver.answer(gzip_bomb(unpacked_bytes=1_000_000), when="/bomb")
    receiver.answer(redirect("http://127.0.0.1/"), when="/elsewhere")
    with httpx.stream("POST", receiver.url("/drip"), timeout=PATIENCE_SECONDS) as dripped:
        assert [len(piece) for piece, _ in zip(dripped.iter_raw(), range(3), strict=False)] == [1, 1, 1]
    with httpx.stream("POST", receiver.url("/endless"), timeout=PATIENCE_SECONDS) as endless:
        assert sum(len(piece) for piece, _ in zip(endless.iter_raw(), range(100), strict=False)) > 500_000
    assert len(httpx.post(receiver.url("/bomb"), timeout=PATIENCE_SECONDS).content) == 1_000_000
    assert httpx.post(receiver.url("/elsewhere"), timeout=PATIENCE_SECONDS).status_code == 302


def test_goes_down_and_comes_back_on_the_same_port(receiver: Receiver) -> None:
    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        client.post(receiver.url())
        receiver.go_down()
        with pytest.raises(httpx.ConnectError):
            httpx.post(receiver.url(), timeout=PATIENCE_SECONDS)
        receiver.come_back()
        assert client.post(receiver.url()).status_code == 204
    assert len(receiver.wait_for(2)) == 2


def test_is_told_when_the_answer_is_out(receiver: Receiver) -> None:
    out = threading.Event()
    receiver.answer(Answer(delay_seconds=0.05, after=out.set))
    httpx.post(receiver.url(), timeout=PATIENCE_SECONDS)
    assert out.wait(PATIENCE_SECONDS)


def test_speaks_tls_with_a_certificate_that_only_who_is_told_believes_in() -> None:
    with running_receiver(tls_names=["127.0.0.1", "hook.example"]) as receiver:
        assert receiver.client_tls is not None
        with httpx.Client(verify=receiver.client_tls, timeout=PATIENCE_SECONDS) as client:
            assert client.post(receiver.url(), content=b"x" * 100_000).status_code == 204
        with pytest.raises(httpx.ConnectError):
            httpx.post(receiver.url(), timeout=PATIENCE_SECONDS)
    assert [len(request.body) for request in receiver.requests] == [100_000]


def test_its_certificate_can_be_given_to_other_programs(tmp_path: Path) -> None:
    with running_receiver(tls_names=["127.0.0.1"]) as receiver:
        believed = ssl.create_default_context(cafile=write_certificate(tmp_path, ["127.0.0.1"]))
        assert httpx.post(receiver.url(), timeout=PATIENCE_SECONDS, verify=believed).status_code == 204


def test_leaves_no_listener_behind() -> None:
    with running_receiver() as receiver:
        address = (receiver.host, receiver.port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=1)
