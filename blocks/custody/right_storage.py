"""Whether the storage is the one that the catalogue speaks of. Owns no state.

Deleting a missing blob is success. In a storage that is not mounted, or is another one, every blob is missing: a
clean-up there would record that all files are gone, and leave their bytes where they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from blocks.custody.custody import Custody
from blocks.errors import BlobMissing, StorageUnavailable, WaybillError
from blocks.postgres import fetch_all
from blocks.storage import Backend

# The newest ones: the storage that is in use has them. One that is there answers the question.
_LOOKED_AT = 20
# The bytes of a few files may be lost for good, and their rows must be able to go.
_ENOUGH_TO_JUDGE = 10

_NEWEST = """
    select location from artifacts where state = 'available' order by created_at desc, file_id desc limit %(limit)s
"""


async def refuse_wrong_storage(custody: Custody) -> None:
    """Raise `StorageUnavailable` when none of the newest files is in the storage, of ten or more."""
    async with custody.catalog.connection() as connection:
        rows = await fetch_all(connection, _NEWEST, {"limit": _LOOKED_AT})
    if len(rows) >= _ENOUGH_TO_JUDGE:
        await asyncio.to_thread(_look_for_one, custody.backend, [str(row["location"]) for row in rows])


def _look_for_one(backend: Backend, paths: Sequence[str]) -> None:
    for path in paths:
        try:
            backend.size(path)
        except BlobMissing:
            continue
        except WaybillError:
            return  # an outage, or a row that is damaged: what is done next reports it
        return
    raise StorageUnavailable(
        f"nothing was removed: none of the newest {len(paths)} files is in this storage; see that it is the right one, "
        "and that it is mounted"
    )
