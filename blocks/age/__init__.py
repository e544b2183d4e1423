"""The age v1 file format (C2SP age.md, age-encryption.org/v1) on `cryptography`; pure.

X25519, passphrase and post-quantum recipients; streams in both directions, random access, armor on read, and headers
for other recipients on the same payload. Does no I/O but on streams that are handed in, and raises only types of
`blocks.errors`: what is malformed or not authentic says which ``part`` it is in ("armor", "header" or "payload").
"""

from blocks.age.armor import dearmor, is_armored
from blocks.age.header import Header, Stanza, parse_header, read_header
from blocks.age.hybrid import HybridIdentity, HybridRecipient
from blocks.age.key_files import identity_file, parse_identities, parse_identity, parse_recipient, parse_recipients
from blocks.age.recipients import Identity, Recipient, open_header, rewrap
from blocks.age.scrypt import ScryptIdentity, ScryptRecipient
from blocks.age.sealed_reader import SealedReader
from blocks.age.whole_file import seal, sealed_size, unseal
from blocks.age.x25519 import X25519Identity, X25519Recipient

__all__ = [
    "Header",
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "Recipient",
    "ScryptIdentity",
    "ScryptRecipient",
    "SealedReader",
    "Stanza",
    "X25519Identity",
    "X25519Recipient",
    "dearmor",
    "identity_file",
    "is_armored",
    "open_header",
    "parse_header",
    "parse_identities",
    "parse_identity",
    "parse_recipient",
    "parse_recipients",
    "read_header",
    "rewrap",
    "seal",
    "sealed_size",
    "unseal",
]
