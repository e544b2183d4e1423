"""Stored bytes on their way out: decrypted, authenticated and compared with the catalogue.

Whatever changed them since they were stored (a flipped bit, a cut, another file put in their place) is
`ContentMismatch`; a missing key is not. Nothing is released that has not been authenticated, and a reader of the whole
content gets its last piece only when the sha256 of all of it is right.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import BinaryIO, Self

from typing_extensions import Buffer

from blocks.age import SealedReader, read_header, unseal
from blocks.catalog import Artifact, Stored
from blocks.errors import (
    AuthenticationFailed,
    ContentMismatch,
    MalformedAgeFile,
    NoMatchingIdentity,
    StorageUnavailable,
)
from blocks.keys import StorageKeys
from blocks.runtime.prefetch import prefetch
from blocks.runtime.threads import StopCheck
from blocks.storage import CHUNK_BYTES, Backend, Digest, Expected, read_chunks


def content_pieces(backend: Backend, keys: StorageKeys, artifact: Artifact, check: StopCheck) -> Iterator[bytes]:
    """The whole content. What it yielded is right only if it ends without an error.

    Raises `ContentMismatch`, `BlobMissing`, `NoMatchingIdentity`, `StorageUnavailable`.
    """
    require_key(keys, artifact)
    digest = Digest(Expected(size=artifact.size, sha256=artifact.sha256))
    with as_content_mismatch(artifact), backend.open(artifact.location) as stream:
        yield from digest.through(_decrypted(stored_pieces(stream, artifact, check), stream, keys, artifact))


def verify_stored(backend: Backend, keys: StorageKeys, artifact: Artifact, check: StopCheck) -> bool:
    """Read all stored bytes and compare everything that can be: hashes and, where a key is at hand, every tag.

    Returns whether the content was checked too; without the key only the stored bytes are. Raises `ContentMismatch`,
    `BlobMissing`, `StorageUnavailable`.
    """
    stored = Digest(Expected(size=artifact.stored_size, sha256=artifact.stored_sha256))
    content = Digest(Expected(size=artifact.size, sha256=artifact.sha256))
    opens = keys.opens(artifact.encrypted_for)
    with as_content_mismatch(artifact), backend.open(artifact.location) as stream:
        pieces = stored.through(chain(header_pieces(stream, artifact), stored_pieces(stream, artifact, check)))
        if opens and artifact.encrypted_for is not None:
            pieces = content.through(prefetch(unseal(prefetch(pieces), keys.identities)))
        for _ in pieces:
            pass
    return opens


class Content:
    """One open file in custody, to be read in ranges. Blocking; not for several threads at once."""

    def __init__(self, stream: BinaryIO, keys: StorageKeys, artifact: Artifact) -> None:
        self.size = artifact.size
        self.artifact = artifact
        self._stream = stream
        self._sealed: SealedReader | None = None
        with as_content_mismatch(artifact):
            if artifact.encrypted_for is not None:
                header_pieces(stream, artifact)
                stream.seek(0)
                self._sealed = SealedReader(stream, keys.identities)
            size = self._sealed.size if self._sealed else stream.seek(0, os.SEEK_END)
            if size != artifact.size:
                raise ContentMismatch(f"expected {artifact.size} bytes and got {size}")

    @classmethod
    def open(cls, backend: Backend, keys: StorageKeys, artifact: Artifact) -> Self:
        """Open the stored bytes. Raises `BlobMissing`, `ContentMismatch`, `StorageUnavailable`."""
        stream = backend.open(artifact.location)
        try:
            return cls(stream, keys, artifact)
        except BaseException:
            stream.close()
            raise

    def close(self) -> None:
        """Let go of the stored bytes."""
        self._stream.close()

    def read_range(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from *start* up to *stop*, in pieces of about a MiB; 0 <= start <= stop <= size.

        The whole content is compared with its sha256 before the last piece is released. A part of an encrypted file
        is authenticated chunk by chunk; a part of one that is stored as it is cannot be. Raises `ContentMismatch`,
        `StorageUnavailable`.
        """
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"a range lies within 0 to {self.size}, not {start} to {stop}")
        with as_content_mismatch(self.artifact):
            pieces = self._sealed.read_range(start, stop) if self._sealed else self._plain_range(start, stop)
            if start == 0 and stop == self.size:
                digest = Digest(Expected(size=self.size, sha256=self.artifact.sha256))
                yield from _hold_back_last(digest.through(pieces))
            else:
                yield from pieces

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from *start* up to *stop* at once. Who reads the whole so compares it too (`BackgroundHash`).

        Raises like `read_range`.
        """
        with as_content_mismatch(self.artifact):
            return b"".join(self._sealed.read_range(start, stop) if self._sealed else self._plain_range(start, stop))

    def _plain_range(self, start: int, stop: int) -> Iterator[bytes]:
        self._stream.seek(start)
        while start < stop:
            piece = self._stream.read(min(CHUNK_BYTES, stop - start))
            if not piece:
                raise ContentMismatch(f"expected {self.size} bytes and got {start}")
            start += len(piece)
            yield piece


@contextmanager
def open_stored(backend: Backend, keys: StorageKeys, location: str, stored: Stored) -> Generator[BinaryIO]:
    """The content of a blob that no row announces yet, to be looked into; decrypted, seekable, for one thread.

    Only with the key for it at hand. Raises `BlobMissing`, `StorageUnavailable`, and what reading it raises.
    """
    with backend.open(location) as stream:
        if stored.encrypted_for is None:
            yield stream
        else:
            yield io.BufferedReader(_Unsealed(SealedReader(stream, keys.identities)))


class _Unsealed(io.RawIOBase):
    """A sealed file as a stream of its content."""

    def __init__(self, sealed: SealedReader) -> None:
        self._sealed = sealed
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._sealed.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer)
        stop = min(self._at + len(target), self._sealed.size)
        filled = 0
        for piece in self._sealed.read_range(min(self._at, stop), stop):
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._at += filled
        return filled


def require_key(keys: StorageKeys, artifact: Artifact) -> None:
    """Raise `NoMatchingIdentity` when the file is encrypted for a key that is not at hand."""
    if not keys.opens(artifact.encrypted_for):
        raise NoMatchingIdentity(
            f"file {artifact.file_id} is encrypted for {artifact.encrypted_for}, and the key for it is not here; put "
            "its identity into the identity file (WAYBILL_STORAGE_IDENTITY_FILE, or storage-identity in the home)",
            file_id=artifact.file_id,
        )


@contextmanager
def as_content_mismatch(artifact: Artifact) -> Generator[None]:
    """Tell whatever is wrong with stored bytes as `ContentMismatch`, with the file and what to do."""
    try:
        yield
    except (ContentMismatch, AuthenticationFailed, MalformedAgeFile, NoMatchingIdentity) as exc:
        # The key for it is at hand (`require_key`): a header that it does not open is a changed header.
        raise ContentMismatch(
            f"the stored bytes of file {artifact.file_id} have changed: {exc}; restore {artifact.location} from a "
            "backup, or remove the file and process its source again",
            file_id=artifact.file_id,
        ) from exc
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise StorageUnavailable(f"cannot read the stored bytes of file {artifact.file_id}: {reason}") from exc


def stored_pieces(stream: BinaryIO, artifact: Artifact, check: StopCheck) -> Iterator[bytes]:
    """What is left of the stored bytes."""
    for piece in read_chunks(stream):
        check()
        yield piece


def _decrypted(pieces: Iterator[bytes], stream: BinaryIO, keys: StorageKeys, artifact: Artifact) -> Iterable[bytes]:
    if artifact.encrypted_for is None:
        return prefetch(pieces)
    sealed = chain(header_pieces(stream, artifact), pieces)
    return prefetch(unseal(prefetch(sealed), keys.identities))


def header_pieces(stream: BinaryIO, artifact: Artifact) -> list[bytes]:
    """The age header, if the file has one; it must be the one that was written with the file.

    It seals the file's own key, so bytes that were taken from another file, or encrypted by somebody else for the same
    recipient, end here.
    """
    if artifact.encrypted_for is None:
        return []
    _, header = read_header(stream)
    if hashlib.sha256(header).hexdigest() != artifact.header_sha256:
        raise ContentMismatch("its header is not the one it was stored with")
    return [header]


def _hold_back_last(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held: bytes | None = None
    for piece in pieces:
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held
