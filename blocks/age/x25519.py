"""X25519 key pairs (C2SP age.md, "The X25519 recipient type"). Secret keys never appear in a repr or a message."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from blocks.age.bech32 import decode_bech32, encode_bech32
from blocks.age.canonical_base64 import encode_base64
from blocks.age.file_key import derive_key, unwrap_file_key, wrap_file_key
from blocks.age.header import Stanza, malformed_header, wrapped_key
from blocks.errors import InvalidKey

TYPE = "X25519"
_RECIPIENT_PREFIX = "age"
_IDENTITY_PREFIX = "age-secret-key-"
_KEY_BYTES = 32  # RFC 7748 section 5
_FIELD_PRIME = 2**255 - 19  # RFC 7748 section 4.1
_INFO = b"age-encryption.org/v1/X25519"  # "X25519 recipient stanza"


class X25519Recipient:
    """A public key."""

    def __init__(self, public_key: bytes) -> None:
        """Raises `InvalidKey` for bytes that no secret key belongs to."""
        if len(public_key) != _KEY_BYTES:
            raise InvalidKey(f"an X25519 recipient has {_KEY_BYTES} bytes, this one has {len(public_key)}")
        # No identity could open a file for a value that is not reduced: identities salt with the reduced one.
        if int.from_bytes(public_key, "little") >= _FIELD_PRIME:
            raise InvalidKey("this X25519 recipient is no coordinate of the curve; was it made by age-keygen?")
        self._public_bytes = public_key
        self._public_key = X25519PublicKey.from_public_bytes(public_key)
        # A point of low order gives every sender the same shared secret, zero: everyone could open the file.
        if _shared_secret(X25519PrivateKey.generate(), self._public_key) is None:
            raise InvalidKey("this X25519 recipient is a point of low order, which protects nothing")

    @classmethod
    def from_text(cls, text: str) -> X25519Recipient:
        """Return the recipient of an ``age1...`` text. Raises `InvalidKey`."""
        decoded = decode_bech32(text)
        # Public keys are written in lower case only, so that two different texts are two different keys.
        if decoded is None or decoded[0] != _RECIPIENT_PREFIX or text != text.lower():
            raise InvalidKey("not an X25519 recipient: expected age1 and 58 more characters, all as they were printed")
        return cls(decoded[1])

    @cached_property  # asked for at each file that is read
    def text(self) -> str:
        """``age1...``"""
        return encode_bech32(_RECIPIENT_PREFIX, self._public_bytes)

    def wrap(self, file_key: bytes) -> list[Stanza]:
        """One stanza, with an ephemeral key of its own."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        secret = ephemeral.exchange(self._public_key)  # not zero: the constructor has tried
        wrap_key = derive_key(secret, salt=share + self._public_bytes, info=_INFO)
        return [Stanza((TYPE, encode_base64(share)), wrap_file_key(wrap_key, file_key))]

    def __reduce__(self) -> tuple[type[X25519Recipient], tuple[bytes]]:
        """Public keys go to worker processes; identities never do."""
        return X25519Recipient, (self._public_bytes,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, X25519Recipient) and other._public_bytes == self._public_bytes

    def __hash__(self) -> int:
        return hash((TYPE, self._public_bytes))

    def __repr__(self) -> str:
        return f"X25519Recipient({self.text!r})"


class X25519Identity:
    """A secret key. Its repr shows the recipient only."""

    def __init__(self, secret_key: bytes) -> None:
        """Raises `InvalidKey` for anything but 32 bytes."""
        if len(secret_key) != _KEY_BYTES:
            raise InvalidKey(f"an X25519 identity has {_KEY_BYTES} bytes, this one has {len(secret_key)}")
        self._secret_key = X25519PrivateKey.from_private_bytes(secret_key)
        self._public_bytes = self._secret_key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> X25519Identity:
        """Return a new identity from the system's random numbers."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_text(cls, text: str) -> X25519Identity:
        """Return the identity of an ``AGE-SECRET-KEY-1...`` text. Raises `InvalidKey`, which never repeats the text."""
        decoded = decode_bech32(text)
        if decoded is None or decoded[0] != _IDENTITY_PREFIX or text != text.upper():
            raise InvalidKey("not an X25519 identity: expected AGE-SECRET-KEY-1 and 58 more characters, all as printed")
        return cls(decoded[1])

    @property
    def text(self) -> str:
        """``AGE-SECRET-KEY-1...``: the secret itself."""
        return encode_bech32(_IDENTITY_PREFIX, self._secret_key.private_bytes_raw()).upper()

    @cached_property
    def recipient(self) -> X25519Recipient:
        return X25519Recipient(self._public_bytes)

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """See `Identity.unwrap`. Stanzas of this type are checked also when they are for other keys."""
        # All are read before one is opened: whether a file is well formed must not depend on who opens it.
        for share, body in [wrapped_key(stanza, _KEY_BYTES, "share") for stanza in stanzas if stanza.type == TYPE]:
            secret = _shared_secret(self._secret_key, X25519PublicKey.from_public_bytes(share))
            if secret is None:
                # A share of low order would give every identity the same secret, and fits many keys at once.
                raise malformed_header("an X25519 stanza holds a point of low order")
            wrap_key = derive_key(secret, salt=share + self._public_bytes, info=_INFO)
            if (file_key := unwrap_file_key(wrap_key, body)) is not None:
                return file_key
        return None

    def __repr__(self) -> str:
        return f"X25519Identity(recipient={self.recipient.text!r})"


def _shared_secret(secret_key: X25519PrivateKey, public_key: X25519PublicKey) -> bytes | None:
    """X25519; None when the result is all zero, which `cryptography` reports as an error."""
    try:
        return secret_key.exchange(public_key)
    except ValueError:
        return None
