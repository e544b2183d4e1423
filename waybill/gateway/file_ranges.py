"""What an application and the server agree on, so that the kernel sends a part of a body from a file.

`http.response.zerocopysend` of the ASGI specification: a message with `file` (a descriptor, or an object with one),
`offset`, `count` and `more_body`. Here `offset` and `count` are required, and there may be `on_sent`: the server calls
it from the event loop with how many bytes of the range the client's kernel has acknowledged, every few MiB, or every
second if a client takes less, and always before it raises; before it returns, with all of them, which the server's
kernel then has. It must be quick; what it raises breaks the response off, and is raised to the application. Messages
with bytes may precede and follow.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message

FILE_RANGE = "http.response.zerocopysend"

OnSent = Callable[[int], None]


class ClientGone(ConnectionError):
    """The client disconnected, or the server ended its connection, before all of a range was sent."""


def file_range(file: int, offset: int, count: int, on_sent: OnSent) -> Message:
    """Return the message that sends *count* bytes of the open *file*, from *offset*; more of the body follows."""
    return {
        "type": FILE_RANGE, "file": file, "offset": offset, "count": count, "more_body": True, "on_sent": on_sent,
    }  # fmt: skip
