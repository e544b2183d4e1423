"""Keys of a storage for tests: one pair that was made for this session, and none."""

from __future__ import annotations

from blocks.age import X25519Identity
from blocks.keys import StorageKeys
from blocks.keys.storage_keys import PLAIN

IDENTITY = X25519Identity.generate()
ENCRYPTED = StorageKeys(recipient=IDENTITY.recipient, identities=(IDENTITY,))
WRITE_ONLY = StorageKeys(recipient=IDENTITY.recipient)

__all__ = ["ENCRYPTED", "IDENTITY", "PLAIN", "WRITE_ONLY"]
