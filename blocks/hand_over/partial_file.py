"""A download that is not finished: what has arrived of the content, and which parts that is.

Two hidden files next to the target, both 0600: the content with gaps, and a state file of one line of JSON and a byte
for each group, 1 when the group is in the content file. The byte is written after the group, so that a process that is
killed at any moment leaves only groups that are whole. What a power cut leaves is another matter: bytes may be on disk
and the group not. So without a hash to compare with, what was begun before the machine was started is not continued.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from blocks.errors import InvalidOptions, StorageFull
from blocks.hand_over.layout import Layout
from blocks.runtime.atomic_file import sync_folder
from blocks.runtime.file_lock import try_lock_file
from blocks.runtime.write_errors import write_errors

# Read at most: a header has 1 MiB, in JSON as hexadecimal digits twice that.
_MAX_HEAD_BYTES = 3 << 20
_MAX_NAME_BYTES = 200
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the gateway has said of the file, and its beginning: nothing here is secret."""

    url: str
    etag: str | None
    total: int
    content_size: int | None
    content_sha256: str | None
    header: str
    nonce: str
    boot: str | None

    @property
    def layout(self) -> Layout:
        """Return where its chunks lie."""
        return Layout(self.total, len(self.header) // 2 + len(self.nonce) // 2, sealed=bool(self.header))


class PartialFile:
    """Both files of a download to *target*, locked for this process until `close`. Groups may come from any thread."""

    def __init__(self, target: Path) -> None:
        """Lock the download. Raises `InvalidOptions` where another process is at it, and for unwritable folders."""
        name = target.name
        if len(name.encode(errors="surrogateescape")) > _MAX_NAME_BYTES:
            name = sha256(name.encode(errors="surrogateescape")).hexdigest()
        self.target = target
        self._content_path = target.with_name(f".{name}.waybill-part")
        self._state_path = target.with_name(f".{name}.waybill-state")
        self._map_start = 0
        self._done = bytearray()
        self._content = -1
        with write_errors(target):
            state = try_lock_file(self._state_path)
        if state is None:
            raise InvalidOptions(f"another process is receiving {target}; wait for it, or give another name")
        self._state = state

    def load(self, url: str, *, hash_known: bool) -> Offer | None:
        """Return what an earlier process has begun of the same transfer, None when there is nothing to continue."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            head, newline, rest = os.pread(self._state, _MAX_HEAD_BYTES, 0).partition(b"\n")
            offer = Offer(**cast("dict[str, Any]", json.loads(head)))
            layout = offer.layout
            is_safe = hash_known or offer.content_sha256 is not None or offer.boot == boot_id()
            if not newline or offer.url != url or offer.etag is None or not is_safe:
                return None
            self._map_start = len(head) + 1
            self._done = bytearray(rest[: layout.groups]).ljust(layout.groups, b"\0")
            self._content = os.open(self._content_path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            return offer
        return None

    def begin(self, offer: Offer) -> None:
        """Start over with *offer*: an empty content file. Raises `StorageFull` and `TargetUnwritable`."""
        layout = offer.layout
        with write_errors(self.target):
            self._close_content()
            os.ftruncate(self._state, 0)
            self._content_path.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._content = os.open(self._content_path, flags, 0o600)
            room = os.fstatvfs(self._content)
            if layout.content_size > room.f_bavail * room.f_frsize:
                raise StorageFull(f"there is no room for {self.target}: it has {layout.content_size} bytes")
            os.ftruncate(self._content, layout.content_size)
            head = json.dumps(asdict(offer)).encode() + b"\n"
            self._done, self._map_start = bytearray(layout.groups), len(head)
            os.pwrite(self._state, head, 0)

    @property
    def content(self) -> int:
        """Return the descriptor of the content file."""
        return self._content

    def write(self, group: int, content: memoryview, place: int) -> None:
        """Write a *group* whole, and record it. Raises `StorageFull` and `TargetUnwritable`."""
        with write_errors(self.target):
            written = 0
            while written < len(content):
                written += os.pwrite(self._content, content[written:], place + written)
            os.pwrite(self._state, b"\1", self._map_start + group)
        self._done[group] = 1

    def has(self, group: int) -> bool:
        """Return whether *group* has been written."""
        return bool(self._done[group])

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Yield first and end of each run of groups that are missing now."""
        done = bytes(self._done)
        first = done.find(0)
        while first >= 0:
            end = done.find(1, first)
            end = len(done) if end < 0 else end
            yield first, end
            first = done.find(0, end)

    def publish(self, *, replace: bool, durable: bool) -> None:
        """Give the content its name. Raises `InvalidOptions` for a name that is taken, without *replace*."""
        with write_errors(self.target):
            if durable:
                os.fsync(self._content)
            if replace:
                self._content_path.replace(self.target)
            else:
                self._link()
            if durable:
                sync_folder(self.target.parent)
            self._close_content()
            self._state_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove both files: nothing of them is worth to be continued."""
        self._close_content()
        self._content_path.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock; files that are there stay, so that the download can go on."""
        self._close_content()
        if not self._done:
            self._state_path.unlink(missing_ok=True)  # nothing has begun
        os.close(self._state)

    def _link(self) -> None:
        try:
            os.link(self._content_path, self.target)
        except FileExistsError as exc:
            raise InvalidOptions(
                f"{self.target} exists already; give another name, or say that it is replaced"
            ) from exc
        except OSError:  # a file system without hard links
            self._content_path.replace(self.target)
        self._content_path.unlink(missing_ok=True)

    def _close_content(self) -> None:
        if self._content >= 0:
            os.close(self._content)
            self._content = -1


def boot_id() -> str | None:
    """Return what names the time since the machine was started, None where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None
