"""The bytes of a file as they are sent: sealed on the way, from any offset, without a sealed copy.

Encryption is random, and an upload that goes on must go on with the same bytes. So file key, nonce and header are kept
in a state file (0600) until all has arrived, and chunks are sealed again from there. That gives away nothing: the key
opens this one file alone, and an account that can read the state is the one that sends the file. What must never
be is two contents under one key and nonce. Therefore a state belongs to one transfer and to one version of the file
(device, inode, size, and when content and inode were changed); for anything else a new key is made.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from blocks.age.file_key import new_file_key
from blocks.age.header import parse_header
from blocks.age.recipients import Identity, Recipient, open_header, wrap_for
from blocks.age.stream import CHUNK_BYTES, GROUP_CHUNKS, NONCE_BYTES, SEALED_CHUNK_BYTES, PayloadCipher
from blocks.age.whole_file import sealed_size
from blocks.errors import (
    AuthenticationFailed,
    ContentMismatch,
    InvalidOptions,
    MalformedAgeFile,
    NoMatchingIdentity,
    SourceNotFound,
)
from blocks.runtime.file_lock import try_lock_file
from blocks.runtime.write_errors import write_errors

_GROUP_BYTES = GROUP_CHUNKS * CHUNK_BYTES
# A header has 1 MiB at most, in JSON as hexadecimal digits twice that.
_MAX_STATE_BYTES = 3 << 20


class OutgoingFile(Protocol):
    """What is sent: `size` bytes, the same ones from every offset, in every process."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    def pieces(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes from *offset* to the end, in pieces of about 1 MiB."""
        ...


class Source:
    """An open file that must not change while it is sent. Close it with `close`."""

    def __init__(self, path: Path) -> None:
        """Raises `SourceNotFound` for what is not a readable regular file."""
        self.path = path
        try:
            # O_NONBLOCK: a FIFO in its place must not hang the sender.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            raise SourceNotFound(f"cannot open {path}: {exc.strerror}") from exc
        if not path.is_file():
            self.close()
            raise SourceNotFound(f"{path} is not a regular file")
        self.version = self._version()
        self.size = os.fstat(self._descriptor).st_size

    def read_into(self, view: memoryview, place: int) -> None:
        """Fill *view* from *place* on. Raises `ContentMismatch` where the file has become shorter."""
        filled = 0
        while filled < len(view):
            try:
                count = os.preadv(self._descriptor, [view[filled:]], place + filled)
            except OSError as exc:
                raise SourceNotFound(f"cannot read all of {self.path}: {exc.strerror}") from exc
            if not count:
                raise self._changed()
            filled += count

    def check(self) -> None:
        """Raises `ContentMismatch` if the file was changed since it was opened."""
        if self._version() != self.version:
            raise self._changed()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _version(self) -> list[int]:
        found = os.fstat(self._descriptor)
        return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]

    def _changed(self) -> ContentMismatch:
        return ContentMismatch(f"{self.path} was changed while it was sent; send it again", path=str(self.path))


class PlainFile:
    """A file as it is."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = source.size

    def pieces(self, offset: int) -> Iterator[bytes]:
        """See `OutgoingFile`."""
        for place in range(offset, self.size, _GROUP_BYTES):
            piece = bytearray(min(_GROUP_BYTES, self.size - place))
            self._source.read_into(memoryview(piece), place)
            yield bytes(piece)
        self._source.check()


@dataclass(frozen=True, kw_only=True)
class Seal:
    """The header of a sealed file, and what seals the rest of it; secret."""

    url: str
    version: list[int]
    header: str
    nonce: str
    file_key: str

    def __repr__(self) -> str:
        return f"Seal(url={self.url!r})"


class SealedFile:
    """A file sealed with *seal*."""

    def __init__(self, source: Source, seal: Seal) -> None:
        self._source = source
        self._seal = seal
        self._beginning = bytes.fromhex(seal.header + seal.nonce)
        self.size = sealed_size(source.size, len(seal.header) // 2)

    def pieces(self, offset: int) -> Iterator[bytes]:
        """See `OutgoingFile`."""
        start = len(self._beginning)
        if offset < start:
            yield self._beginning[offset:]
        # From the beginning of the chunk that the offset is in.
        chunk, skipped = divmod(max(0, offset - start), SEALED_CHUNK_BYTES)
        cipher = PayloadCipher(bytes.fromhex(self._seal.file_key), bytes.fromhex(self._seal.nonce))
        room = memoryview(bytearray(min(_GROUP_BYTES, self._source.size)))
        while (place := chunk * CHUNK_BYTES) < self._source.size or place == 0:
            plain = room[: self._source.size - place]
            self._source.read_into(plain, place)
            sealed = cipher.seal_group(chunk, plain, last=place + len(plain) == self._source.size)
            yield sealed[skipped:] if skipped else sealed
            chunk, skipped = chunk + GROUP_CHUNKS, 0
        self._source.check()


class SealState:
    """The state file of an upload, locked for this process until `close`."""

    def __init__(self, path: Path) -> None:
        """Raises `InvalidOptions` where another process sends the same file, and `TargetUnwritable`."""
        self._path = path
        with write_errors(path):
            descriptor = try_lock_file(path)
        if descriptor is None:
            raise InvalidOptions(f"another process is sending this file (it holds {path}); wait for it")
        self._descriptor = descriptor

    def load(self, url: str, source: Source) -> Seal | None:
        """Return the seal of an earlier process for the same transfer and the same version of the file."""
        with suppress(ValueError, TypeError):
            found = self._read()
            if (found.url, found.version) == (url, source.version):
                return found
        return None

    def opens(self, identities: Sequence[Identity]) -> bool:
        """Return whether what is kept is sealed for one of *identities*; also True where nothing is kept."""
        with suppress(ValueError, TypeError, MalformedAgeFile, AuthenticationFailed):
            found = self._read()
            try:
                open_header(parse_header(bytes.fromhex(found.header)), identities)
            except NoMatchingIdentity:
                return False
        return True

    def save(self, seal: Seal) -> None:
        """Keep *seal*; on disk before any byte is sent that it has sealed."""
        with write_errors(self._path):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(asdict(seal)).encode(), 0)
            os.fsync(self._descriptor)

    def _read(self) -> Seal:
        """Return what is kept. Raises `ValueError` or `TypeError` where that is nothing, or not whole."""
        return Seal(**cast("dict[str, Any]", json.loads(os.pread(self._descriptor, _MAX_STATE_BYTES, 0))))

    def close(self, *, done: bool) -> None:
        """Release the lock; *done* removes the file and the key with it."""
        if done:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def new_seal(url: str, source: Source, recipients: Sequence[Recipient]) -> Seal:
    """Return a seal with a fresh key for *recipients*. Raises `InvalidKey`."""
    file_key = new_file_key()
    return Seal(
        url=url,
        version=source.version,
        header=wrap_for(recipients, file_key).encode().hex(),
        nonce=secrets.token_hex(NONCE_BYTES),
        file_key=file_key.hex(),
    )
