"""Finish what processes left half stored or half deleted when they were killed: any process, on any machine.

A `pending` row shows once a minute that its writer lives (`open_writes`), by its time of creation. One that has not
shown it for half an hour is taken for abandoned: its bytes go, and then the row. Deletions are finished immediately, as
two processes may do that at the same time. The worst case, a writer that was only suspended, gets `ArtifactNotFound`
for a file that nothing has announced as stored.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from blocks.catalog.maintenance import hold_abandoned, left_between_states
from blocks.catalog.skipped_records import forget_skipped, report_skipped
from blocks.custody.custody import Custody
from blocks.errors import ArtifactNotFound, Transient
from blocks.runtime.outage_log import OutageLog
from blocks.runtime.threads import to_its_end

# Thirty missed renewals: a database that was away, or a laptop that slept for a while, costs no upload.
ABANDONED_AFTER = timedelta(minutes=30)
# A look is one query by an index over unfinished rows alone.
_PAUSE_SECONDS = 300.0

_LOG = logging.getLogger("waybill.custody")


async def remove_abandoned_forever(custody: Custody, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """`remove_abandoned` now and every *pause_seconds*, until cancelled; an outage is waited for and logged once."""
    outage = OutageLog(_LOG, "the removal of abandoned files")
    while True:
        try:
            await remove_abandoned(custody)
        except Exception as error:  # noqa: BLE001 - it must not end the process that it runs in
            outage.failed(error)
        else:
            outage.succeeded()
        await asyncio.sleep(pause_seconds)


async def remove_abandoned(custody: Custody, *, silent_for: timedelta = ABANDONED_AFTER) -> int:
    """Remove the files whose writers have not renewed them *silent_for* so long; finish deletions. Return how many.

    Any number of processes may do this at the same time. A file that cannot be removed is reported, and the others are
    removed. Raises `CatalogUnavailable` and `StorageUnavailable`.
    """
    # After an outage, or while this machine slept, those of this process were not renewed.
    await custody.open_writes.renew()
    async with custody.catalog.connection() as connection:
        rows = await left_between_states(connection, silent_for)
    removed: list[str] = []
    failed: dict[str, str] = {}
    for row in rows:
        try:
            if row.state == "deleting":
                with suppress(ArtifactNotFound):  # another process has finished it
                    await custody.remove(row.file_id)
            elif not await to_its_end(_remove_pending(custody, row.file_id, row.locations, silent_for)):
                continue
        except Transient:
            raise
        except Exception as error:  # noqa: BLE001 - one odd row must not keep the others
            failed[str(row.file_id)] = f"cannot be removed: {type(error).__name__}: {error}"
        else:
            removed.append(str(row.file_id))
            _LOG.info("removed file=%s, which its writer left %s", row.file_id, row.state)
    if removed or failed:
        async with custody.catalog.connection() as connection:
            await report_skipped(connection, "file", failed)
            await forget_skipped(connection, "file", removed)
    return len(removed)


async def _remove_pending(custody: Custody, file_id: UUID, paths: list[str], silent_for: timedelta) -> bool:
    """Remove the bytes, then the row. False when its writer has renewed it, or another process removes it."""
    async with custody.catalog.transaction() as connection:
        # Locked until its bytes are gone: a writer that lives after all cannot make it available in between.
        if not await hold_abandoned(connection, file_id, silent_for):
            return False
        for path in paths:
            await custody.delete_stored(path, file_id)
        await custody.catalog.forget_pending(connection, file_id)
    return True
