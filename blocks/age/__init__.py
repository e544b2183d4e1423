"""The age v1 file format (C2SP age.md, age-encryption.org/v1) on `cryptography`; pure.

- `seal` and `unseal` encrypt and decrypt streams in constant memory; `SealedReader` reads any range.
- Recipients: X25519, passphrase (scrypt) and post-quantum (ML-KEM-768 with X25519). Armor is read, not written.
- `rewrap` replaces a header, so that other recipients open the same payload.

Releases no byte that is not authenticated. Does I/O only on streams that the caller passes in. Raises types of
`blocks.errors`; malformed and unauthentic input says in which ``part`` ("armor", "header" or "payload"). Start at
`whole_file.py`; the format itself is in `header.py` and `stream.py`.
"""

from blocks.age.armor import dearmor, is_armored
from blocks.age.header import read_header
from blocks.age.hybrid import HybridIdentity, HybridRecipient
from blocks.age.key_files import identity_file, parse_identities, parse_recipient, parse_recipients
from blocks.age.recipients import Identity, Recipient, rewrap
from blocks.age.scrypt import ScryptIdentity, ScryptRecipient
from blocks.age.sealed_reader import SealedReader
from blocks.age.whole_file import seal, sealed_size, unseal
from blocks.age.x25519 import X25519Identity, X25519Recipient

__all__ = [
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "Recipient",
    "ScryptIdentity",
    "ScryptRecipient",
    "SealedReader",
    "X25519Identity",
    "X25519Recipient",
    "dearmor",
    "identity_file",
    "is_armored",
    "parse_identities",
    "parse_recipient",
    "parse_recipients",
    "read_header",
    "rewrap",
    "seal",
    "sealed_size",
    "unseal",
]
