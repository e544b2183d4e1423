"""The contract of a resumable write: a blob that arrives piece by piece, through restarts of its writer.

`LocalPartial` keeps it in a folder, `S3Partial` in a bucket, and `SpooledPartial` for any other storage. What has been
reported as durable survives a kill at any moment. Nothing is visible under the blob's path before `finish`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Protocol, runtime_checkable

from blocks.errors import TransferConflict


class PartialBlob(Protocol):
    """One blob that is being written. All calls block; one thread at a time writes.

    Two processes that write to one path are kept apart by their callers. Every call raises `StorageUnavailable`,
    `StorageFull` or `InvalidSettings` where the storage cannot do it; what had arrived stays.
    """

    def offset(self) -> int:
        """Return how many bytes are here, after they have been made durable. The whole size when it is finished."""
        ...

    def append(self, offset: int, chunks: Iterable[bytes]) -> int:
        """Add *chunks* at *offset*, which is where the bytes here end; return where they end now.

        When *chunks* raises, what came before stays. Not durable before the next `offset`. Raises `TransferConflict`
        for another offset.
        """
        ...

    def read(self) -> BinaryIO | None:
        """Open what is here for reading, seekable, also while more is added. None where the storage cannot yet."""
        ...

    def finish(self, size: int) -> None:
        """Make the blob visible, durably, in one step. Call again if that was interrupted.

        Raises `TransferConflict` unless there are *size* bytes, and `KeyExists` when another writer has the path.
        """
        ...

    def discard(self) -> None:
        """Remove what has arrived, but not a finished blob. Idempotent."""
        ...

    def close(self) -> None:
        """Let go of files and connections. What has arrived stays, and the next call opens them again."""
        ...


@dataclass(frozen=True, kw_only=True)
class SentPart:
    """A part that a client says it has sent directly to the storage: its number, from 1, and the ETag it was given."""

    number: int
    etag: str


@dataclass(frozen=True, kw_only=True)
class PresignedPart:
    """Where a client sends the part *number* itself, with ``PUT``: *size* bytes of the file from *offset* on."""

    number: int
    url: str
    offset: int
    size: int


@runtime_checkable
class SentInParts(Protocol):
    """A `PartialBlob` to whose storage clients can send parts directly."""

    def part_count(self) -> int:
        """Return how many parts there are."""
        ...

    def presigned(self, numbers: Sequence[int], *, expires_in: timedelta) -> list[PresignedPart] | None:
        """Return where to send the parts *numbers*; None without credentials to sign with."""
        ...

    def check_parts(self, sent: Sequence[SentPart]) -> None:
        """Raise `TransferConflict` unless the storage has all parts, of the right sizes, and with the ETags *sent*."""
        ...


def wrong_offset(asked: int, offset: int) -> TransferConflict:
    """Return the error for a write at *asked* where the bytes end at *offset*."""
    return TransferConflict(f"the next byte is number {offset}, not {asked}; ask where to go on", offset=offset)


def wrong_size(size: int, offset: int) -> TransferConflict:
    """Return the error for a blob that should have *size* bytes and has *offset*."""
    return TransferConflict(f"there are {offset} of {size} bytes", offset=offset)
