"""A short text in the header of an age file, for those alone who can open the file.

Not part of age v1: a stanza of a type of its own, which every implementation ignores as the format asks ("Recipient
stanza": unknown types are for others). The text is encrypted with a key that is derived from the file key with a random
salt, the stanza's only argument, and a label of its own; the header's MAC covers the stanza.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from blocks.age.canonical_base64 import decode_base64, encode_base64
from blocks.age.file_key import derive_key
from blocks.age.header import Stanza, malformed_header
from blocks.errors import AuthenticationFailed

_SALT_BYTES = 16
# Fixed, which is safe because a salt gives each text a key of its own.
_NONCE = bytes(12)


@dataclass(frozen=True)
class Attachment:
    """A text, and the type of the stanza that holds it, which anyone can read in the file."""

    type: str
    text: bytes

    def seal(self, file_key: bytes) -> Stanza:
        """Return the stanza, each time with a fresh salt."""
        salt = secrets.token_bytes(_SALT_BYTES)
        return Stanza(
            (self.type, encode_base64(salt)), _cipher(self.type, file_key, salt).encrypt(_NONCE, self.text, None)
        )


def open_attachment(stanzas: Sequence[Stanza], file_key: bytes, type_name: str) -> bytes | None:
    """Return the text in the stanza of that type, None when there is none.

    Raises `MalformedAgeFile` for a stanza of another form or for several, and `AuthenticationFailed` (part="header").
    """
    ours = [stanza for stanza in stanzas if stanza.type == type_name]
    if not ours:
        return None
    salt = decode_base64(ours[0].arguments[1]) if len(ours[0].arguments) == 2 else None
    if len(ours) > 1 or salt is None or len(salt) != _SALT_BYTES:
        raise malformed_header(f"there is not one {type_name} stanza with a salt of {_SALT_BYTES} bytes")
    try:
        return _cipher(type_name, file_key, salt).decrypt(_NONCE, ours[0].body, None)
    except InvalidTag as exc:
        raise AuthenticationFailed(f"the {type_name} stanza does not fit its file", part="header") from exc


def _cipher(type_name: str, file_key: bytes, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(derive_key(file_key, salt=salt, info=f"{type_name}/v1".encode()))
