"""The manifest of a small encrypted file, in the age header of its blob: one object for each file.

A stanza of our own type holds it, deflated and sealed with a key that is derived from the file's own
(`blocks.age.attachment`). It says nothing of the stored bytes, which a reader measures. Who gets the file with a header
of its own (a hand-over) gets no manifest: `rewrap` takes nothing over.
"""

from __future__ import annotations

import hashlib
import zlib

from blocks.age import Attachment, unseal_whole
from blocks.age.header import MAX_HEADER_BYTES
from blocks.catalog import Artifact, Stored
from blocks.custody.manifest import MAX_MANIFEST_BYTES, manifest_bytes, parse_inline
from blocks.errors import MalformedAgeFile, MalformedManifest, StorageUnavailable
from blocks.keys import StorageKeys
from blocks.storage import Backend, is_file_path, kind_folder

# Contents up to this are stored and read in one piece: a few MiB of memory, and no thread that works ahead.
WHOLE_BYTES = 1024 * 1024
# Other implementations of age read a header into memory. A manifest with a larger report goes next to its blob.
MAX_INLINE_BYTES = 64 * 1024

STANZA_TYPE = "waybill-manifest"
# Readable without a key, at the beginning of a line of the header.
_MARK = f"\n-> {STANZA_TYPE} ".encode()
# One step above the fastest: metadata and reports are some hundred bytes.
_DEFLATE_LEVEL = 2
# Tags of 16 chunks, the nonce, and some room.
_MOST_STORED_BYTES = MAX_HEADER_BYTES + WHOLE_BYTES + 1024
# The stanza comes after that of the storage's recipient, of which a post-quantum one has 1.6 kB.
MARKED_BYTES = 4096


def inline_manifest(artifact: Artifact) -> Attachment | None:
    """Return the manifest of *artifact* for the header of its blob; None when it is too large for that.

    Sizes and hashes of the stored bytes, which are not known yet, are left out. Raises `CatalogRefused` for metadata
    that the catalogue would refuse.
    """
    text = zlib.compress(manifest_bytes(artifact, inline=True), _DEFLATE_LEVEL)
    return Attachment(STANZA_TYPE, text) if len(text) <= MAX_INLINE_BYTES else None


def may_have_inline_manifest(beginning: bytes) -> bool:
    """Return whether a blob's *beginning*, of `MARKED_BYTES`, may be that of a file with such a manifest."""
    return _MARK in beginning


def has_inline_manifest(backend: Backend, path: str) -> bool:
    """Return whether the beginning of the blob at *path* says that it has a manifest; needs no key. Blocks.

    Raises `BlobMissing`, `StorageUnavailable`, `UnsafeKey`.
    """
    with backend.open(path) as stream:
        try:
            return may_have_inline_manifest(stream.read(MARKED_BYTES))
        except OSError as exc:
            raise _unreadable(exc) from exc


def read_inline_manifest(backend: Backend, path: str, keys: StorageKeys) -> Artifact | None:
    """Return the file that the blob at *path* describes in its header; None when it has no manifest there. Blocks.

    The whole content is decrypted and compared. Raises `MalformedManifest`, `NoMatchingIdentity`,
    `AuthenticationFailed`, `BlobMissing`, `StorageUnavailable`.
    """
    sealed = _read(backend, path)
    if sealed is None:
        return None
    if len(sealed) > _MOST_STORED_BYTES:
        raise MalformedManifest("the blob is larger than any with a manifest in its header")
    try:
        content, text, header = unseal_whole(sealed, keys.identities, STANZA_TYPE)
    except MalformedAgeFile as exc:
        raise MalformedManifest(f"the blob is cut short or changed: {exc}") from exc
    if text is None:
        return None
    described = parse_inline(_inflated(text))
    # A transfer keeps the header that its sender has made: what such a header says of the file is the sender's claim.
    if described.kind == "transfer" or not path.startswith(f"{kind_folder(described.kind)}/"):
        raise MalformedManifest(f"it describes a file of the kind {described.kind}, which has no manifest there")
    if described.location != path or not is_file_path(path):
        raise MalformedManifest(f"it describes another file, at {described.location}")
    if (described.size, described.sha256) != (len(content), hashlib.sha256(content).hexdigest()):
        raise MalformedManifest("the content is not the one that it describes")
    stored = Stored(
        size=described.size,
        sha256=described.sha256,
        stored_size=len(sealed),
        stored_sha256=hashlib.sha256(sealed).hexdigest(),
        encrypted_for=described.encrypted_for,
        header_sha256=hashlib.sha256(header).hexdigest(),
        manifest="inline",
    )
    return described.as_artifact(stored)


def _read(backend: Backend, path: str) -> bytes | None:
    """Return the stored bytes, and a byte more than there can be; None for a blob without such a manifest."""
    with backend.open(path) as stream:
        try:
            beginning = stream.read(MARKED_BYTES)
            return beginning + stream.read(_MOST_STORED_BYTES) if may_have_inline_manifest(beginning) else None
        except OSError as exc:
            raise _unreadable(exc) from exc


def _unreadable(exc: OSError) -> StorageUnavailable:
    return StorageUnavailable(f"it cannot be read: {exc.strerror or type(exc).__name__}")


def _inflated(text: bytes) -> bytes:
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(text, MAX_MANIFEST_BYTES)
    except zlib.error as exc:
        raise MalformedManifest("it is not compressed as manifests are") from exc
    if not inflate.eof or inflate.unused_data:
        raise MalformedManifest(f"it is cut short, or larger than {MAX_MANIFEST_BYTES} bytes")
    return plain
