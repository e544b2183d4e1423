"""What the scripted receiver does with a request: a plain answer, or one of the ways in which receivers go wrong."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Ending = Literal["keep", "close", "half-close", "reset", "hang"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer. Without anything said: 204 at once, on a connection that stays."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    # Instead of status, headers and body: these bytes as they are. Empty for no answer at all.
    raw: bytes | None = None
    # Before the first byte.
    delay_seconds: float = 0.0
    # The first byte waits for it.
    held_until: threading.Event | None = None
    # Between the bytes of what comes after the first `drip_after` bytes, one at a time.
    drip_seconds: float | None = None
    drip_after_bytes: int = 0
    # Sent again and again behind the rest, until the client has had enough.
    repeat: bytes = b""
    # What becomes of the connection. Nothing in the headers tells of it in advance.
    ending: Ending = "keep"
    # Called in the receiver's thread once the answer is out: the moment between answer and record.
    after: Callable[[], None] | None = None

    @property
    def is_slow(self) -> bool:
        """Whether it takes longer than one write."""
        waits = self.delay_seconds or self.held_until or self.drip_seconds
        return bool(waits or self.repeat or self.ending == "hang")

    def rendered(self) -> bytes:
        """The bytes of the answer, without what is repeated."""
        if self.raw is not None:
            return self.raw
        lines = [f"HTTP/1.1 {self.status} On Purpose", *(f"{name}: {value}" for name, value in self.headers.items())]
        names = {name.lower() for name in self.headers}
        if not names & {"content-length", "transfer-encoding"} and self.status != 204:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


# Takes everything, and never says a word.
BLACK_HOLE = Answer(raw=b"", ending="hang")
RESET = Answer(raw=b"", ending="reset")
CLOSED_WITHOUT_ANSWER = Answer(raw=b"", ending="close")


def redirect(location: str, *, status: int = 302) -> Answer:
    """Tells the client to go elsewhere."""
    return Answer(status=status, headers={"Location": location})


def dripping(*, status: int = 200, seconds: float = 0.5, from_status_line: bool = False) -> Answer:
    """A byte at a time: each read succeeds, and the whole never ends. With *from_status_line* there is no status."""
    head = Answer(status=status, headers={"Content-Length": "1000000"}).rendered()
    drip_after = 0 if from_status_line else len(head)
    return Answer(raw=head + b"." * 100_000, drip_seconds=seconds, drip_after_bytes=drip_after)


def endless_body(*, status: int = 200) -> Answer:
    """A body without an end, as quickly as it is taken."""
    piece = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    return Answer(status=status, headers={"Transfer-Encoding": "chunked"}, repeat=piece)


def gzip_bomb(*, status: int = 200, unpacked_bytes: int = 64 * 1024 * 1024) -> Answer:
    """A small body that unpacks to a large one."""
    return Answer(status=status, headers={"Content-Encoding": "gzip"}, body=gzip.compress(bytes(unpacked_bytes)))
