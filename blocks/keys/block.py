"""The `key-pair` block: the storage key of a deployment whose machines share no home.

Waybill never saves one: Prefect returns a block's secrets to every client of its API, so storing an identity there is
the owner's decision. The recipient alone is enough for machines that only store files.
"""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.age import parse_identities, parse_recipient
from blocks.errors import InvalidKey, InvalidSettings
from blocks.keys.key_file import StorageKeys


class KeyPair(Block):
    """The recipient that stored files are encrypted for, and the identities that decrypt them."""

    _block_type_name = "Key Pair"
    _block_type_slug = "key-pair"
    _description = "The age key pair that Waybill encrypts stored files with."
    _logo_url = None

    recipient: str = Field(description="The public key (age1...) that files are encrypted for.")
    identities: SecretStr | None = Field(
        default=None,
        description="The content of an age identity file: the secret key, and those of earlier key pairs. Without it, "
        "files can be stored but not read.",
    )

    def storage_keys(self) -> StorageKeys:
        """Return the keys. Raises `InvalidSettings` when a field holds no valid key."""
        try:
            identities = parse_identities(self.identities.get_secret_value()) if self.identities else []
            return StorageKeys(recipient=parse_recipient(self.recipient.strip()), identities=tuple(identities))
        except InvalidKey as exc:
            raise InvalidSettings(f"the block key-pair holds no usable keys: {exc}") from exc
