"""Keys of a storage for tests: one pair that was made for this session, and none."""

from __future__ import annotations

from blocks.age import X25519Identity
from blocks.keys import StorageKeys

IDENTITY = X25519Identity.generate()
ENCRYPTED = StorageKeys(recipient=IDENTITY.recipient, identities=(IDENTITY,))
WRITE_ONLY = StorageKeys(recipient=IDENTITY.recipient)
# Encrypts nothing, and reads no encrypted file.
PLAIN = StorageKeys(recipient=None)
