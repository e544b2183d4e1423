"""A process that is killed while it makes a group of files available: each row of the table in ADR 0030."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from blocks.catalog import Catalog
from blocks.webhooks.outbox import recent_events
from tests.integration.custody_place import Place

FILES = 5

# Argument 3 is the point at which the process kills itself, 4 the run.
_PROGRAM = """
import asyncio, os, signal, sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID
from blocks.age import X25519Identity
from blocks.catalog import Catalog, Draft
from blocks.custody import Custody, committer as committer_module
from blocks.custody.committer import Committer
from blocks.custody.sealing import fill_whole
from blocks.keys import StorageKeys
from blocks.storage import open_backend
from blocks.webhooks.outbox import Event, computed_event_id, make_available_with_events

url, store, point, run_id = sys.argv[1], sys.argv[2], sys.argv[3], UUID(sys.argv[4])
FILES = 5
committer_module.LONGEST_WAIT_SECONDS = 3600.0  # all of them are one group, also when the machine pauses

def here(place):
    if place == point:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    backend = open_backend(store)
    sync_folders = backend.sync_folders
    def synced(paths):
        here("files synced")
        sync_folders(paths)
        here("folders synced")
    backend.sync_folders = synced
    async with Catalog.open(url) as catalog:
        keys = StorageKeys(recipient=X25519Identity.generate().recipient)
        custody = Custody(catalog=catalog, backend=backend, keys=keys)
        async def record(connection, files):
            if point == "row not committed":
                async with connection.transaction():
                    await make_available_with_events(catalog, connection, files, lambda _: None)
                    here("row not committed")
            made = await make_available_with_events(catalog, connection, files, lambda _: None)
            here("row committed")
            return made
        committer = Committer(custody, record)
        draft = Draft(kind="upload", filename="x", source_file="x", document_sha256="d" * 64, media_type="x/y",
                      keep_for=timedelta(days=1), run_id=run_id)
        reservations = await custody.reserve([replace(draft, filename=str(number)) for number in range(FILES)])
        async def store_one(reservation):
            order = custody.order(reservation, reservation.draft, Path(store) / "spool")
            filled = await asyncio.to_thread(fill_whole, custody.sealing, order, b"content")
            await custody.finish(filled)
            event = Event(event_id=computed_event_id(reservation.file_id), event_type="stage_completed",
                          task_id=run_id, source_file=reservation.draft.filename,
                          occurred_at=datetime.now(UTC), data={})
            made = await committer.keep(filled.artifact, [event])
            here("answered")
            return made
        await asyncio.gather(*(store_one(one) for one in reservations))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("point", "is_readable"),
    [
        ("files synced", False),
        ("folders synced", False),
        ("row not committed", False),
        ("row committed", True),
        ("answered", True),
    ],
)
async def test_a_killed_process_leaves_all_files_of_a_group_readable_with_their_events_or_none(
    database_url: str, tmp_path: Path, point: str, *, is_readable: bool
) -> None:
    run_id = uuid4()
    store = tmp_path / "store"
    store.mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, database_url, str(store), point, str(run_id)
    )
    assert await process.wait() == -9
    async with Catalog.open(database_url) as catalog:
        place = Place.at(catalog, store)
        assert len(place.blobs()) == FILES
        assert await place.states() == {"available" if is_readable else "pending": FILES}
        assert await _readable(place, run_id) == (FILES if is_readable else 0)
        assert await place.custody.recover_run(run_id) == (0 if is_readable else FILES)
        assert len(place.blobs()) == (FILES if is_readable else 0)
        assert await _readable(place, run_id) == (FILES if is_readable else 0)
        if not is_readable:
            assert await place.states() == {}


async def _readable(place: Place, run_id: UUID) -> int:
    """The files of the run, which are as many as the events recorded of it."""
    async with place.catalog.connection() as connection:
        files = (await place.catalog.list_artifacts(connection, run_id=run_id)).artifacts
        events = [one for one in await recent_events(connection, timedelta(hours=1)) if one.task_id == run_id]
    assert sorted(str(one.source_file) for one in events) == sorted(one.filename for one in files)
    return len(files)
