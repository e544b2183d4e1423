"""The storage key: the age key pair that stored files are encrypted for.

`load_storage_keys` reads it from the environment and creates the identity file in the home on first need;
`add_identity` adds the next one for a rotation. Promises that no identity is ever dropped from an identity file,
and refuses one that every account of the machine can read. The `key-pair` block is imported by name
(`blocks.keys.block`), because Prefect takes half a second to import.
"""

from blocks.keys.key_file import (
    StorageIdentity,
    StorageKeys,
    StorageRecipient,
    add_identity,
    identities_of_its_own,
    load_storage_keys,
)

__all__ = [
    "StorageIdentity",
    "StorageKeys",
    "StorageRecipient",
    "add_identity",
    "identities_of_its_own",
    "load_storage_keys",
]
