"""The rows of stored files, page by page: for a backup that copies the files and a restore that puts them back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from blocks.catalog import Catalog
from blocks.postgres import fetch_all

# The paths and hashes of a page fit in a few hundred KiB.
_PAGE_ROWS = 500

# The database of an older backup has no column for the place of a manifest: all were next to their blobs. Its hashes
# are text, where those of today are bytes, which Postgres writes as \x and the digits.
_STORED = """
    select file_id, location, stored_size, ltrim(stored_sha256::text, '\\x') as stored_sha256, created_at, damage,
           coalesce(to_jsonb(artifacts) ->> 'manifest', 'separate') as manifest
      from artifacts
"""
_AVAILABLE = f"{_STORED} where state = 'available' and file_id > %(after)s order by file_id limit %(limit)s"
_SOME = f"{_STORED} where state = 'available' and file_id = any(%(file_ids)s)"


async def pages_of_stored_files(catalog: Catalog) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the available files by id.

    Of each: `file_id`, `location`, `stored_size` in bytes, `stored_sha256`, `created_at`, `damage` (None: no mark),
    `manifest` (inline or separate). No connection is held between two pages. Raises `CatalogUnavailable`.
    """
    after = UUID(int=0)
    while True:
        async with catalog.connection() as connection:
            rows = await fetch_all(connection, _AVAILABLE, {"after": after, "limit": _PAGE_ROWS})
        if not rows:
            return
        after = rows[-1]["file_id"]
        yield rows


async def rows_of_stored_files(catalog: Catalog, file_ids: list[UUID]) -> list[dict[str, Any]]:
    """Return those of the files that are available now, with the fields of `pages_of_stored_files`."""
    async with catalog.connection() as connection:
        return await fetch_all(connection, _SOME, {"file_ids": file_ids})
