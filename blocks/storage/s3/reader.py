"""Read an S3 object like a file: in ranges, a little ahead, always of the same object.

Every request names the ETag of the first answer (If-Match), so an object that is replaced is never mixed with its
successor. An answer shorter than it says is requested again; after the last attempt the read fails. A cut connection
never looks like the end of the file.
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

# The first block, and the first after every seek: headers and last pieces of encrypted files are smaller, and it is
# hardly slower than less. Sequential reading grows to the larger size, at which a request costs little compared to its
# bytes, and requests the next blocks while one is read: together at most 16 MiB.
FIRST_BLOCK_BYTES = 256 * 1024
LARGEST_BLOCK_BYTES = 4 * 1024 * 1024
BLOCKS_AHEAD = 3
_GROWTH = 4


class S3Reader(io.RawIOBase):
    """One object, seekable, for one thread at a time. Raises Waybill's own errors."""

    def __init__(self, connection: S3Connection, where: dict[str, Any], path: str) -> None:
        """Make the first request. Raises `S3Failure`, also for a missing object."""
        super().__init__()
        self._connection = connection
        self._where = where
        self._path = path
        self._position = 0
        self._start, self._block = 0, bytearray()
        self._next_bytes = FIRST_BLOCK_BYTES
        # Requested blocks, in order and without gaps: where each begins and ends.
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

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"a file has no byte {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill *buffer* from one block. Raises `StorageUnavailable` and `BlobMissing`."""
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
            self._cancel_ahead()
            self._block = bytearray()
        super().close()

    def _turn_to(self, position: int) -> None:
        """Make the block at *position* the current one, and request those after it while reading goes on."""
        sequential = position == self._start + len(self._block)
        if not self._ahead or self._ahead[0][0] != position:
            self._cancel_ahead()
            if not sequential:
                self._next_bytes = FIRST_BLOCK_BYTES
            self._request(position)
        self._block = bytearray()  # freed before the next arrives: memory for both is not needed
        start, _, request = self._ahead.popleft()
        self._start, self._block = start, self._received(start, request)
        following = self._ahead[-1][1] if self._ahead else start + len(self._block)
        while sequential and len(self._ahead) < BLOCKS_AHEAD and following < self.size:
            following = self._request(following)

    def _request(self, start: int) -> int:
        """Request the block at *start*; return where it ends."""
        end = min(start + self._next_bytes, self.size)
        self._next_bytes = min(self._next_bytes * _GROWTH, LARGEST_BLOCK_BYTES)
        block = f"bytes={start}-{end - 1}"
        request = self._connection.start("get_object", **self._where, Range=block, IfMatch=self._etag)
        self._ahead.append((start, end, request))
        return end

    def _received(self, start: int, request: Future[dict[str, Any]]) -> bytearray:
        try:
            answer = request.result()
        except S3Failure as failure:
            if failure.missing:
                raise BlobMissing(f"{self._path} was deleted while it was read", key=self._path) from failure
            if failure.condition_failed or failure.range_unsatisfiable:
                raise StorageUnavailable(f"{self._path} was replaced while it was read; read it again") from failure
            raise failure.as_error(f"read {self._path}") from failure
        content: bytearray = answer["Body"]
        if str(answer.get("ContentRange", "")).partition("-")[0] != f"bytes {start}" or not content:
            raise StorageUnavailable(f"the S3 server sent another part of {self._path} than was requested")
        return content

    def _cancel_ahead(self) -> None:
        while self._ahead:
            self._ahead.popleft()[2].cancel()


def _whole_size(answer: dict[str, Any]) -> int:
    """Return 100 for ``bytes 0-9/100``. Some servers send a short object whole, without a Content-Range."""
    whole = str(answer.get("ContentRange", "")).rpartition("/")[2]
    return int(whole) if whole.isdecimal() else int(answer["ContentLength"])
