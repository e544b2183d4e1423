"""What has arrived, examined while the rest of it arrives: hashes, and for what is sealed for the storage every tag.

A thread follows the growing bytes, so that little is left to do after the last one; of a large upload a second one
reads and hashes them ahead of it. A small one is examined when it is here. After a restart of the process it begins
again at the first byte, while more arrive. Decrypted content is hashed and nothing else.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from itertools import chain
from typing import BinaryIO

from blocks.age import sealed_size, unseal
from blocks.age.header import parse_header
from blocks.age.recipients import open_header
from blocks.age.whole_file import take_header
from blocks.catalog import Stored
from blocks.errors import ContentMismatch, MalformedAgeFile, NoMatchingIdentity
from blocks.keys import StorageIdentity, StorageKeys
from blocks.runtime.prefetch import prefetch
from blocks.runtime.threads import WorkStopped
from blocks.storage import CHUNK_BYTES, Digest, Expected
from blocks.transfers.transfer import Transfer

Open = Callable[[], BinaryIO]

# From here on the hash of what is sent is computed in parallel to that of the content: one after the other, they are
# slower than a disk. For less, of which there may be many at once, a second thread costs more than it saves.
_LARGE_BYTES = 32 * 1024 * 1024
# Less than this is examined when all of it is here, which takes milliseconds, and a few files at a time: hundreds that
# arrive at once would otherwise hold some MiB each for as long as their senders take.
_SMALL_BYTES = 8 * 1024 * 1024
_SMALL_AT_ONCE = threading.BoundedSemaphore(4)


class Verification:
    """Examines the bytes of *transfer* as `grown` reports them. Its threads end with `stop` or its result."""

    def __init__(self, transfer: Transfer, keys: StorageKeys, open_bytes: Open) -> None:
        self._transfer, self._keys, self._open_bytes = transfer, keys, open_bytes
        self._size = transfer.size or 0
        self._changed = threading.Condition()
        self._end = 0
        self._stopped = False
        self._stored: Stored | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="verify-upload", daemon=True)

    @property
    def end(self) -> int:
        """How many bytes it was notified of."""
        return self._end

    @property
    def error(self) -> BaseException | None:
        """What is wrong, as soon as it is found."""
        return self._error

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def grown(self, end: int) -> None:
        """Note that the bytes up to *end* can be read."""
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def result(self) -> Stored:
        """Wait until all bytes are examined, all of which are here; return what they are. Blocks.

        Raises `ContentMismatch`, `MalformedAgeFile`, `NoMatchingIdentity`, `AuthenticationFailed`,
        `StorageUnavailable`.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._stored is not None  # noqa: S101 - the thread ends with one or the other
        return self._stored

    def stop(self) -> None:
        """End the thread soon. Does not wait for it."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        is_small = self._size < _SMALL_BYTES
        try:
            self._wait_beyond(self._size - 1 if is_small else 0)
            with _SMALL_AT_ONCE if is_small else nullcontext():
                self._stored = self._examine()
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._error = error

    def _examine(self) -> Stored:
        stored = Digest(Expected(size=self._transfer.size, sha256=self._transfer.sha256))
        arriving = stored.through(self._pieces())
        if self._size >= _LARGE_BYTES:
            arriving = prefetch(arriving)
        try:
            return examine(arriving, stored, self._transfer, self._keys)
        finally:
            self.stop()  # the other thread waits for more, after an error
            if isinstance(arriving, Generator):
                arriving.close()

    def _pieces(self) -> Iterator[bytes]:
        with self._open_bytes() as stream:
            position = 0
            while position < self._size:
                readable = self._wait_beyond(position)
                piece = stream.read(min(CHUNK_BYTES, readable - position))
                if not piece:
                    raise ContentMismatch(f"only {position} of {readable} bytes can be read")
                position += len(piece)
                yield piece

    def _wait_beyond(self, position: int) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._end > position or self._end >= self._size)
            if self._stopped:
                raise WorkStopped
            return self._end


def examine(arriving: Iterator[bytes], stored: Digest, transfer: Transfer, keys: StorageKeys) -> Stored:
    """Return what the bytes of an upload are, all of them, which pass through *stored* as they arrive.

    Raises like `Verification.result`.
    """
    if transfer.sealed_for == "storage" and keys.recipient is not None:
        return _sealed_for_storage(arriving, stored, transfer, keys)
    if transfer.sealed_for != "storage":
        # For another recipient: it must be an age file; what is in it is not known here.
        beginning, length = take_header(arriving)
        parse_header(bytes(beginning[:length]))
    for _ in arriving:
        pass
    blob = stored.blob
    return Stored(size=blob.size, sha256=blob.sha256, stored_size=blob.size, stored_sha256=blob.sha256)


def _sealed_for_storage(arriving: Iterator[bytes], stored: Digest, transfer: Transfer, keys: StorageKeys) -> Stored:
    beginning, length = take_header(arriving)
    header = bytes(beginning[:length])
    if keys.recipient is not None and not keys.opens(keys.recipient.text):
        return _unread(arriving, stored, transfer, keys.recipient.text, header)
    identity = _identity_for(header, keys)
    content = Digest(Expected(size=transfer.content_size, sha256=transfer.content_sha256))
    for _ in content.through(unseal(chain([bytes(beginning)], arriving), [identity])):
        pass
    for _ in arriving:  # to its end, where its hash is compared
        pass
    return Stored(
        size=content.blob.size,
        sha256=content.blob.sha256,
        stored_size=stored.blob.size,
        stored_sha256=stored.blob.sha256,
        encrypted_for=identity.recipient.text,
        header_sha256=hashlib.sha256(header).hexdigest(),
    )


def _identity_for(header: bytes, keys: StorageKeys) -> StorageIdentity:
    """Return the identity that opens the file: the catalogue records for which key a file is sealed."""
    parsed = parse_header(header)
    for identity in keys.identities:
        try:
            open_header(parsed, [identity])
        except NoMatchingIdentity:
            continue
        return identity
    raise NoMatchingIdentity("it is not sealed for the storage key, which is the recipient of the transfer")


def _unread(arriving: Iterator[bytes], stored: Digest, transfer: Transfer, recipient: str, header: bytes) -> Stored:
    """A machine with the public key alone takes the sender's word for the content."""
    parse_header(header)
    for _ in arriving:
        pass
    if transfer.content_size is None or transfer.content_sha256 is None:
        raise ContentMismatch("this machine cannot read it, so its sender must declare size and sha256 of the content")
    if sealed_size(transfer.content_size, len(header)) != stored.blob.size:
        raise MalformedAgeFile("it has not the length of a sealed file with the declared content", part="payload")
    return Stored(
        size=transfer.content_size,
        sha256=transfer.content_sha256,
        stored_size=stored.blob.size,
        stored_sha256=stored.blob.sha256,
        encrypted_for=recipient,
        header_sha256=hashlib.sha256(header).hexdigest(),
    )
