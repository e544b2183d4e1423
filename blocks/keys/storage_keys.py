"""The keys of a storage: one recipient to write for, any number of identities to read with; pure."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.age import HybridIdentity, HybridRecipient, X25519Identity, X25519Recipient

StorageRecipient = X25519Recipient | HybridRecipient
StorageIdentity = X25519Identity | HybridIdentity


@dataclass(frozen=True, kw_only=True)
class StorageKeys:
    """What custody encrypts for and decrypts with.

    Without `recipient` files are stored as they are. Without an identity for it files can be written and not read:
    enough for a machine that only takes in. `identities` holds those of earlier keys too.
    """

    recipient: StorageRecipient | None
    identities: tuple[StorageIdentity, ...] = ()

    @property
    def encrypted_for(self) -> str | None:
        """The recipient as the catalogue notes it; None while files are stored as they are."""
        return self.recipient.text if self.recipient else None

    def opens(self, encrypted_for: str | None) -> bool:
        """Whether files with this note of the catalogue can be read with the keys at hand."""
        return encrypted_for is None or any(one.recipient.text == encrypted_for for one in self.identities)


PLAIN = StorageKeys(recipient=None)
"""Nothing is encrypted, and nothing encrypted can be read."""
