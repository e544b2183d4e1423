"""Whole age files as streams: header, nonce and payload (C2SP age.md, "Encrypted file format")."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from blocks.age.attachment import Attachment, open_attachment
from blocks.age.file_key import TAG_BYTES, new_file_key
from blocks.age.header import header_length, malformed_header, parse_header
from blocks.age.recipients import Identity, Recipient, open_header, wrap_for
from blocks.age.stream import CHUNK_BYTES, NONCE_BYTES, PayloadCipher, decrypt_payload, encrypt_payload


def seal(chunks: Iterable[bytes], recipients: Sequence[Recipient]) -> Iterator[bytes]:
    """Yield the age file of *chunks*, which may have any size: header and nonce, then pieces of about 1 MiB.

    Every piece is a fresh object. Nothing is read or computed before the first piece is asked for. Raises `InvalidKey`
    for recipients that cannot be used, or not together.
    """
    file_key, nonce = new_file_key(), secrets.token_bytes(NONCE_BYTES)
    yield wrap_for(recipients, file_key).encode() + nonce
    yield from encrypt_payload(chunks, file_key=file_key, nonce=nonce)


def seal_whole(
    content: bytes, recipients: Sequence[Recipient], attachment: Attachment | None = None
) -> tuple[bytes, bytes]:
    """Return header, and nonce and payload, of the age file of *content*: `seal` for small contents, in one step.

    Those who open the file can read the *attachment* in its header. Raises `InvalidKey`.
    """
    file_key, nonce = new_file_key(), secrets.token_bytes(NONCE_BYTES)
    header = wrap_for(recipients, file_key, attachment).encode()
    cipher = PayloadCipher(file_key, nonce, group_chunks=max(1, -(-len(content) // CHUNK_BYTES)))
    return header, nonce + cipher.seal_group(0, content, last=True)


def unseal(chunks: Iterable[bytes], identities: Sequence[Identity]) -> Iterator[bytes]:
    """Yield the content of an age file, in pieces of about 1 MiB; only what is authenticated is released.

    The content is complete only when the iterator has ended without an error. Raises `MalformedAgeFile`,
    `NoMatchingIdentity` and `AuthenticationFailed`, and lets errors of *chunks* pass.
    """
    remaining = iter(chunks)
    beginning, length = take_header(remaining)
    file_key = open_header(parse_header(bytes(beginning[:length])), identities)
    while len(beginning) < length + NONCE_BYTES:
        chunk = next(remaining, None)
        if chunk is None:
            raise malformed_header("the file ends before the payload's nonce")
        beginning += chunk
    nonce, first = bytes(beginning[length : length + NONCE_BYTES]), bytes(beginning[length + NONCE_BYTES :])
    yield from decrypt_payload(chain([first], remaining), file_key=file_key, nonce=nonce)


def unseal_whole(
    sealed: bytes, identities: Sequence[Identity], attachment_type: str
) -> tuple[bytes, bytes | None, bytes]:
    """Return the content, the text of the attachment of that type (None without one), and the header's bytes.

    Raises like `unseal`.
    """
    _, length = take_header(iter([sealed]))
    header = parse_header(sealed[:length])
    file_key = open_header(header, identities)
    text = open_attachment(header.stanzas, file_key, attachment_type)
    nonce = sealed[length : length + NONCE_BYTES]
    if len(nonce) < NONCE_BYTES:
        raise malformed_header("the file ends before the payload's nonce")
    payload = decrypt_payload([sealed[length + NONCE_BYTES :]], file_key=file_key, nonce=nonce)
    return b"".join(payload), text, sealed[:length]


def sealed_size(plain_size: int, header_size: int) -> int:
    """Return the bytes of an age file for *plain_size* bytes of content and a header of *header_size* bytes."""
    chunk_count = max(1, -(-plain_size // CHUNK_BYTES))
    return header_size + NONCE_BYTES + plain_size + chunk_count * TAG_BYTES


def take_header(chunks: Iterator[bytes]) -> tuple[bytearray, int]:
    """Return the first bytes of *chunks*, through the header's end or further, and the header's length.

    Raises `MalformedAgeFile` as soon as they are not the beginning of a header.
    """
    beginning = bytearray()
    for chunk in chunks:
        searched = len(beginning)
        beginning += chunk
        if (length := header_length(beginning, searched=searched)) is not None:
            return beginning, length
    raise malformed_header("the file ends before the header does" if beginning else "the file is empty")
