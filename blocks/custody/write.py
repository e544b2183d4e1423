"""Store content in one pass: hash, encrypt, hash the stored bytes. Steps overlap for large content (`prefetch`)."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from blocks.age import read_header, seal, sealed_size
from blocks.catalog import Stored
from blocks.errors import SourceNotFound
from blocks.keys import StorageRecipient
from blocks.runtime.prefetch import prefetch
from blocks.runtime.threads import StopCheck
from blocks.storage import Backend, Digest, Expected, read_chunks


def store(
    backend: Backend,
    path: str,
    content: Path | bytes | Iterable[bytes],
    *,
    recipient: StorageRecipient | None,
    expected: Expected | None,
    check: StopCheck,
) -> Stored:
    """Publish *content* under the blob path *path*, encrypted for *recipient* if there is one.

    Raises `SourceNotFound` when the content cannot be read, and what `Backend.publish` raises; then nothing is stored.
    """
    if not isinstance(content, Path):
        pieces = [content] if isinstance(content, bytes) else content
        return store_pieces(backend, path, pieces, recipient=recipient, expected=expected)
    try:
        stream = content.open("rb")
    except OSError as exc:
        raise SourceNotFound(f"cannot open {content.name}: {exc.strerror}") from exc
    with stream:
        pieces = _source_pieces(stream, content, check)
        return store_pieces(backend, path, pieces, recipient=recipient, expected=expected)


def store_pieces(
    backend: Backend,
    path: str,
    pieces: Iterable[bytes],
    *,
    recipient: StorageRecipient | None,
    expected: Expected | None,
) -> Stored:
    """`store` for content that comes in pieces."""
    if recipient is None:
        blob = backend.publish(path, prefetch(pieces), expected=expected)
        return Stored(size=blob.size, sha256=blob.sha256, stored_size=blob.size, stored_sha256=blob.sha256)
    digest = Digest(expected)
    sealed = seal(prefetch(digest.through(pieces)), [recipient])
    first = next(sealed)  # the header, without content
    _, header = read_header(io.BytesIO(first))
    blob = backend.publish(path, prefetch(chain([first], sealed)), expected=_sealed(expected, len(header)))
    return Stored(
        size=digest.blob.size,
        sha256=digest.blob.sha256,
        stored_size=blob.size,
        stored_sha256=blob.sha256,
        encrypted_for=recipient.text,
        header_sha256=hashlib.sha256(header).hexdigest(),
    )


def _sealed(expected: Expected | None, header_size: int) -> Expected | None:
    """Return the expected size of the sealed bytes: a storage that knows it in advance can choose its part size."""
    if expected is None or expected.size is None:
        return None
    return Expected(size=sealed_size(expected.size, header_size))


def _source_pieces(stream: BinaryIO, path: Path, check: StopCheck) -> Iterator[bytes]:
    try:
        for piece in read_chunks(stream):
            check()
            yield piece
    except OSError as exc:
        raise SourceNotFound(f"cannot read {path.name} to its end: {exc.strerror}") from exc
