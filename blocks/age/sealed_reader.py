"""Random access to an age file: any range of its content, from the chunks that hold it.

Implements the seeking of C2SP age.md, "Payload". Does not return even the size before the last chunk is authentic.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from blocks.age.file_key import TAG_BYTES
from blocks.age.header import malformed_header, read_header
from blocks.age.recipients import Identity, open_header
from blocks.age.stream import (
    CHUNK_BYTES,
    GROUP_CHUNKS,
    NONCE_BYTES,
    SEALED_CHUNK_BYTES,
    PayloadCipher,
    empty_last_chunk,
    payload_changed,
)
from blocks.errors import InvalidOptions


class SealedReader:
    """The content of one age file on a stream that can seek. Keeps about 3 MiB at most, whatever the file's size.

    For one thread at a time; ranges may be read in turns. Does not close the stream, and lets its errors pass.
    """

    def __init__(self, stream: BinaryIO, identities: Sequence[Identity]) -> None:
        """Authenticate header and last chunk, so that a file that was cut is found now. Raises like `unseal`."""
        self._stream = stream
        stream.seek(0)
        header, header_bytes = read_header(stream)
        file_key = open_header(header, identities)
        nonce = _read_fully(stream, NONCE_BYTES)
        if len(nonce) < NONCE_BYTES:
            raise malformed_header("the file ends before the payload's nonce")
        self._payload_start = len(header_bytes) + NONCE_BYTES
        self._payload_bytes = stream.seek(0, io.SEEK_END) - self._payload_start
        self._chunk_count = max(1, -(-self._payload_bytes // SEALED_CHUNK_BYTES))
        self._cipher = PayloadCipher(file_key, nonce, group_chunks=1)
        self._authenticate_end()

    @property
    def size(self) -> int:
        """Bytes of content; authentic."""
        return self._payload_bytes - self._chunk_count * TAG_BYTES

    def read_range(self, start: int, stop: int) -> Iterator[bytes]:
        """Return the content from *start* up to *stop*, in pieces of up to 1 MiB; each chunk is authenticated first.

        Raises `InvalidOptions` at once for a range that is not within the content, and `AuthenticationFailed`
        (part="payload") at the first chunk that is not authentic, after what came before it.
        """
        if not 0 <= start <= stop <= self.size:
            raise InvalidOptions(f"the range {start} to {stop} is not within the content, which has {self.size} bytes")
        return self._read_range(start, stop) if start < stop else iter(())

    def release_buffer(self) -> None:
        """Keep no content in memory until the next read."""
        self._cipher.make_room(0)

    def _read_range(self, start: int, stop: int) -> Iterator[bytes]:
        end = -(-stop // CHUNK_BYTES)
        for first in range(start // CHUNK_BYTES, end, GROUP_CHUNKS):
            beyond = min(first + GROUP_CHUNKS, end)
            authentic = self._open(first, beyond)
            base = first * CHUNK_BYTES
            wanted = self._cipher.opened(max(start - base, 0), min(stop - base, authentic * CHUNK_BYTES))
            if wanted:
                yield wanted
            if authentic < beyond - first:
                raise payload_changed(first + authentic, "its tag does not fit")

    def _authenticate_end(self) -> None:
        # Until this has passed, the number of bytes is whatever the storage says it is.
        if not self._open(self._chunk_count - 1, self._chunk_count):
            raise payload_changed(self._chunk_count - 1, "the file does not end with its last chunk")
        if self.size == (self._chunk_count - 1) * CHUNK_BYTES > 0:
            raise empty_last_chunk()

    def _open(self, first: int, beyond: int) -> int:
        """Open chunks into the cipher's buffer; how many are authentic before the first that is not."""
        self._stream.seek(self._payload_start + first * SEALED_CHUNK_BYTES)
        # No more than what was measured: what is appended while we read is not part of the file.
        wanted = min(beyond * SEALED_CHUNK_BYTES, self._payload_bytes) - first * SEALED_CHUNK_BYTES
        self._cipher.make_room(beyond - first)
        group = memoryview(_read_fully(self._stream, max(0, wanted)))
        for place, number in enumerate(range(first, beyond)):
            sealed = group[place * SEALED_CHUNK_BYTES : (place + 1) * SEALED_CHUNK_BYTES]
            last = number == self._chunk_count - 1
            if self._cipher.open_chunk(number, sealed, last=last, place=place) is None:
                return place
        return beyond - first


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    """Return *size* bytes, or fewer where the stream ends; a single read may return fewer at any time."""
    data = stream.read(size)
    if len(data) == size or not data:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and (more := stream.read(missing)):
        parts.append(more)
        missing -= len(more)
    return b"".join(parts)
