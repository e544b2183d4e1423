"""What an application and the server agree on, so that the kernel sends a part of a body from a file.

`http.response.zerocopysend` of the ASGI specification: a message with `file` (a descriptor, or an object with one),
`offset`, `count` and `more_body`. Here `offset` and `count` are required. Bytes may precede and follow.
"""

from __future__ import annotations

from starlette.types import Message

FILE_RANGE = "http.response.zerocopysend"


class ClientGone(ConnectionError):
    """The client disconnected, or the server ended its connection, after *sent_bytes* of the range."""

    def __init__(self, sent_bytes: int) -> None:
        super().__init__(f"the client disconnected after {sent_bytes} bytes of a range")
        self.sent_bytes = sent_bytes


def file_range(file: int, offset: int, count: int) -> Message:
    """Return the message that sends *count* bytes of the open *file*, from *offset*; more of the body follows."""
    return {"type": FILE_RANGE, "file": file, "offset": offset, "count": count, "more_body": True}
