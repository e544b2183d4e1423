"""Post-quantum keys: safe as long as either ML-KEM-768 or X25519 is.

Implements C2SP age.md, "The MLKEM768-X25519 (i.e. X-Wing) hybrid post-quantum recipient type", on the HPKE (RFC 9180)
of `cryptography`. Texts of secret keys never appear in a repr or a message.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from functools import cached_property, lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from blocks.age.bech32 import decode_bech32, encode_bech32
from blocks.age.canonical_base64 import encode_base64
from blocks.age.header import Stanza, malformed_header, wrapped_key
from blocks.errors import InvalidKey

TYPE = "mlkem768x25519"
RECIPIENT_PREFIX = "age1pq"
IDENTITY_PREFIX = "age-secret-key-pq-"
_INFO = b"age-encryption.org/mlkem768x25519"  # "mlkem768x25519 recipient stanza"
_SEED_BYTES = 32
# FIPS 203, table 3: encapsulation key and ciphertext of ML-KEM-768; the X25519 key or share comes after it.
_MLKEM_PUBLIC_BYTES = 1184
_MLKEM_CIPHERTEXT_BYTES = 1088
_MLKEM_SEED_BYTES = 64
_X25519_BYTES = 32
_ENCAPSULATED_BYTES = _MLKEM_CIPHERTEXT_BYTES + _X25519_BYTES


class HybridRecipient:
    """A public key."""

    def __init__(self, public_key: bytes) -> None:
        """Raises `InvalidKey` for bytes that are no such key."""
        if len(public_key) != _MLKEM_PUBLIC_BYTES + _X25519_BYTES:
            raise InvalidKey(f"a post-quantum recipient has 1216 bytes, this one has {len(public_key)}")
        x25519 = X25519PublicKey.from_public_bytes(public_key[_MLKEM_PUBLIC_BYTES:])
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(public_key[:_MLKEM_PUBLIC_BYTES])
            X25519PrivateKey.generate().exchange(x25519)  # fails for points of low order
        except ValueError as exc:
            raise InvalidKey("this post-quantum recipient is not a pair of public keys") from exc
        self._public_bytes = public_key
        self._public_key = MLKEM768X25519PublicKey(mlkem, x25519)

    @classmethod
    def from_text(cls, text: str) -> HybridRecipient:
        """Return the recipient of an ``age1pq1...`` text. Raises `InvalidKey`."""
        decoded = decode_bech32(text)
        if decoded is None or decoded[0] != RECIPIENT_PREFIX or text != text.lower():
            raise InvalidKey("not a post-quantum recipient: expected age1pq1 and 1952 more characters, all as printed")
        return cls(decoded[1])

    @cached_property  # asked for at each file that is read
    def text(self) -> str:
        """``age1pq1...``"""
        return encode_bech32(RECIPIENT_PREFIX, self._public_bytes)

    def wrap(self, file_key: bytes) -> list[Stanza]:
        """One stanza, with an encapsulated key of its own."""
        sealed = _suite().encrypt(file_key, self._public_key, _INFO)
        encapsulated, body = sealed[:_ENCAPSULATED_BYTES], sealed[_ENCAPSULATED_BYTES:]
        return [Stanza((TYPE, encode_base64(encapsulated)), body)]

    def __reduce__(self) -> tuple[type[HybridRecipient], tuple[bytes]]:
        """Public keys go to worker processes; identities never do."""
        return HybridRecipient, (self._public_bytes,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HybridRecipient) and other._public_bytes == self._public_bytes

    def __hash__(self) -> int:
        return hash((TYPE, self._public_bytes))

    def __repr__(self) -> str:
        return f"HybridRecipient({self.text!r})"


class HybridIdentity:
    """A secret key."""

    def __init__(self, seed: bytes) -> None:
        """Raises `InvalidKey` for anything but 32 bytes."""
        if len(seed) != _SEED_BYTES:
            raise InvalidKey(f"a post-quantum identity has {_SEED_BYTES} bytes, this one has {len(seed)}")
        self._seed = seed
        # X-Wing's expandDecapsulationKey: ML-KEM's two seeds, then the X25519 key.
        expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + _X25519_BYTES)
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES])
        self._x25519 = X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:])

    @classmethod
    def generate(cls) -> HybridIdentity:
        """Return a new identity from the system's random numbers."""
        return cls(secrets.token_bytes(_SEED_BYTES))

    @classmethod
    def from_text(cls, text: str) -> HybridIdentity:
        """Return the identity of an ``AGE-SECRET-KEY-PQ-1...`` text. Raises `InvalidKey` without repeating the text."""
        decoded = decode_bech32(text)
        if decoded is None or decoded[0] != IDENTITY_PREFIX or text != text.upper():
            raise InvalidKey("not a post-quantum identity: expected AGE-SECRET-KEY-PQ-1 and 58 more, all as printed")
        return cls(decoded[1])

    @property
    def text(self) -> str:
        """``AGE-SECRET-KEY-PQ-1...``: the secret itself."""
        return encode_bech32(IDENTITY_PREFIX, self._seed).upper()

    @cached_property
    def recipient(self) -> HybridRecipient:
        public = self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw()
        return HybridRecipient(public)

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """See `Identity.unwrap`. Stanzas of this type are checked also when they are for other keys."""
        ours = [wrapped_key(stanza, _ENCAPSULATED_BYTES, "key") for stanza in stanzas if stanza.type == TYPE]
        for encapsulated, body in ours:
            self._refuse_low_order(encapsulated[_MLKEM_CIPHERTEXT_BYTES:])
            key = MLKEM768X25519PrivateKey(self._mlkem, self._x25519)
            try:
                return _suite().decrypt(encapsulated + body, key, _INFO)
            except InvalidTag:
                continue
        return None

    def _refuse_low_order(self, share: bytes) -> None:
        """RFC 9180 section 7.1.4: an all-zero secret would leave ML-KEM alone, and fits every X25519 key."""
        try:
            self._x25519.exchange(X25519PublicKey.from_public_bytes(share))
        except ValueError as exc:
            raise malformed_header("an mlkem768x25519 stanza holds a point of low order") from exc


@lru_cache(maxsize=1)
def _suite() -> Suite:
    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
