"""The storage key: the age key pair that stored files are encrypted for.

`load_storage_keys` reads it from the environment and creates the identity file in the home on first need, unless its
caller finds files that need a missing one (`blocks.custody.lost_key`); `add_identity` adds the next one for a rotation.
No identity is ever dropped, and a file to which other accounts have rights is refused. Import the `key-pair` block
(`blocks.keys.block`) by name: Prefect takes half a second to import.
"""

from blocks.keys.key_file import (
    StorageIdentity,
    StorageKeys,
    StorageRecipient,
    add_identity,
    identities_of_its_own,
    load_storage_keys,
    missing_key,
)

__all__ = [
    "StorageIdentity",
    "StorageKeys",
    "StorageRecipient",
    "add_identity",
    "identities_of_its_own",
    "load_storage_keys",
    "missing_key",
]
