"""What a request may look like: its head before it is parsed, and how its body is cut up.

Owns strictness: h11 forgives what RFC 9112 lets it forgive (bare LF as a line's end, folded lines, a length that is
said twice, a length beside chunks), and each of these is where two programs in a row see two different requests.
Refused here, and so is a head that is too large. Nothing of what was sent is repeated: it may hold a link or a key.
"""

from __future__ import annotations

import re
from http import HTTPStatus

import h11

# A list by source may name a signed URL of some kB, which takes three times that when it is percent-encoded.
MAX_LINE_BYTES = 16 * 1024
# Cookies of other services on the same host, and what proxies add, fit in beside it.
MAX_HEAD_BYTES = 32 * 1024
# Five times what a browser behind two proxies sends.
MAX_FIELDS = 100
# A chunk takes 20 microseconds to read, however small it is: one connection of chunks of a byte could keep the loop
# from everybody else for most of a second. Programs that stream line by line stay above this.
_LEAST_CHUNK_BYTES = 32
_CHUNKS_BEFORE_JUDGED = 1000

_CARRIAGE_RETURN_ALONE = re.compile(rb"\r(?!\n)")
_LINE_FEED_ALONE = re.compile(rb"(?<!\r)\n")
_VERSION = re.compile(rb" HTTP/(\d\.\d)\Z")
_END = b"\r\n\r\n"


class RequestRefused(h11.RemoteProtocolError):
    """A request that is not taken in, with the answer to it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, error_status_hint=status)
        self.status, self.code, self.message = status, code, message


class StrictConnection(h11.Connection):
    """h11 for a server, with a look at each head first. Counts what it was asked to send."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.bytes_out = 0
        self._chunks = self._chunk_bytes = 0
        self.refusal: RequestRefused | None = None
        """Why nothing more is read from this connection."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As h11's. What it raises is in `refusal` too."""
        try:
            if self.their_state is h11.IDLE:
                check_head(self.trailing_data[0])
                self._chunks = self._chunk_bytes = 0
            event = super().next_event()
            if isinstance(event, h11.Data):
                self._count(event)
            return event
        except RequestRefused as refused:
            self.refusal = refused
            raise
        except h11.RemoteProtocolError as malformed:
            self.refusal = _as_refusal(malformed)
            raise

    def _count(self, data: h11.Data) -> None:
        self._chunks += data.chunk_start
        self._chunk_bytes += len(data.data)
        if self._chunks > _CHUNKS_BEFORE_JUDGED and self._chunk_bytes < self._chunks * _LEAST_CHUNK_BYTES:
            least = f"chunks have {_LEAST_CHUNK_BYTES} bytes on average at least"
            raise RequestRefused(400, "ChunksTooSmall", f"{least}; gather before sending")

    def send(self, event: h11.Event) -> bytes | None:  # pyright: ignore[reportIncompatibleMethodOverride] - its overloads
        """As h11's; and an answer to a request that is not here whole yet says that it is the last on its connection:
        nobody can tell where in what still comes the next request would begin (RFC 9112 section 9.6)."""
        if isinstance(event, h11.Response) and self.their_state in {h11.IDLE, h11.SEND_BODY, h11.ERROR}:
            headers = [(name, value) for name, value in event.headers if name != b"connection"]
            event = h11.Response(
                status_code=event.status_code, reason=event.reason, headers=[*headers, (b"connection", b"close")]
            )
        data = super().send(event)
        self.bytes_out += len(data or b"")
        return data


def check_head(received: bytes) -> None:
    """Raise `RequestRefused` if *received*, from where a request begins, can be no request that is taken in.

    May be called while the head is still on its way.
    """
    end = received.find(_END)
    head = received[:end] if end >= 0 else received
    line, _, fields = head.partition(b"\r\n")
    if len(line) > MAX_LINE_BYTES:
        raise RequestRefused(414, "UriTooLong", f"the first line of a request has {MAX_LINE_BYTES} bytes at most")
    if len(head) > MAX_HEAD_BYTES or fields.count(b"\r\n") >= MAX_FIELDS:
        raise RequestRefused(
            431,
            "HeadersTooLarge",
            f"the headers of a request are {MAX_FIELDS} at most and have {MAX_HEAD_BYTES} bytes at most",
        )
    # The last byte of what has not come whole may be the first half of a line's end.
    whole = head if end >= 0 else head.removesuffix(b"\r")
    if _LINE_FEED_ALONE.search(whole) or _CARRIAGE_RETURN_ALONE.search(whole) or b"\0" in whole:
        raise _malformed("its lines do not end as lines of HTTP end")
    if end >= 0:
        _check_version(line)
        _check_framing(fields, is_old=line.endswith(b"1.0"))


def _check_version(line: bytes) -> None:
    version = _VERSION.search(line)
    if version is None:
        raise _malformed("its first line is none")
    if version[1] not in {b"1.0", b"1.1"}:
        raise RequestRefused(505, "HttpVersionNotSupported", "HTTP/1.1 is spoken here")


def _check_framing(fields: bytes, *, is_old: bool) -> None:
    """That there is one way only to tell where the request ends: RFC 9112 section 6."""
    lengths, encodings = 0, 0
    for field in fields.split(b"\r\n"):
        if field[:1] in {b" ", b"\t"}:
            raise _malformed("a header goes over several lines")
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length":
            lengths += 1
            if not value.strip(b" \t").isdigit():
                raise _malformed("its length is no number")
        encodings += name.lower() == b"transfer-encoding"
    if lengths > 1 or (lengths and encodings) or (encodings and is_old):
        raise _malformed("it says in two ways how long it is")


def _malformed(why: str) -> RequestRefused:
    return RequestRefused(400, "MalformedRequest", f"this is not a well-formed HTTP/1.1 request: {why}")


def _as_refusal(malformed: h11.RemoteProtocolError) -> RequestRefused:
    status = malformed.error_status_hint
    if status == HTTPStatus.NOT_IMPLEMENTED:
        return RequestRefused(501, "TransferEncodingNotSupported", "of transfer encodings, 'chunked' is known here")
    return RequestRefused(400, "MalformedRequest", "this is not a well-formed HTTP/1.1 request")
