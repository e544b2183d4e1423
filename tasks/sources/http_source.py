"""Read a file over HTTP: one GET, and the answer to it is the document.

No HEAD and no ranges: what they say can be about another representation than what is sent. Owns redirects (each hop
is checked), the meaning of a status, and decoding. Refuses a part of a file, and an encoding that was not asked for,
except gzip. A body shorter than its own Content-Length is an error, never a document.
"""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import cast

import httpx

from blocks.errors import InvalidOptions, InvalidSettings, SourceNotFound
from blocks.redaction import without_password, without_signature
from blocks.retry_after import parse_retry_after
from tasks.sources import failure
from tasks.sources.access import SourceAccess

_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "waybill"}
# Silence in either direction; a large file may take as long as it moves.
_TIMEOUT = httpx.Timeout(30, connect=10, pool=None)
# Browsers follow 20; a document that needs more than this is behind a loop.
_MOST_REDIRECTS = 10
# A server that sends a byte now and then must not hold a run for ever.
_SLOWEST_BYTES_PER_SECOND, _GRACE_SECONDS = 1024, 60
_PIECE_BYTES = 1024 * 1024
# A run waits three times at most, and a person waits for the run.
_LONGEST_RETRY_AFTER_SECONDS = 120.0
# A proxy cannot reach this machine's own servers under these names.
_NEVER_THROUGH_A_PROXY = ("all://localhost", "all://127.0.0.1", "all://[::1]")
_GZIP_WITH_HEADER = 31


def new_client() -> httpx.Client:
    """Return a client for the sources of one run; proxies are those of the environment. Raises `InvalidSettings`."""
    direct = cast("dict[str, httpx.BaseTransport | None]", dict.fromkeys(_NEVER_THROUGH_A_PROXY))
    try:
        return httpx.Client(headers=_HEADERS, timeout=_TIMEOUT, mounts=direct)
    except (ValueError, httpx.InvalidURL, OSError, ImportError) as exc:
        raise InvalidSettings(
            "HTTP sources cannot be read with this environment: see HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, "
            "SSL_CERT_FILE and SSL_CERT_DIR"
        ) from exc


def read(client: httpx.Client, url: str, access: SourceAccess) -> Iterator[bytes]:
    """Yield the content of *url* in pieces.

    Raises `SourceNotFound` for what will be refused again, `StorageUnavailable` for what may pass, and `SourceRefused`
    when *url*, or where a redirect leads, is not permitted.
    """
    shown = without_signature(without_password(url))
    with _failures_named(shown), _answer(client, url, access, shown) as response:
        yield from _content(response, shown)


def version(client: httpx.Client, url: str, access: SourceAccess) -> str:
    """Return what differs when *url* has other content: ETag, time of change and length, as the answer to a GET says.

    None of the content is read. Raises what `read` raises, and `InvalidOptions` for a server that says none of them.
    """
    shown = without_signature(without_password(url))
    with _failures_named(shown), _answer(client, url, access, shown) as response:
        if response.status_code not in {200, 203}:
            _refuse(response, shown)
        said = [response.headers.get(name, "") for name in ("etag", "last-modified", "content-length")]
    if not any(said[:2]):
        raise InvalidOptions(f"{shown} cannot be watched: its server gives it neither an ETag nor a time of change")
    return " ".join(said)


@contextmanager
def _answer(client: httpx.Client, url: str, access: SourceAccess, shown: str) -> Generator[httpx.Response]:
    """Yield the last answer, after redirects. Raises `SourceRefused` where one leads to what is not permitted."""
    request = _request(client, url)
    for _ in range(_MOST_REDIRECTS + 1):
        access.check_url(str(request.url))
        response = client.send(request, stream=True)
        try:
            if response.next_request is None:
                yield response
                return
            request = response.next_request
        finally:
            response.close()
    raise failure.lasting(shown, f"it redirects more than {_MOST_REDIRECTS} times")


def _request(client: httpx.Client, url: str) -> httpx.Request:
    """Return the first request, with the URL's credentials in a header.

    httpx logs URLs, and leaves the header out where a redirect leads to another host.
    """
    asked = httpx.URL(url)
    if not asked.userinfo:
        return client.build_request("GET", asked)
    token = base64.b64encode(f"{asked.username}:{asked.password}".encode()).decode()
    without = asked.copy_with(userinfo=b"")
    return client.build_request("GET", without, headers={"Authorization": f"Basic {token}"})


def _content(response: httpx.Response, shown: str) -> Iterator[bytes]:
    if response.status_code not in {200, 203}:
        _refuse(response, shown)
    encoding = response.headers.get("content-encoding", "").strip().lower()
    pieces = _moving(response, shown)
    if encoding in {"", "identity"}:
        yield from pieces
    elif encoding in {"gzip", "x-gzip"}:
        yield from _unzipped(pieces, shown)
    else:
        raise failure.lasting(shown, "the server sends it in another encoding than was asked for")


def _refuse(response: httpx.Response, shown: str) -> None:
    status = response.status_code
    if status == 206:
        raise failure.lasting(shown, "the server sends a part of it (206) although all of it was asked for")
    if status < 400:
        raise failure.lasting(shown, f"the server answered {status}, which has no content")
    asked = parse_retry_after(response.headers.get("retry-after"), now=datetime.now(UTC))
    seconds = min(asked.total_seconds(), _LONGEST_RETRY_AFTER_SECONDS) if asked is not None else 0.0
    raise failure.of_status(status, shown, retry_after_seconds=seconds)


def _moving(response: httpx.Response, shown: str) -> Iterator[bytes]:
    """Yield the body as it is sent. Raises `StorageUnavailable` when it takes too long for its size."""
    began, size = time.monotonic(), 0
    for piece in response.iter_raw():
        size += len(piece)
        if time.monotonic() - began > _GRACE_SECONDS + size / _SLOWEST_BYTES_PER_SECOND:
            raise failure.passing(shown, "the server sends it too slowly")
        yield piece


def _unzipped(pieces: Iterator[bytes], shown: str) -> Iterator[bytes]:
    """Decode gzip, at most `_PIECE_BYTES` at a time: the caller's limit stops a bomb."""
    decoder = zlib.decompressobj(_GZIP_WITH_HEADER)
    try:
        for piece in pieces:
            left = piece
            while left:
                if decoder.eof:  # another member follows
                    decoder = zlib.decompressobj(_GZIP_WITH_HEADER)
                yield decoder.decompress(left, _PIECE_BYTES)
                left = decoder.unconsumed_tail or decoder.unused_data
        yield decoder.flush()
    except zlib.error as exc:
        raise failure.passing(shown, "its gzip encoding is broken") from exc
    if not decoder.eof:
        raise failure.passing(shown, "its gzip encoding was cut")


@contextmanager
def _failures_named(shown: str) -> Generator[None]:
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, ValueError) as exc:
        raise SourceNotFound(f"{shown} is not a URL that HTTP reads") from exc
    except httpx.ConnectError as exc:
        raise failure.of_driver(exc, shown) from exc
    except httpx.TimeoutException as exc:
        raise failure.passing(shown, "the server did not answer in time") from exc
    except httpx.RemoteProtocolError as exc:
        raise failure.passing(shown, "the answer was cut, or is not HTTP") from exc
    except httpx.HTTPError as exc:
        raise failure.passing(shown, f"the connection broke ({type(exc).__name__})") from exc
