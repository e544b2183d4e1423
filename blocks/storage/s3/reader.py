"""Reading an S3 object like a file: ranges, a little ahead, always of the same object.

Every request names the ETag that the first one saw (If-Match), so an object that is replaced meanwhile is never mixed
with its successor; every answer is as long as it says, or the request is made again; after the last attempt the read
fails. A cut connection never looks like the end of the file.
"""

from __future__ import annotations

import io
import os
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from blocks.errors import BlobMissing, StorageUnavailable
from blocks.storage.s3.connection import S3Connection
from blocks.storage.s3.failure import S3Failure

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# What is asked for first, and after every jump: the headers and last pieces of encrypted files are smaller, and it is
# hardly slower than less. Sequential reading goes up to the larger size, from where on a request costs little beside
# its bytes, and asks for the next blocks while one is read: together at most 16 MiB.
FIRST_BLOCK_BYTES = 256 * 1024
LARGEST_BLOCK_BYTES = 4 * 1024 * 1024
BLOCKS_AHEAD = 3
_GROWTH = 4


class S3Reader(io.RawIOBase):
    """One object from its beginning, seekable. To be used by one thread at a time; errors are Waybill's own."""

    def __init__(self, connection: S3Connection, where: dict[str, Any], key: str) -> None:
        """Make the first request. Raises `S3Failure`, also for an object that is not there."""
        super().__init__()
        self._connection = connection
        self._where = where
        self._key = key
        self._position = 0
        self._start, self._block = 0, bytearray()
        self._next_bytes = FIRST_BLOCK_BYTES
        # Blocks on their way, in order and without gaps: where each begins and ends.
        self._ahead: deque[tuple[int, int, Future[dict[str, Any]]]] = deque()
        self._begin()

    def _begin(self) -> None:
        try:
            answer = self._connection.call("get_object", **self._where, Range=f"bytes=0-{FIRST_BLOCK_BYTES - 1}")
        except S3Failure as failure:
            if not failure.range_unsatisfiable:
                raise
            answer = self._connection.call("head_object", **self._where)  # an empty object has no first byte
            self.size = int(answer["ContentLength"])
        else:
            self._block = answer["Body"]
            self.size = _whole_size(answer)
        self._etag = str(answer["ETag"])
        self._next_bytes *= _GROWTH

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"a file has no byte {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill *buffer*, or as much of it as one block holds. Raises `StorageUnavailable` and `BlobMissing`."""
        target = memoryview(buffer).cast("B")
        if self._position >= self.size or not target:
            return 0
        if not self._start <= self._position < self._start + len(self._block):
            self._turn_to(self._position)
        piece = memoryview(self._block)[self._position - self._start :][: len(target)]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._forget_what_is_ahead()
            self._block = bytearray()
        super().close()

    def _turn_to(self, position: int) -> None:
        """Make the block at *position* the current one, and ask for those after it while reading goes on."""
        sequential = position == self._start + len(self._block)
        if not self._ahead or self._ahead[0][0] != position:
            self._forget_what_is_ahead()
            if not sequential:
                self._next_bytes = FIRST_BLOCK_BYTES
            self._ask(position)
        self._block = bytearray()  # before the next is taken: they are not needed together
        start, _, asked = self._ahead.popleft()
        self._start, self._block = start, self._arrived(start, asked)
        following = self._ahead[-1][1] if self._ahead else start + len(self._block)
        while sequential and len(self._ahead) < BLOCKS_AHEAD and following < self.size:
            following = self._ask(following)

    def _ask(self, start: int) -> int:
        """Ask for the block at *start*; returns where it ends."""
        end = min(start + self._next_bytes, self.size)
        self._next_bytes = min(self._next_bytes * _GROWTH, LARGEST_BLOCK_BYTES)
        block = f"bytes={start}-{end - 1}"
        asked = self._connection.start("get_object", **self._where, Range=block, IfMatch=self._etag)
        self._ahead.append((start, end, asked))
        return end

    def _arrived(self, start: int, asked: Future[dict[str, Any]]) -> bytearray:
        try:
            answer = asked.result()
        except S3Failure as failure:
            if failure.missing:
                raise BlobMissing(f"{self._key} was deleted while it was read", key=self._key) from failure
            if failure.condition_failed or failure.range_unsatisfiable:
                raise StorageUnavailable(f"{self._key} was replaced while it was read; read it again") from failure
            raise failure.told(f"read {self._key}") from failure
        content: bytearray = answer["Body"]
        if str(answer.get("ContentRange", "")).partition("-")[0] != f"bytes {start}" or not content:
            raise StorageUnavailable(f"the S3 server gave another part of {self._key} than it was asked for")
        return content

    def _forget_what_is_ahead(self) -> None:
        while self._ahead:
            self._ahead.popleft()[2].cancel()


def _whole_size(answer: dict[str, Any]) -> int:
    """``bytes 0-9/100`` says 100. Some servers give a short object whole, without a range."""
    whole = str(answer.get("ContentRange", "")).rpartition("/")[2]
    return int(whole) if whole.isdecimal() else int(answer["ContentLength"])
