"""What a place for blobs must do, and which back end serves which URL.

Three back ends: `LocalBackend` for a folder, where publishing is atomic by hard link; `S3Backend` for a bucket, where
it is by the request that completes an upload; and `FsspecBackend` for any other file system that fsspec opens, where it
is safe because keys are random, used once and read only through the catalogue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Protocol

from blocks.errors import ContentMismatch

# One read, one hash update and one write per MiB: large enough for full disk speed, small beside any memory limit.
CHUNK_BYTES = 1024 * 1024
# Of the form of a key, and never one: ids of blobs are random and none is all zeros.
PROBE_PATH = f"uploads/00/{'0' * 32}"


@dataclass(frozen=True, kw_only=True)
class Blob:
    """What was written: size in bytes and sha256 (hex) of the stored bytes, taken in the pass that wrote them."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the writer declared: size in bytes and sha256 (hex), each checked when given."""

    size: int | None = None
    sha256: str | None = None


class Backend(Protocol):
    """A place for blobs. All calls block, and may be made from several threads; callers on an event loop use one."""

    def publish(
        self, key: str, chunks: Iterable[bytes], *, expected: Expected | None = None, replace: bool = False
    ) -> Blob:
        """Write *chunks* under *key*, visible whole or not at all.

        Raises `KeyExists` when the key is taken (unless *replace*), `ContentMismatch` when the bytes are not what was
        declared, `StorageFull`, `StorageUnavailable`, `InvalidSettings` when this account may not write there, and
        whatever the iterator raises; in every case nothing becomes visible and no temporary file stays.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """Open for reading; seekable, for one thread at a time. Raises `BlobMissing`.

        A reader that has begun reads on although the blob is deleted, or fails; it never ends early.
        """
        ...

    def size(self, key: str) -> int:
        """The size of the stored blob in bytes, without reading it. Raises `BlobMissing`."""
        ...

    def delete(self, key: str, *, interrupted: bool = False) -> bool:
        """Remove the blob; False when there was none. *interrupted*: also what a dead writer of this key left."""
        ...

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Every visible key below the folder *prefix*, unsorted. Foreign files that no key could name are left out.

        Raises `StorageUnavailable` when a part cannot be listed: a short list would look like lost blobs.
        """
        ...

    def leftovers(self, prefix: str = "", *, older_than: timedelta = timedelta(0)) -> Iterator[str]:
        """Keys below the folder *prefix* whose writers were interrupted and left something behind that is not a blob.

        A write that is under way looks the same: *older_than* leaves out what was begun in the last so much time.
        """
        ...

    def abort(self, key: str, *, older_than: timedelta = timedelta(0)) -> int:
        """Remove what interrupted writers of this key left, but not the blob; returns how many there were.

        A writer that is still at it fails then. Idempotent.
        """
        ...

    def probe(self) -> None:
        """Whether blobs can be read here now, as far as one look or one request can tell; nothing is written.

        Raises `StorageUnavailable` and `InvalidSettings`.
        """
        ...

    def locate(self, key: str) -> str:
        """Where the stored bytes lie: a path or a URL, for people."""
        ...

    def presign(self, key: str, *, expires_in: timedelta, filename: str, media_type: str) -> str | None:
        """A URL by which anybody can download the stored bytes for a while, named *filename*; None when the storage has
        no such thing. Does not look whether the blob is there."""
        ...


class Digest:
    """Hashes and counts chunks on their way through, and compares them with what was declared.

    `source_error` is what the source of the chunks raised, if it did: an error of the source is not the storage's.
    """

    def __init__(self, expected: Expected | None = None) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._expected = expected or Expected()
        self.source_error: BaseException | None = None

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield *chunks* unchanged. Raises `ContentMismatch` at the end, so that the writer discards what it has."""
        try:
            for chunk in chunks:
                self._hash.update(chunk)
                self._size += len(chunk)
                yield chunk
        except GeneratorExit:
            raise  # the reader stops early; kept, it would keep this frame and its source alive in a cycle
        except BaseException as exc:
            self.source_error = exc
            raise
        self._check()

    @property
    def blob(self) -> Blob:
        return Blob(size=self._size, sha256=self._hash.hexdigest())

    def _check(self) -> None:
        found, expected = self.blob, self._expected
        if expected.size is not None and found.size != expected.size:
            raise ContentMismatch(
                f"expected {expected.size} bytes and got {found.size}; the source changed or was cut short"
            )
        if expected.sha256 is not None and found.sha256 != expected.sha256:
            raise ContentMismatch(f"expected sha256 {expected.sha256} and got {found.sha256}; the source changed")


def read_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream's bytes in pieces of `CHUNK_BYTES`."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk
