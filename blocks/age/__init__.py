"""The age v1 file format (C2SP age.md, age-encryption.org/v1) on `cryptography`; pure.

`seal` and `unseal` encrypt and decrypt streams in constant memory, `SealedReader` reads any range, and `rewrap`
replaces a header. Recipients are X25519, passphrases (scrypt) and ML-KEM-768 with X25519; armor is only read. Releases
no byte that is not authenticated. Errors say in which ``part`` the input is wrong ("armor", "header" or "payload").
Start at `whole_file`; the format itself is in `header` and `stream`.
"""

from blocks.age.armor import dearmor, is_armored
from blocks.age.attachment import Attachment
from blocks.age.header import read_header
from blocks.age.hybrid import HybridIdentity, HybridRecipient
from blocks.age.key_files import identity_file, parse_identities, parse_recipient, parse_recipients
from blocks.age.recipients import Identity, Recipient, rewrap
from blocks.age.scrypt import ScryptIdentity, ScryptRecipient
from blocks.age.sealed_reader import SealedReader
from blocks.age.whole_file import seal, seal_whole, sealed_size, unseal, unseal_whole
from blocks.age.x25519 import X25519Identity, X25519Recipient

__all__ = [
    "Attachment",
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
    "seal_whole",
    "sealed_size",
    "unseal",
    "unseal_whole",
]
