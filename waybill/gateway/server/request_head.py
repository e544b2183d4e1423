"""Which requests are well-formed: a strict check of each head before h11 parses it, and of how a body is chunked.

h11 accepts what RFC 9112 lets a server forgive: lines that end with LF, folded headers, a repeated Content-Length, one
next to Transfer-Encoding. With each of these a proxy and this server could see different requests (request smuggling),
so they are refused, and so is a head that is too large. What RFC 9112 lets clients send is accepted: a target in
absolute form, and empty lines before a request. Responses never repeat what was sent: it may contain a token.
"""

from __future__ import annotations

import re
from http import HTTPStatus

import h11

# A list by source may contain a signed URL of some kB, which percent-encoding makes three times as long.
MAX_LINE_BYTES = 16 * 1024
# Leaves room for cookies of other services on the same host, and for what proxies add.
MAX_HEAD_BYTES = 32 * 1024
# Five times what a browser behind two proxies sends.
MAX_FIELDS = 100
# A chunk takes 20 microseconds, however small it is: one connection with chunks of a byte could keep the event loop
# busy for most of a second. Programs that stream line by line send more than this.
_LEAST_CHUNK_BYTES = 32
_CHUNKS_BEFORE_CHECK = 1000

_BARE_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_VERSION = re.compile(rb" HTTP/(\d\.\d)\Z")
_FOLDED = re.compile(rb"^[ \t]", re.MULTILINE)
_LENGTH = re.compile(rb"^content-length:([^\r]*)", re.MULTILINE | re.IGNORECASE)
_ENCODING = re.compile(rb"^transfer-encoding:", re.MULTILINE | re.IGNORECASE)
_END = b"\r\n\r\n"
# An authority has no user information: RFC 9110 section 4.2.4.
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)((?:[/?][^#]*)?)", re.IGNORECASE)
_LIKE_ABSOLUTE = re.compile(rb"https?:", re.IGNORECASE)


class RequestRefused(h11.RemoteProtocolError):
    """A request that is not processed, with its error response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, error_status_hint=status)
        self.status, self.code, self.message = status, code, message


class StrictConnection(h11.Connection):
    """h11 for a server, with `check_head`, `_check_chunks` and `in_origin_form`. Counts the bytes it was asked to send.

    Uses h11's private `_receive_buffer` to skip empty lines, so h11 is pinned.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.bytes_out = 0
        self._chunks = self._chunk_bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Like h11's; also raises `RequestRefused`."""
        if self.their_state is h11.IDLE:
            while self.trailing_data[0].startswith(b"\r\n"):  # after the body of an old client: RFC 9112 section 2.2
                self._receive_buffer.maybe_extract_at_most(2)
            check_head(self.trailing_data[0])
            self._chunks = self._chunk_bytes = 0
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._check_chunks(event)
        return in_origin_form(event) if isinstance(event, h11.Request) else event

    def _check_chunks(self, data: h11.Data) -> None:
        self._chunks += data.chunk_start
        self._chunk_bytes += len(data.data)
        if self._chunks > _CHUNKS_BEFORE_CHECK and self._chunk_bytes < self._chunks * _LEAST_CHUNK_BYTES:
            message = f"chunks must have at least {_LEAST_CHUNK_BYTES} bytes on average; send larger ones"
            raise RequestRefused(400, "ChunksTooSmall", message)

    def send(self, event: h11.Event) -> bytes | None:  # pyright: ignore[reportIncompatibleMethodOverride] - its overloads
        """Like h11's, but adds `Connection: close` while the request is not read completely (RFC 9112 section 9.6)."""
        if isinstance(event, h11.Response) and self.their_state in {h11.IDLE, h11.SEND_BODY, h11.ERROR}:
            headers = [(name, value) for name, value in event.headers if name != b"connection"]
            event = h11.Response(
                status_code=event.status_code, reason=event.reason, headers=[*headers, (b"connection", b"close")]
            )
        data = super().send(event)
        self.bytes_out += len(data or b"")
        return data

    def frame_file(self, count: int) -> tuple[bytes, bytes]:
        """Return what to send before and after *count* bytes of the body that the kernel sends from a file.

        The caller adds those to `bytes_out`. Raises `h11.LocalProtocolError` if they are more than was announced.
        """
        body = _OfFile(count)
        # h11 only takes its length, and hands it back where the bytes belong.
        pieces = self.send_with_data_passthrough(h11.Data(data=body)) or []  # pyright: ignore[reportArgumentType]
        at = next(number for number, piece in enumerate(pieces) if piece is body)
        before, after = b"".join(pieces[:at]), b"".join(pieces[at + 1 :])
        self.bytes_out += len(before) + len(after)
        return before, after


class _OfFile:
    """Stands for bytes of a file."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


def in_origin_form(request: h11.Request) -> h11.Request:
    """Return *request* with a target in absolute form replaced by its path, and `Host` by its authority.

    RFC 9112 section 3.2.2: a server must accept that form, and ignore `Host` then. Raises `RequestRefused`.
    """
    if _LIKE_ABSOLUTE.match(request.target) is None or request.method == b"CONNECT":
        return request
    found = _ABSOLUTE.fullmatch(request.target)
    if found is None:
        raise malformed("its target must be a path or an http URL")
    authority, target = found.groups()
    if not target.startswith(b"/"):
        target = b"*" if request.method == b"OPTIONS" and not target else b"/" + target
    others = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method, target=target, headers=[(b"host", authority), *others], http_version=request.http_version
    )


def check_head(received: bytes) -> None:
    """Raise `RequestRefused` if *received*, the beginning of a request, cannot become an acceptable head.

    May be called while the head is still arriving.
    """
    end = received.find(_END)
    head = received[:end] if end >= 0 else received
    line, _, fields = head.partition(b"\r\n")
    if len(line) > MAX_LINE_BYTES:
        raise RequestRefused(414, "UriTooLong", f"the first line of a request may have at most {MAX_LINE_BYTES} bytes")
    if len(head) > MAX_HEAD_BYTES or fields.count(b"\r\n") >= MAX_FIELDS:
        limits = f"at most {MAX_FIELDS} headers with at most {MAX_HEAD_BYTES} bytes"
        raise RequestRefused(431, "HeadersTooLarge", f"a request may have {limits}")
    # The last byte of an incomplete head may be the first half of a line's end.
    if _BARE_LINE_END.search(head if end >= 0 else head.removesuffix(b"\r")):
        raise malformed("its lines must end with CR LF")
    if end < 0:
        return
    version = _VERSION.search(line)
    if version is None:
        raise malformed("its first line must be METHOD PATH HTTP/1.1")
    if version[1] not in {b"1.0", b"1.1"}:
        raise RequestRefused(505, "HttpVersionNotSupported", "this server supports HTTP/1.1 only")
    _check_framing(fields, is_old=version[1] == b"1.0")


def _check_framing(fields: bytes, *, is_old: bool) -> None:
    """Raise `RequestRefused` unless the request's length is stated once and unambiguously: RFC 9112 section 6."""
    if _FOLDED.search(fields):
        raise malformed("a header must not continue on the next line")
    lengths, has_encoding = _LENGTH.findall(fields), _ENCODING.search(fields) is not None
    if not all(length.strip(b" \t").isdigit() for length in lengths):
        raise malformed("its Content-Length must be a number")
    if len(lengths) > 1 or (has_encoding and (lengths or is_old)):
        raise malformed("it must state its length once, in Content-Length or Transfer-Encoding")


def malformed(why: str = "") -> RequestRefused:
    """Return the refusal of a request that breaks RFC 9112."""
    return RequestRefused(400, "MalformedRequest", "malformed HTTP/1.1 request" + (f": {why}" if why else ""))


def as_refusal(error: BaseException | None) -> RequestRefused:
    """Return *error*, which `StrictConnection.next_event` raised, as a refusal. h11's messages repeat what was sent."""
    if isinstance(error, RequestRefused):
        return error
    if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == HTTPStatus.NOT_IMPLEMENTED:
        return RequestRefused(501, "TransferEncodingNotSupported", "the only supported transfer encoding is 'chunked'")
    return malformed()
