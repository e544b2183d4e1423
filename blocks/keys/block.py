"""The `key-pair` block: the keys of a deployment whose machines share no home.

Holds what the identity file in the home holds. Never saved by Waybill itself: Prefect gives a block's secrets to
whoever may ask its API, so it is the owner's decision to put an identity there. The recipient alone is enough for
machines that only take files in.
"""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.age import parse_identities, parse_recipient
from blocks.errors import InvalidKey, InvalidSettings
from blocks.keys.storage_keys import StorageKeys


class KeyPair(Block):
    """Whom stored files are encrypted for, and what opens them."""

    _block_type_name = "Key Pair"
    _block_type_slug = "key-pair"
    _description = "The age key pair that Waybill encrypts stored files with."
    _logo_url = None

    recipient: str = Field(description="The public key, age1...; files are encrypted for it.")
    identities: SecretStr | None = Field(
        default=None,
        description="The content of an age identity file: the secret key, and those of earlier key pairs. Without it "
        "files can be stored and not read.",
    )

    def storage_keys(self) -> StorageKeys:
        """The keys. Raises `InvalidSettings` when a field does not hold what it should."""
        try:
            identities = parse_identities(self.identities.get_secret_value()) if self.identities else []
            return StorageKeys(recipient=parse_recipient(self.recipient.strip()), identities=tuple(identities))
        except InvalidKey as exc:
            raise InvalidSettings(f"the block key-pair holds no usable keys: {exc}") from exc
