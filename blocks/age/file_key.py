"""The file key, and how recipients wrap it: the primitives that all parts of the format share.

Implements C2SP age.md, "File key", the HKDF of "Conventions used in this document", and the wrapping with
ChaCha20-Poly1305 that the native recipient types have in common.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE_KEY_BYTES = 16  # "File key": 128 bits
TAG_BYTES = 16  # RFC 7539 section 2.8: Poly1305
WRAPPED_KEY_BYTES = FILE_KEY_BYTES + TAG_BYTES
_DERIVED_KEY_BYTES = 32  # "Conventions": always 32
# Both "recipient stanza" sections: fixed, which is safe because a wrap key is used for one message only.
_WRAP_NONCE = bytes(12)


def new_file_key() -> bytes:
    """Return a fresh file key; never to be used for a second file."""
    return secrets.token_bytes(FILE_KEY_BYTES)


def derive_key(secret: bytes, *, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869): 32 bytes."""
    return HKDF(algorithm=SHA256(), length=_DERIVED_KEY_BYTES, salt=salt, info=info).derive(secret)


def wrap_file_key(wrap_key: bytes, file_key: bytes) -> bytes:
    """Return the body of a stanza: the file key under a key that is used for nothing else."""
    return ChaCha20Poly1305(wrap_key).encrypt(_WRAP_NONCE, file_key, None)


def unwrap_file_key(wrap_key: bytes, body: bytes) -> bytes | None:
    """Return the file key in *body*, which must have `WRAPPED_KEY_BYTES`; None when this is not the key that wrapped
    it."""
    try:
        return ChaCha20Poly1305(wrap_key).decrypt(_WRAP_NONCE, body, None)
    except InvalidTag:
        return None
