"""The contract of a blob storage, and the hashing that every back end does while it writes.

Three back ends keep it: `LocalBackend` for a folder, where a hard link publishes atomically; `S3Backend` for a bucket,
where the request that completes an upload does; and `FsspecBackend` for any other file system that fsspec opens, which
is safe because paths are random, used once and read only through the catalogue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from blocks.errors import BlobMissing, ContentMismatch, KeyExists
from blocks.storage.partial import PartialBlob

# One read, one hash update and one write per MiB: large enough for full disk speed, small against any memory limit.
CHUNK_BYTES = 1024 * 1024
# Disks serve this many at the same time, and a waiting thread costs some ten kB.
DEFAULT_THREADS = 32
# A well-formed path without a blob: ids of blobs are random, and none is all zeros.
# In no folder of files: a probe that was killed leaves a blob that no row should know.
WRITTEN_PROBE_PATH = "probe/written"
PROBE_PATH = f"uploads/00/{'0' * 32}"


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Size in bytes and sha256 (hex) of the stored bytes, computed in the pass that wrote them."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Size in bytes and sha256 (hex) that the writer declared; each is checked when given."""

    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A stored blob as it is listed: its size in bytes, and when it was last written.

    `age` was measured when the blob was listed, by the clock of the storage where it has one: the clock of this machine
    may be wrong. Both times are None where a driver does not report them.
    """

    path: str
    size: int
    modified_at: datetime | None
    age: timedelta | None


class Backend(Protocol):
    """A storage for blobs. All calls block and may be made from several threads; call it from a thread in async code.

    *path* is a blob path (`blocks.storage.blob_path`); every call raises `UnsafeKey` for anything else.
    """

    threads: int = DEFAULT_THREADS
    """How many threads a process uses at most to call it: they wait for a disk or a server."""

    def publish(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        expected: Expected | None = None,
        replace: bool = False,
        sync_folder: bool = True,
    ) -> Blob:
        """Write *chunks* under *path*, visible whole or not at all; durable on return.

        Without *sync_folder* only the bytes are: a power cut may lose their name until `sync_folders` has returned.
        Raises `KeyExists` when the path is taken (unless *replace*), `ContentMismatch` when the bytes are not those
        declared, `StorageFull`, `StorageUnavailable`, `InvalidSettings` when this account may not write there, and
        whatever the iterator raises; in every case nothing becomes visible and no temporary file stays.
        """
        ...

    def sync_folders(self, paths: Iterable[str]) -> None:
        """Make the names of the blobs *paths* durable, each folder once. A storage without folders does nothing.

        Raises `StorageUnavailable`, also for a folder that is gone; then none of the names is certain.
        """
        ...

    def open(self, path: str) -> BinaryIO:
        """Open for reading; seekable, for one thread at a time. Raises `BlobMissing`.

        An open reader continues when the blob is deleted, or raises; it never ends early.
        """
        ...

    def size(self, path: str) -> int:
        """Return the size of the stored blob in bytes, without reading it. Raises `BlobMissing`."""
        ...

    def delete(self, path: str, *, interrupted: bool = False) -> bool:
        """Remove the blob; return False when there was none. *interrupted*: also remove leftovers of a dead writer.

        Raises `UnsafeKey` also where something that is no blob, such as a folder, has its place.
        """
        ...

    def delete_many(self, paths: Sequence[str]) -> dict[str, str]:
        """Remove any number of blobs, without leftovers; return the reason for each path that could not be removed.

        A path without a blob is success, as are paths that come twice. Something that is no blob path is named in the
        result too. Raises what `delete` raises when nothing can be removed: a server that is away, a bucket without
        rights. What was removed until then stays removed, so the call can be repeated.
        """
        ...

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Like `paths`, with size and age. The blobs of one folder come together, sorted by name."""
        ...

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Yield every visible blob path below the folder *prefix*, unsorted, without foreign files.

        Raises `StorageUnavailable` when a part cannot be listed: a short list would look like lost blobs.
        """
        ...

    def leftovers(self, prefix: str = "", *, older_than: timedelta = timedelta(0)) -> Iterator[str]:
        """Yield paths below the folder *prefix* with leftovers of interrupted writers (temporary files, open uploads).

        A write in progress looks the same: *older_than* leaves out those that began within that time.
        """
        ...

    def abort(self, path: str, *, older_than: timedelta = timedelta(0)) -> int:
        """Remove the leftovers of interrupted writers of *path*, but not the blob; return how many there were.

        A writer that is still active fails. Idempotent.
        """
        ...

    def partial(self, path: str, *, scratch: Path, size: int) -> PartialBlob:
        """Return the blob that is written to *path* piece by piece, over any time, by one process after another.

        *size* is how many bytes it will have. What the storage cannot take yet waits in the folder *scratch*, which
        must outlast this process.
        """
        ...

    def probe(self) -> None:
        """Check that blobs can be read now, with one request; a folder also for rights and room.

        Raises `StorageUnavailable`, `InvalidSettings` and `StorageFull`. Writes nothing: see `probe_writing`.
        """
        ...

    def locate(self, path: str) -> str:
        """Return the path or URL of the stored bytes, for people."""
        ...

    def presign(self, path: str, *, expires_in: timedelta, filename: str, media_type: str) -> str | None:
        """Return a URL that downloads the stored bytes as *filename* without credentials, or None where the storage
        cannot sign one. Does not check that the blob exists."""
        ...


class Digest:
    """Hashes and counts a stream of chunks, and compares the result with what was declared.

    `source_error` is the exception of the chunks' source, if any, which is no error of the storage.
    """

    def __init__(self, expected: Expected | None = None) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._expected = expected or Expected()
        self.source_error: BaseException | None = None

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield *chunks* unchanged. Raises `ContentMismatch` at the end, so that the writer discards them."""
        try:
            for chunk in chunks:
                self._hash.update(chunk)
                self._size += len(chunk)
                yield chunk
        except GeneratorExit:
            raise  # the reader stops early; storing it would keep this frame and its source alive in a cycle
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
            raise ContentMismatch(f"expected {expected.size} bytes and got {found.size}")
        if expected.sha256 is not None and found.sha256 != expected.sha256:
            raise ContentMismatch(f"expected sha256 {expected.sha256} and got {found.sha256}")


def probe_writing(backend: Backend) -> None:
    """Store a blob of some bytes and delete it. Raises what `Backend.publish` and `Backend.delete` raise."""
    backend.publish(WRITTEN_PROBE_PATH, [b"written to see whether it can be, and deleted\n"], replace=True)
    backend.delete(WRITTEN_PROBE_PATH)


def read_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the stream's bytes in pieces of `CHUNK_BYTES`."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def path_taken(path: str) -> KeyExists:
    return KeyExists(f"the blob path {path} is taken; a path is never used twice", key=path)


def blob_missing(action: str, path: str) -> BlobMissing:
    return BlobMissing(f"cannot {action}: there is no such blob", key=path)
