"""The keys that stored files are encrypted for; the `key-pair` block is `blocks.keys.block`, which imports Prefect."""

from blocks.keys.key_file import add_identity, identities_of_its_own, load_storage_keys
from blocks.keys.storage_keys import StorageIdentity, StorageKeys, StorageRecipient

__all__ = [
    "StorageIdentity",
    "StorageKeys",
    "StorageRecipient",
    "add_identity",
    "identities_of_its_own",
    "load_storage_keys",
]
