"""HTTP/1.1 connections that carry the bytes of transfers, on the standard library's client, for threads.

httpx hands bodies over in pieces of 64 KiB at most, each copied several times: 1.2 GB/s of a core, where a body that is
read into a buffer at hand comes with 5 GB/s. So httpx is for requests, and this for bytes. The authorities and the
proxies are those that httpx takes, from the environment.
"""

from __future__ import annotations

import http.client
import select
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from ssl import SSLContext, SSLSocket
from threading import Event, Lock
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from blocks.errors import GatewayUnavailable, InvalidOptions
from blocks.hand_over.answers import MAX_ERROR_BYTES, TOKEN_REFUSED, is_temporary, pause_asked_seconds, refusal
from blocks.hand_over.patience import Patience
from blocks.runtime.near_hosts import bound_buffers
from blocks.runtime.threads import WorkStopped

# A link that carries nothing for so long is tried anew.
TIMEOUT_SECONDS = 30.0
# Nothing interrupts an attempt to connect.
_CONNECT_SECONDS = 10.0
FAILURES = (OSError, http.client.HTTPException)
# Up to so much is read to the end of an answer, to keep its connection; for more another is cheaper.
DRAINED_BYTES = 64 * 1024


class Connection:
    """A connection to the host of *url*, opened when it is first used and again after `close`. For one thread."""

    def __init__(self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Raises `InvalidOptions` for what is not an http(s) URL."""
        self._url = split_url(url)
        self._timeout_seconds = timeout_seconds
        self._http: http.client.HTTPConnection | None = None
        self._target = ""

    def send(self, method: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Send a request without a body and return the answer's head. Raises one of `FAILURES`."""
        self.begin(method, headers)
        return self.answer()

    def begin(self, method: str, headers: Mapping[str, str]) -> None:
        """Send the head of a request; what it declares with Content-Length follows with `write`."""
        if self._http is None:
            self._http = self._connect()
        # "identity": bytes must be the file's own, or ranges would be of something else.
        self._http.putrequest(method, self._target, skip_accept_encoding=True)
        for name, value in {"Accept": "*/*", "Accept-Encoding": "identity", **headers}.items():
            self._http.putheader(name, value)
        self._http.endheaders()

    def write(self, data: bytes | memoryview) -> None:
        """Send a piece of the body."""
        assert self._http is not None  # noqa: S101 - begin() was called
        self._http.send(data)

    def answer(self) -> http.client.HTTPResponse:
        """Return the head of the answer to the request that was sent; it is read to its end before the next one."""
        assert self._http is not None  # noqa: S101 - begin() was called
        return self._http.getresponse()

    def has_answer(self) -> bool:
        """Return whether the gateway has answered before the body's end, or hung up; not known, so False, with TLS."""
        sock = self._http.sock if self._http is not None else None
        # What is readable below TLS may be a session ticket.
        if sock is None or isinstance(sock, SSLSocket):
            return False
        return bool(select.select([sock], [], [], 0)[0])

    def wait_longer(self, seconds: float) -> None:
        """Wait up to *seconds* for what is read next."""
        if self._http is not None and self._http.sock is not None:
            self._http.sock.settimeout(seconds)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def interrupt(self) -> None:
        """Let another thread's read or write on this connection fail at once."""
        sock = self._http.sock if self._http is not None else None
        if sock is not None:
            # On the socket below TLS: SSLSocket's own would say goodbye first.
            with suppress(OSError):  # it is closed already
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _connect(self) -> http.client.HTTPConnection:
        made = self._make()
        made.connect()
        made.sock.settimeout(self._timeout_seconds)
        bound_buffers(made.sock, socket.SO_RCVBUF, socket.SO_SNDBUF)
        return made

    def _make(self) -> http.client.HTTPConnection:
        url, proxy = self._url, _proxy_of(self._url)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        host, port = _address(proxy or url)
        self._target = path if proxy is None or url.scheme == "https" else f"{url.scheme}://{url.netloc}{path}"
        if url.scheme == "https":
            made = http.client.HTTPSConnection(host, port, timeout=_CONNECT_SECONDS, context=_authorities())
            if proxy is not None:
                made.set_tunnel(*_address(url))
            return made
        return http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS)


