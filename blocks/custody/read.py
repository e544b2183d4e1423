"""Read stored bytes: decrypt them, authenticate them, and compare them with the catalogue.

Any change since they were stored (a flipped bit, a cut, another file in their place) is `ContentMismatch`; a missing
key is not. No byte is returned that has not been authenticated, and a reader of the whole content gets its last piece
only when the sha256 of all of it is right.
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
from blocks.catalog import HOW_TO_REMAKE, Artifact, Stored
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
    """Yield the whole content. The pieces are right only if the iteration ends without an error.

    Raises `ContentMismatch`, `BlobMissing`, `NoMatchingIdentity`, `StorageUnavailable`.
    """
    require_key(keys, artifact)
    digest = Digest(Expected(size=artifact.size, sha256=artifact.sha256))
    with as_content_mismatch(artifact), backend.open(artifact.location) as stream:
        yield from digest.through(_decrypted(stored_pieces(stream, artifact, check), stream, keys, artifact))


def verify_stored(backend: Backend, keys: StorageKeys, artifact: Artifact, check: StopCheck) -> bool:
    """Read all stored bytes and compare their hash and, with the key for them, every tag and the content's hash.

    Return whether there was the key. Raises `ContentMismatch`, `BlobMissing`, `StorageUnavailable`.
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
    """An open file, read in ranges. Blocks; for one thread at a time."""

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
        """Open the stored bytes of *artifact*. Raises `BlobMissing`, `ContentMismatch`, `StorageUnavailable`."""
        stream = backend.open(artifact.location)
        try:
            return cls(stream, keys, artifact)
        except BaseException:
            stream.close()
            raise

    def close(self) -> None:
        """Close the stored bytes."""
        self._stream.close()

    def release_buffer(self) -> None:
        """Keep no decrypted content in memory until the next read."""
        if self._sealed is not None:
            self._sealed.release_buffer()

    def read_range(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from *start* up to *stop*, in pieces of about a MiB; 0 <= start <= stop <= size.

        The whole content is compared with its sha256 before the last piece is yielded. A part of an encrypted file is
        authenticated chunk by chunk; a part of an unencrypted file cannot be. Raises `ContentMismatch`,
        `StorageUnavailable`.
        """
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"a range must be within 0 to {self.size}, not {start} to {stop}")
        with as_content_mismatch(self.artifact):
            pieces = self._sealed.read_range(start, stop) if self._sealed else self._plain_range(start, stop)
            if start == 0 and stop == self.size:
                digest = Digest(Expected(size=self.size, sha256=self.artifact.sha256))
                yield from _hold_back_last(digest.through(pieces))
            else:
                yield from pieces

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from *start* up to *stop*. A caller that reads the whole content this way compares its
        sha256 itself (`BackgroundHash`). Raises like `read_range`."""
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
    """Open the content of a blob whose row is still pending; decrypted, seekable, for one thread.

    The caller must have the key for it. Raises `BlobMissing`, `StorageUnavailable`, and what reading raises.
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
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._sealed.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer)
        stop = min(self._position + len(target), self._sealed.size)
        filled = 0
        for piece in self._sealed.read_range(min(self._position, stop), stop):
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._position += filled
        return filled


def require_key(keys: StorageKeys, artifact: Artifact) -> None:
    """Raise `NoMatchingIdentity` unless *keys* decrypt the file."""
    if not keys.opens(artifact.encrypted_for):
        raise NoMatchingIdentity(
            f"file {artifact.file_id} is encrypted for {artifact.encrypted_for}, and this machine has no identity for "
            "it; add it to the identity file (WAYBILL_STORAGE_IDENTITY_FILE, or storage-identity in the home)",
            file_id=artifact.file_id,
        )


@contextmanager
def as_content_mismatch(artifact: Artifact) -> Generator[None]:
    """Raise any fault of the stored bytes in the block as `ContentMismatch`, with the file and the next step."""
    try:
        yield
    except (ContentMismatch, AuthenticationFailed, MalformedAgeFile, NoMatchingIdentity) as exc:
        # The caller has the key (`require_key`), so a header that it does not open was changed.
        raise ContentMismatch(
            f"the stored bytes of file {artifact.file_id} have changed: {exc}; restore {artifact.location} from a "
            f"backup, or remove the file and {HOW_TO_REMAKE[artifact.kind]}",
            file_id=artifact.file_id,
        ) from exc
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise StorageUnavailable(f"cannot read the stored bytes of file {artifact.file_id}: {reason}") from exc


def stored_pieces(stream: BinaryIO, artifact: Artifact, check: StopCheck) -> Iterator[bytes]:
    """Yield the rest of the stored bytes."""
    for piece in read_chunks(stream):
        check()
        yield piece


def _decrypted(pieces: Iterator[bytes], stream: BinaryIO, keys: StorageKeys, artifact: Artifact) -> Iterable[bytes]:
    if artifact.encrypted_for is None:
        return prefetch(pieces)
    sealed = chain(header_pieces(stream, artifact), pieces)
    return prefetch(unseal(prefetch(sealed), keys.identities))


def header_pieces(stream: BinaryIO, artifact: Artifact) -> list[bytes]:
    """Return the age header, if the file has one. Raises `ContentMismatch` unless it was written with the file.

    The header seals the file's own key, so bytes of another file, or of another writer, are refused.
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
