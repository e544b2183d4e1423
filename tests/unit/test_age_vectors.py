"""Every published test vector of age: the exact outcome, and not a byte released that should not be."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from blocks.age import Identity, ScryptIdentity, SealedReader, dearmor, is_armored, read_header, unseal
from blocks.age.header import parse_header
from blocks.age.key_files import parse_identity
from blocks.age.stream import NONCE_BYTES, encrypt_payload
from blocks.errors import AuthenticationFailed, MalformedAgeFile, NoMatchingIdentity, WaybillError
from tests.age_vectors import Vector, all_vectors

VECTORS = all_vectors()
BINARY = [vector for vector in VECTORS if not vector.armored]
# An error's type and the part that it names, against the words of the vectors.
OUTCOMES = {
    (NoMatchingIdentity, None): "no match",
    (MalformedAgeFile, "armor"): "armor failure",
    (MalformedAgeFile, "header"): "header failure",
    (MalformedAgeFile, "payload"): "payload failure",
    (AuthenticationFailed, "header"): "HMAC failure",
    (AuthenticationFailed, "payload"): "payload failure",
}


def named(vectors: Iterable[Vector]) -> pytest.MarkDecorator:
    chosen = list(vectors)
    return pytest.mark.parametrize("vector", chosen, ids=[vector.name for vector in chosen])


def identities_of(vector: Vector) -> list[Identity]:
    secret_keys = [parse_identity(text) for text in vector.identities]
    return [*secret_keys, *(ScryptIdentity(passphrase) for passphrase in vector.passphrases)]


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def outcome_of(plain: Iterable[bytes]) -> tuple[str, bytes]:
    """How reading ends, and what was released until then."""
    released = bytearray()
    try:
        for piece in plain:
            released += piece
    except WaybillError as error:
        return OUTCOMES[type(error), error.context.get("part")], bytes(released)
    return "success", bytes(released)


def decrypted(vector: Vector, piece_bytes: int) -> Iterator[bytes]:
    chunks = pieces(vector.file, piece_bytes)
    return unseal(dearmor(chunks) if vector.armored else chunks, identities_of(vector))


def read_by_range(vector: Vector, step: int) -> Iterator[bytes]:
    reader = SealedReader(io.BytesIO(vector.file), identities_of(vector))
    for start in range(0, reader.size, step):
        yield from reader.read_range(start, min(start + step, reader.size))


def test_all_published_vectors_are_here() -> None:
    assert Counter(vector.expect for vector in VECTORS) == {
        "success": 26,
        "no match": 13,
        "HMAC failure": 1,
        "header failure": 62,
        "payload failure": 19,
        "armor failure": 22,
    }


# 1 MiB: whole; 65,552: a chunk at a time, as it is in the file; 61: nothing begins or ends where a piece does.
@named(VECTORS)
@pytest.mark.parametrize("piece_bytes", [1 << 20, 65_552, 61])
def test_a_vector_ends_as_published_and_releases_what_is_published(vector: Vector, piece_bytes: int) -> None:
    outcome, released = outcome_of(decrypted(vector, piece_bytes))
    assert outcome == vector.expect
    if vector.payload_sha256 is not None:
        assert hashlib.sha256(released).hexdigest() == vector.payload_sha256
    else:
        assert not released or vector.expect == "armor failure"


@named(BINARY)
def test_random_access_ends_as_published(vector: Vector) -> None:
    expected, in_order = outcome_of(decrypted(vector, 1 << 20))
    outcome, released = outcome_of(read_by_range(vector, 50_000))
    assert outcome == expected
    # The last chunk comes first, so a damaged file may be refused before anything is released.
    assert in_order.startswith(released)
    assert released == in_order or outcome == "payload failure"


@named(vector for vector in BINARY if vector.expect != "header failure")
def test_a_header_encodes_to_the_same_bytes(vector: Vector) -> None:
    stream = io.BytesIO(vector.file)
    header, encoded = read_header(stream)
    assert vector.file.startswith(encoded)
    assert stream.tell() == len(encoded)
    assert header.encode() == encoded
    assert parse_header(encoded) == header


@named(vector for vector in BINARY if vector.expect == "success")
def test_a_payload_encrypts_to_the_same_bytes(vector: Vector) -> None:
    header = read_header(io.BytesIO(vector.file))[1]
    nonce, payload = vector.file[len(header) :][:NONCE_BYTES], vector.file[len(header) + NONCE_BYTES :]
    plain = b"".join(decrypted(vector, 1 << 20))
    assert b"".join(encrypt_payload(pieces(plain, 70_001), file_key=vector.file_key, nonce=nonce)) == payload


@named(vector for vector in VECTORS if vector.armored and vector.expect == "success")
def test_armored_vectors_are_recognised(vector: Vector) -> None:
    assert is_armored(vector.file)
    assert not any(is_armored(binary.file) for binary in BINARY)
