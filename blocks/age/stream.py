"""The payload of an age file: 64 KiB chunks, each authenticated with its place and whether it is the last.

Implements C2SP age.md, "Payload" (a STREAM variant). Releases nothing that is not authenticated. Works on groups of
chunks, because handing bytes from step to step in 64 KiB pieces costs more than encrypting them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from blocks.age.file_key import TAG_BYTES, derive_key
from blocks.errors import AuthenticationFailed, MalformedAgeFile

CHUNK_BYTES = 64 * 1024  # "Payload"
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
NONCE_BYTES = 16  # "Payload": at the beginning, before the first chunk
# 1 MiB: the cost of a step in Python (some microseconds) is small against 200 microseconds of encryption, and a few
# groups in flight need little memory.
GROUP_CHUNKS = 16
_COUNTER_BYTES = 11  # "Payload": big endian, followed by the byte that marks the last chunk


class PayloadCipher:
    """Seals and opens groups of chunks of one file. For one thread at a time: groups share a work buffer."""

    def __init__(self, file_key: bytes, nonce: bytes, *, group_chunks: int = GROUP_CHUNKS) -> None:
        """*group_chunks*: as many as will be asked for at a time; a buffer for more takes longer than a small file."""
        self._aead = ChaCha20Poly1305(derive_key(file_key, salt=nonce, info=b"payload"))
        self._work = memoryview(bytearray(group_chunks * SEALED_CHUNK_BYTES))

    def make_room(self, group_chunks: int) -> None:
        """Have a work buffer for at least *group_chunks*; for 0, none. What it held is lost."""
        if not group_chunks or len(self._work) < group_chunks * SEALED_CHUNK_BYTES:
            self._work = memoryview(bytearray(group_chunks * SEALED_CHUNK_BYTES))

    def seal_group(self, first_chunk: int, plain: bytes | bytearray | memoryview, *, last: bool) -> bytes:
        """Return the sealed chunks of *plain*, up to `GROUP_CHUNKS` of them; only the *last* group may be uneven or
        empty."""
        view = memoryview(plain)
        count = max(1, -(-len(view) // CHUNK_BYTES))
        written = 0
        for place in range(count):
            chunk = view[place * CHUNK_BYTES : (place + 1) * CHUNK_BYTES]
            nonce = _chunk_nonce(first_chunk + place, last=last and place == count - 1)
            # Straight into place: a result per chunk, joined afterwards, takes more than twice as long.
            written += self._aead.encrypt_into(
                nonce, chunk, None, self._work[written : written + len(chunk) + TAG_BYTES]
            )
        return bytes(self._work[:written])

    def open_chunk(self, number: int, sealed: memoryview, *, last: bool, place: int = 0) -> int | None:
        """Open one chunk at *place* of the work buffer and return its plain size; None if it is not authentic.

        What a chunk that is not authentic leaves in the buffer must never be released.
        """
        if not TAG_BYTES <= len(sealed) <= SEALED_CHUNK_BYTES:
            return None
        start = place * CHUNK_BYTES
        target = self._work[start : start + len(sealed) - TAG_BYTES]
        try:
            return self._aead.decrypt_into(_chunk_nonce(number, last=last), sealed, None, target)
        except InvalidTag:
            return None

    def opened(self, start: int, stop: int) -> bytes:
        """Return a copy of what was opened, from *start* to *stop* in the work buffer."""
        return bytes(self._work[start:stop])

    def opened_view(self, stop: int) -> memoryview:
        """Return what was opened, up to *stop* in the work buffer, without a copy: valid until the next group."""
        return self._work[:stop].toreadonly()


def encrypt_payload(chunks: Iterable[bytes], *, file_key: bytes, nonce: bytes) -> Iterator[bytes]:
    """Yield the payload after its nonce, in pieces of about 1 MiB, each a fresh object.

    *file_key* and *nonce* must be fresh ones: the same pair for two contents would give both away.
    """
    cipher = PayloadCipher(file_key, nonce)
    number = 0
    for group, last in regroup(chunks, GROUP_CHUNKS * CHUNK_BYTES):
        yield cipher.seal_group(number, group, last=last)
        number += GROUP_CHUNKS


def decrypt_payload(chunks: Iterable[bytes], *, file_key: bytes, nonce: bytes) -> Iterator[bytes]:
    """Yield the content of a payload after its nonce, in pieces of about 1 MiB; only authenticated chunks are released.

    Raises `AuthenticationFailed` (part="payload") when chunks were changed, moved, added or cut off, and
    `MalformedAgeFile` (part="payload") for an empty last chunk after others.
    """
    cipher = PayloadCipher(file_key, nonce)
    number, ended = 0, False
    for group, _ in regroup(chunks, GROUP_CHUNKS * SEALED_CHUNK_BYTES):
        opened = _open_group(cipher, number, group, ended=ended)
        if opened.plain:
            yield opened.plain
        if opened.failure is not None:
            raise opened.failure
        number, ended = number + opened.count, opened.ended
    if not ended:
        # Whole chunks were cut off: each that is left is authentic, and still the content is not.
        raise payload_changed(number, "the file ends before its last chunk")


@dataclass(frozen=True)
class _OpenedGroup:
    """What is authentic of a group, how many chunks that is, whether the last of the file is among them."""

    plain: bytes
    count: int
    ended: bool
    failure: AuthenticationFailed | MalformedAgeFile | None = None


def _open_group(cipher: PayloadCipher, first: int, group: memoryview, *, ended: bool) -> _OpenedGroup:
    opened_bytes = 0
    failure: AuthenticationFailed | MalformedAgeFile | None = None
    number = first
    for start in range(0, len(group), SEALED_CHUNK_BYTES):
        if ended:
            # Bytes were appended to a complete file.
            failure = payload_changed(number, "there are bytes after the last chunk")
            break
        sealed = group[start : start + SEALED_CHUNK_BYTES]
        # Only the last chunk may be short; a full one is tried first as what nearly all are.
        is_full = len(sealed) == SEALED_CHUNK_BYTES
        size = cipher.open_chunk(number, sealed, last=False, place=number - first) if is_full else None
        if size is None:
            size, ended = cipher.open_chunk(number, sealed, last=True, place=number - first), True
        if size is None:
            failure = payload_changed(number, "its tag does not fit")
            break
        if size == 0 and number > 0:
            failure = empty_last_chunk()
            break
        opened_bytes += size
        number += 1
    return _OpenedGroup(cipher.opened(0, opened_bytes), number - first, ended, failure)


def regroup(chunks: Iterable[bytes], group_bytes: int) -> Iterator[tuple[memoryview, bool]]:
    """Yield the same bytes in groups of *group_bytes*, and whether it is the last, which holds what is left.

    The last group is empty only if there are no bytes at all. A chunk that is a whole group is not copied.
    """
    held: memoryview | bytearray = memoryview(b"")
    for chunk in chunks:
        view = memoryview(chunk)
        # More than a group, not just one: what is cut off here is never the last.
        while len(held) + len(view) > group_bytes:
            missing = group_bytes - len(held)
            yield memoryview(_appended(held, view[:missing])), False
            held, view = memoryview(b""), view[missing:]
        held = _appended(held, view)
    yield memoryview(held), True


def payload_changed(number: int, reason: str) -> AuthenticationFailed:
    """Return the error for a payload that is not what was encrypted, found at chunk *number* from zero."""
    return AuthenticationFailed(
        f"the encrypted content was changed, moved or cut short (64 KiB chunk {number}): {reason}; "
        "get the file again from where it comes from",
        part="payload",
        chunk=number,
    )


def empty_last_chunk() -> MalformedAgeFile:
    """Return the error for a last chunk that should not be there: two files of one content must not both be valid."""
    return MalformedAgeFile("not a well-formed age file: its last chunk is empty", part="payload")


def _chunk_nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(_COUNTER_BYTES, "big") + (b"\x01" if last else b"\x00")


def _appended(held: memoryview | bytearray, view: memoryview) -> memoryview | bytearray:
    if not len(view):
        return held
    if not len(held):
        return view
    # An array of our own grows in place: many tiny chunks must not cost a copy of the whole each.
    grown = held if isinstance(held, bytearray) else bytearray(held)
    grown += view
    return grown
