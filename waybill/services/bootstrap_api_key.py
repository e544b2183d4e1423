"""The first API key of a home: created when no key with the scope `admin` works, and written to a file for its owner.

Owns ``WAYBILL_HOME/api-key`` (0600). A key that a person has revoked is not replaced while another one with the scope
`admin` works.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from blocks.access import ADMIN, Actor, find_key, has_admin_key, parse_key
from blocks.catalog import Connection
from blocks.errors import InvalidSettings
from blocks.postgres import single_connection
from blocks.runtime.atomic_file import atomic_file
from blocks.settings import Settings
from waybill.services.api_keys import create_api_key

FILE_NAME = "api-key"
# Longer than any key, and short enough for memory if the file is something else.
_MOST_BYTES = 1024


async def ensure_first_key(settings: Settings, *, by: Actor) -> str | None:
    """Create the key if the home needs one and return its text; None if a key exists.

    Raises `InvalidSettings` when the file cannot be used, and `CatalogUnavailable`.
    """
    path = settings.home / FILE_NAME
    try:
        async with single_connection(settings.required_database_url) as connection, connection.transaction():
            if not await _is_wanted(connection, path):
                return None
            made = await create_api_key(connection, name="the first key", scopes=[ADMIN], by=by)
            # Before the commit: a file without its key is replaced at the next start, a key without its file is lost.
            with atomic_file(path) as stream:
                stream.write(f"{made.text}\n".encode())
    except OSError as exc:
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
