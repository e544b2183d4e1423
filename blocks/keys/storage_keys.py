"""The keys of a storage: one recipient to encrypt for, any number of identities to decrypt with; pure."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.age import HybridIdentity, HybridRecipient, X25519Identity, X25519Recipient

StorageRecipient = X25519Recipient | HybridRecipient
StorageIdentity = X25519Identity | HybridIdentity


@dataclass(frozen=True, kw_only=True)
class StorageKeys:
    """The recipient that files are encrypted for, and the identities that decrypt them, earlier ones included.

    Without a recipient, files are stored unencrypted. Without an identity for it, files can be stored and not read:
    enough for an intake machine.
    """

    recipient: StorageRecipient | None
    identities: tuple[StorageIdentity, ...] = ()

    @property
    def encrypted_for(self) -> str | None:
        """The recipient as the catalogue records it; None while files are stored unencrypted."""
        return self.recipient.text if self.recipient else None

    def opens(self, encrypted_for: str | None) -> bool:
        """Return whether these keys read files that the catalogue records as *encrypted_for*."""
        return encrypted_for is None or any(one.recipient.text == encrypted_for for one in self.identities)
