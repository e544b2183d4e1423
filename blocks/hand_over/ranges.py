"""Read a range of a transfer's bytes, over as many connections as it takes."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass

from blocks.errors import ContentMismatch
from blocks.hand_over.connection import DRAINED_BYTES, FAILURES, Requests, Session

# What a connection that breaks costs at most, with what is in the buffers of the kernel.
_READ_BYTES = 128 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_STRONG_ETAG = re.compile(r'"[!#-~\x80-\xff]*"')
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{1,19}")


class SourceChanged(Exception):
    """The address serves other bytes than before: what has arrived is of no use."""


@dataclass(frozen=True)
class Described:
    """What an answer says of the whole file."""

    total: int
    etag: str | None
    content_size: int | None
    content_sha256: str | None


class RangeReader:
    """Bytes of the file from `position` up to `stop`. For one thread."""

    def __init__(self, session: Session, expected: Described | None = None) -> None:
        """*expected* is what the file was when the download began: bytes of another file are never returned."""
        self._session = session
        self._requests = Requests(session)
        self._answer: http.client.HTTPResponse | None = None
        self._answer_end = 0
        self._kept = b""
        self.described = expected
        self.position = self.stop = self.received = 0

    def start(self, position: int, stop: int | None) -> None:
        """Go to *position*; read up to *stop*, None for the end of the file, whatever that is."""
        if position != self.position - len(self._kept):
            self._end_answer()
            self._kept = b""
            self.position = position
        self.stop = stop if stop is not None else -1

    def describe(self) -> Described:
        """Return what the file is, from an answer for the bytes to read now, which are read afterwards."""
        while self._answer is None:
            self._open()
        assert self.described is not None  # noqa: S101 - an answer describes it
        total = self.described.total
        self.stop = total if self.stop < 0 else min(self.stop, total)
        return self.described

    def fill(self, view: memoryview) -> int:
        """Fill *view* from `position` on; return how many bytes that is, fewer than asked for only at `stop`.

        Raises `SourceChanged`, `WorkStopped`, `GatewayUnavailable` and what refusals stand for.
        """
        kept = min(len(view), len(self._kept))
        view[:kept], self._kept = self._kept[:kept], self._kept[kept:]
        filled, wanted = kept, min(len(view), kept + self.stop - self.position)
        while filled < wanted:
            if self._answer is None:
                self._open()
                continue
            try:
                count = self._answer.readinto(view[filled : min(wanted, filled + _READ_BYTES)])
            except FAILURES as exc:
                self._failed(exc)
                continue
            filled += count
            self.position += count
            self.received += count
            if count:
                self._requests.patience.progressed()
                self._session.worked()
            elif self.position < self._answer_end:
                self._failed("the connection ended before the file did")
            else:
                self._end_answer()
        return filled

    def take_back(self, unused: bytes) -> None:
        """Return *unused* bytes first when `fill` is called next."""
        self._kept = unused + self._kept

    def close(self) -> None:
        """Close the connection."""
        self._answer = None
        self._requests.connection.close()

    def _open(self) -> None:
        end = "" if self.stop < 0 else str(self.stop - 1)
        headers = {"Range": f"bytes={self.position}-{end}"}
        if self.described is not None and self.described.etag is not None:
            headers["If-Range"] = self.described.etag
        answer = self._requests.head("GET", headers)
        if answer is None:
            return
        found, first, beyond = _read_head(answer)
        known = self.described
        if first != self.position or (known is not None and (found.total, found.etag) != (known.total, known.etag)):
            self.close()
            raise SourceChanged
        if known is None:
            self.described = found
        elif found.etag is None:
            # Nothing says that these bytes belong to those before.
            self.close()
            raise SourceChanged
        self._answer, self._answer_end = answer, beyond

    def _failed(self, error: BaseException | str) -> None:
        self._answer = None
        self._requests.failed(error)

    def _end_answer(self) -> None:
        """Read a short rest of the answer, or close its connection."""
        answer, self._answer = self._answer, None
        if answer is None:
            return
        try:
            if self._answer_end - self.position > DRAINED_BYTES:
                self._requests.connection.close()
            else:
                self._requests.drain(answer)
        except FAILURES:
            self._requests.connection.close()


def _read_head(answer: http.client.HTTPResponse) -> tuple[Described, int, int]:
    """Return the file that an answer is of, and which bytes of it follow: the first, and the end."""
    headers = answer.headers
    etag = headers.get("ETag", "")
    if answer.status == 206 and (ranged := _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))) is not None:
        first, last, total = map(int, ranged.groups())
    elif answer.status == 200 and (length := _number(headers.get("Content-Length", ""))) is not None:
        first, last, total = 0, length - 1, length
    elif answer.status == 416:
        raise SourceChanged  # it has become shorter
    else:
        first, last, total = 0, -1, -1
    if not 0 <= first <= last + 1 <= total or (first > last and total):
        raise ContentMismatch(
            f"the address does not answer like a transfer (status {answer.status}): compare the link with the one that "
            "was sent"
        )
    digest = headers.get("Waybill-Content-SHA256", "").lower()
    described = Described(
        total,
        etag if _STRONG_ETAG.fullmatch(etag) else None,
        _number(headers.get("Waybill-Content-Size", "")),
        digest if _SHA256.fullmatch(digest) else None,
    )
    return described, first, last + 1


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
