"""Create and revoke API keys, each with its entry in the audit log, which contains no key.

Also creates the first key of a home, when no key with the scope `admin` works, and writes it to a file for its owner:
``WAYBILL_HOME/api-key`` (0600). A key that a person has revoked is not replaced while another admin key works.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from blocks.access import (
    ADMIN,
    Actor,
    ApiKey,
    CreatedKey,
    create_key,
    find_key,
    has_admin_key,
    parse_key,
    record,
    revoke_key,
)
from blocks.catalog import Connection
from blocks.errors import InvalidSettings
from blocks.postgres import single_connection
from blocks.runtime.atomic_file import atomic_file
from blocks.runtime.write_errors import is_disk_full, write_error
from blocks.settings import Settings

KEY_FILE_NAME = "api-key"
# Longer than any key, and short enough for memory if the file is something else.
_MOST_BYTES = 1024


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


async def ensure_first_key(settings: Settings, *, by: Actor) -> str | None:
    """Create the first key if the home needs it; return it or None. Raises `InvalidSettings`, `CatalogUnavailable`."""
    path = settings.home / KEY_FILE_NAME
    try:
        async with single_connection(settings.required_database_url) as connection, connection.transaction():
            if not await _is_wanted(connection, path):
                return None
            made = await create_api_key(connection, name="the first key", scopes=[ADMIN], by=by)
            # Before the commit: a file without its key is replaced at the next start, a key without its file is lost.
            with atomic_file(path) as stream:
                stream.write(f"{made.text}\n".encode())
    except OSError as exc:
        if is_disk_full(exc):
            raise write_error(path, exc) from exc
        raise InvalidSettings(f"cannot use {path}: {exc.strerror}; the API key of this home belongs there") from exc
    return made.text


async def _is_wanted(connection: Connection, path: Path) -> bool:
    text = _read(path)
    if text is None:
        return not await has_admin_key(connection)
    shown = parse_key(text)
    known = await find_key(connection, shown.key_id) if shown is not None else None
    if shown is None or known is None or not shown.is_of(known):
        return True  # of another database
    return not known.usable and not await has_admin_key(connection)


def _read(path: Path) -> str | None:
    """Return the content of the file, and take the rights of other accounts from it; None without a file."""
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                os.fchmod(stream.fileno(), stat.S_IRUSR | stat.S_IWUSR)
            return stream.read(_MOST_BYTES).decode(errors="replace").strip()
    except FileNotFoundError:
        return None
