"""Create and revoke API keys, each with its entry in the audit log, which contains no key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from blocks.access import Actor, ApiKey, CreatedKey, create_key, find_key, record, revoke_key
from blocks.catalog import Connection


async def create_api_key(
    connection: Connection,
    *,
    name: str,
    scopes: Sequence[str],
    requests_per_minute: int | None = None,
    keep_for: timedelta | None = None,
    by: Actor,
) -> CreatedKey:
    """Create a key in the caller's transaction. Raises `InvalidOptions`."""
    made = await create_key(
        connection, name=name, scopes=scopes, requests_per_minute=requests_per_minute, keep_for=keep_for
    )
    detail = {"key_id": made.key.key_id, "name": made.key.name, "scopes": list(made.key.scopes)}
    await record(connection, by.entry("key_created", detail=detail))
    return made


async def revoke_api_key(connection: Connection, key_id: str, *, by: Actor) -> ApiKey:
    """Revoke a key in the caller's transaction. Idempotent, and recorded once. Raises `ApiKeyNotFound`."""
    before = await find_key(connection, key_id)
    revoked = await revoke_key(connection, key_id)
    if before is not None and before.revoked_at is None:
        detail = {"key_id": key_id, "name": revoked.name}
        await record(connection, by.entry("key_revoked", detail=detail))
    return revoked
