"""What the application sees of a request: its path, and the host that it is for."""

from __future__ import annotations

import h11
import pytest

from waybill.gateway.server.request_head import RequestRefused, StrictConnection


def received(data: bytes) -> h11.Request:
    connection = StrictConnection()
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    return event


@pytest.mark.parametrize(
    ("line", "target", "host"),
    [
        (b"GET /a?b=c", b"/a?b=c", b"x"),
        (b"GET http://y/a?b=http://z/", b"/a?b=http://z/", b"y"),
        (b"GET HTTPS://y:8/a", b"/a", b"y:8"),
        (b"GET http://[::1]:8/a", b"/a", b"[::1]:8"),
        (b"GET http://y", b"/", b"y"),
        (b"GET http://y?b=c", b"/?b=c", b"y"),
        (b"GET http://y//a", b"//a", b"y"),
        (b"OPTIONS http://y", b"*", b"y"),
        (b"OPTIONS *", b"*", b"x"),
        (b"GET /http://y/a", b"/http://y/a", b"x"),
    ],
)
def test_a_url_as_target_names_path_and_host(line: bytes, target: bytes, host: bytes) -> None:
    request = received(line + b" HTTP/1.1\r\nHost: x\r\nX-A: b\r\n\r\n")
    assert (request.target, dict(request.headers)) == (target, {b"host": host, b"x-a": b"b"})


@pytest.mark.parametrize("target", [b"http:a", b"http:///a", b"http://u@y/a", b"http://y/a#b", b"https://"])
def test_a_url_that_is_none_is_refused(target: bytes) -> None:
    with pytest.raises(RequestRefused, match="a path or an http URL"):
        received(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