class Requests:
    """Requests of one transfer, with its token; temporary failures are waited out. For one thread.

    Stops with `WorkStopped` when *session* has been stopped.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.connection = session.connect()
        self.patience = Patience(session.patience_seconds, session.stopped)

    def head(self, method: str, headers: Mapping[str, str]) -> http.client.HTTPResponse | None:
        """Send a request without a body; return the answer's head if it is 2xx, 3xx, 404, 409 or 416.

        None after a temporary failure, when it is time for the next attempt. Other answers raise what they stand for.
        """
        token = self._session.token
        try:
            answer = self.connection.send(method, {**self._session.headers(), **headers})
        except FAILURES as exc:
            self.failed(exc)
            return None
        return answer if self.accept(answer, token) else None

    def accept(self, answer: http.client.HTTPResponse, token: str | None) -> bool:
        """Return whether *answer*, to a request with *token*, is one to work with; False after the pause it asks for.

        Raises what other answers stand for.
        """
        if answer.status < 400 or answer.status == 416:
            return True
        body = answer.read(MAX_ERROR_BYTES)
        self.connection.close()
        if (answer.status in TOKEN_REFUSED or answer.status == 423) and self._session.renew(token):
            return False
        if not is_temporary(answer.status):
            raise refusal(answer.status, body)
        asked = pause_asked_seconds(answer.headers.get("Retry-After"), now=datetime.now(UTC))
        self.patience.wait(f"status {answer.status}", asked_seconds=asked)
        return False

    def drain(self, answer: http.client.HTTPResponse) -> None:
        """Read what is left of *answer*, which keeps its connection; close that if it is long, or has no end."""
        answer.read(DRAINED_BYTES + 1)
        if not answer.isclosed():
            self.connection.close()

    def failed(self, error: BaseException | str) -> None:
        """Close the connection and wait for the next attempt. Raises `GatewayUnavailable` and `WorkStopped`."""
        self.connection.close()
        if self._session.stopped.is_set():
            raise WorkStopped
        self.patience.wait(error)


class Session:
    """What the connections of one transfer share: its address, its token, and that it has been stopped."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        renew_token: Callable[[], str] | None,
        patience_seconds: float,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        split_url(url)
        self.url = url
        self.token = token
        self.patience_seconds = patience_seconds
        self.stopped = Event()
        self._timeout_seconds = timeout_seconds
        self._renew_token = renew_token
        self._unproven = self._cancelled = False
        self._connections: list[Connection] = []
        self._lock = Lock()

    @property
    def bare_url(self) -> str:
        """The address without a query, which may hold a token: what names the transfer in files that are kept."""
        return self.url.partition("?")[0]

    def headers(self) -> dict[str, str]:
        """Return what every request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}

    def connect(self) -> Connection:
        """Return a new connection, which `stop` interrupts."""
        made = Connection(self.url, timeout_seconds=self._timeout_seconds)
        with self._lock:
            self._connections.append(made)
        return made

    def renew(self, refused: str | None) -> bool:
        """Get another token for the *refused* one; return whether there is one to try."""
        if self._renew_token is None:
            return False
        with self._lock:
            if self.token != refused:
                return True  # another thread has asked
            if self._unproven:
                return False  # a new token was refused as well: it is not the token's age
            self.token, self._unproven = self._renew_token(), True
            return True

    def worked(self) -> None:
        """Record that the gateway accepts the token; when it is refused later, it has become too old."""
        self._unproven = False

    def stop(self) -> None:
        """End all work of this transfer; also what waits for the network."""
        with self._lock:
            self.stopped.set()
            for connection in self._connections:
                connection.interrupt()

    def cancel(self) -> None:
        """Stop for good: the caller has gone."""
        self._cancelled = True
        self.stop()

    def restart(self) -> None:
        """Let work begin again after `stop`, when its threads have ended. Raises `WorkStopped` once cancelled."""
        self.close()
        with self._lock:
            if self._cancelled:
                raise WorkStopped
            self._connections.clear()
            self.stopped.clear()

    def close(self) -> None:
        """Close all connections, when no thread uses them any more."""
        for connection in self._connections:
            connection.close()


def split_url(url: str) -> SplitResult:
    """Return the parts of an http(s) URL. Raises `InvalidOptions`, which does not repeat it: it may hold a token."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise InvalidOptions("this is not a URL: its host or port cannot be read") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidOptions("this is not the address of a gateway: it begins with http:// or https:// and a host")
    # http.client would refuse these too, as if the connection had failed.
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidOptions("this is not a URL: there are characters in it that no URL has")
    return parts


def _address(url: SplitResult) -> tuple[str, int]:
    assert url.hostname is not None  # noqa: S101 - checked by split_url
    return url.hostname, url.port or (443 if url.scheme == "https" else 80)


def _proxy_of(url: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for *url*."""
    named = getproxies()
    if not named or proxy_bypass(url.hostname or ""):
        return None
    found = named.get(url.scheme) or named.get("all")
    if not found:
        return None
    proxy = split_url(found if "://" in found else f"http://{found}")
    if proxy.scheme != "http" or proxy.username:
        raise GatewayUnavailable("only http proxies without a password can be used for transfers; set NO_PROXY")
    return proxy


@cache
def _authorities() -> SSLContext:
    return httpx.create_ssl_context()
