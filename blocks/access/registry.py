"""Create, find and revoke API keys in Postgres. Every call takes the caller's connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from blocks.access import queries
from blocks.access.api_key import ApiKey, check_name, check_scopes, digest, generate_key
from blocks.errors import ApiKeyNotFound
from blocks.postgres import Connection, Row, execute, fetch_all, fetch_optional, fetch_row


@dataclass(frozen=True, kw_only=True)
class CreatedKey:
    """A new key, and its text, which is available only now."""

    key: ApiKey
    text: str = field(repr=False)


async def create_key(
    connection: Connection,
    *,
    name: str,
    scopes: Sequence[str],
    requests_per_minute: int | None = None,
    keep_for: timedelta | None = None,
) -> CreatedKey:
    """Create a key; without *keep_for* it works until it is revoked. Raises `InvalidOptions`."""
    text, parts = generate_key()
    values = {
        "key_id": parts.key_id,
        "name": check_name(name),
        "secret_sha256": digest(parts.secret),
        "scopes": check_scopes(scopes),
        "requests_per_minute": requests_per_minute,
        "keep_for_seconds": keep_for.total_seconds() if keep_for is not None else None,
    }
    return CreatedKey(key=_key(await fetch_row(connection, queries.CREATE_KEY, values)), text=text)


async def find_key(connection: Connection, key_id: str) -> ApiKey | None:
    """Return the key with this id, usable or not; None when there is none."""
    return (await find_keys(connection, [key_id])).get(key_id)


async def find_keys(connection: Connection, key_ids: Sequence[str]) -> dict[str, ApiKey]:
    """Return the keys with these ids that exist, usable or not, by id."""
    rows = await fetch_all(connection, queries.FIND_KEYS, {"key_ids": list(set(key_ids))})
    return {row["key_id"]: _key(row) for row in rows}


async def list_keys(connection: Connection) -> list[ApiKey]:
    """Return all keys, newest first, including revoked and expired ones."""
    return [_key(row) for row in await fetch_all(connection, queries.LIST_KEYS, {})]


async def revoke_key(connection: Connection, key_id: str) -> ApiKey:
    """Revoke the key with immediate effect. Idempotent. Raises `ApiKeyNotFound`."""
    row = await fetch_optional(connection, queries.REVOKE_KEY, {"key_id": key_id})
    if row is None:
        raise ApiKeyNotFound(f"no API key {key_id!r}; 'waybill keys list' shows all keys")
    return _key(row)


async def has_admin_key(connection: Connection) -> bool:
    """Return whether a usable key has the scope `admin`."""
    return bool((await fetch_row(connection, queries.HAS_ADMIN_KEY, {}))["found"])


async def record_key_use(connection: Connection, key_id: str) -> None:
    """Record that the key was used now."""
    await execute(connection, queries.RECORD_KEY_USE, {"key_id": key_id})


def _key(row: Row) -> ApiKey:
    known: Row = {**row, "scopes": tuple(row["scopes"])}
    return ApiKey(**known)
