"""Whether the storage is the one that the catalogue speaks of. Owns no state.

Deleting a missing blob is success. In a storage that is not mounted, or is another one, every blob is missing: a
clean-up there would record that all files are gone, and leave their bytes where they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from blocks.catalog import Catalog
from blocks.custody.custody import Custody
from blocks.errors import BlobMissing, StorageUnavailable, UnsafeKey, WaybillError
from blocks.postgres import fetch_all
from blocks.storage import Backend

# The newest ones: the storage that is in use has them. One that is there answers the question.
_LOOKED_AT = 20
# The bytes of fewer files may be lost for good, and their rows must be able to go: once a check has marked them.
_FEW = 10

_NEWEST = """
    select location from artifacts where state = 'available' and (%(even_damaged)s or damaged_at is null)
     order by created_at desc, file_id desc limit %(limit)s
"""


async def newest_locations(catalog: Catalog, limit: int, *, even_damaged: bool) -> list[str]:
    """Return the paths of the *limit* newest files; *even_damaged*: also of those known to be damaged or missing."""
    values = {"limit": limit, "even_damaged": even_damaged}
    async with catalog.connection() as connection:
        return [str(row["location"]) for row in await fetch_all(connection, _NEWEST, values)]


async def missing_blobs(backend: Backend, paths: Sequence[str]) -> int:
    """Return how many of *paths* have no blob; 0 as soon as one has. Raises what `Backend.size` raises.

    Paths that can have none are not counted: such a row is wrong itself, and says nothing about the storage.
    """
    return await asyncio.to_thread(_missing, backend, paths)


async def refuse_wrong_storage(custody: Custody) -> None:
    """Raise `StorageUnavailable` when none of the newest files is in the storage.

    Of fewer than ten, those that are marked as damaged do not count.
    """
    try:
        missing = await _all_missing(custody, even_damaged=True)
        if 0 < missing < _FEW:
            missing = await _all_missing(custody, even_damaged=False)
    except WaybillError:
        return  # an outage: what is done next reports it
    if missing == 0:
        return
    lost = (
        "; files that are lost for good go when 'waybill files verify --all' has marked them" if missing < _FEW else ""
    )
    raise StorageUnavailable(
        f"nothing was removed: none of the newest files ({missing}) is in this storage; see that it is the right one, "
        f"and that it is mounted{lost}"
    )


async def _all_missing(custody: Custody, *, even_damaged: bool) -> int:
    paths = await newest_locations(custody.catalog, _LOOKED_AT, even_damaged=even_damaged)
    return await missing_blobs(custody.backend, paths)


def _missing(backend: Backend, paths: Sequence[str]) -> int:
    missing = 0
    for path in paths:
        try:
            backend.size(path)
        except BlobMissing:
            missing += 1
        except UnsafeKey:
            continue
        else:
            return 0
    return missing
