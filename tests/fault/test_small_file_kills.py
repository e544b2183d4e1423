"""A process that is killed while it stores a small file: each row of the table in ADR 0028, and who clears it up.

A small file is stored in one call of a thread by its run, or sealed by a worker process, whose run syncs the folder and
commits later. The power cut is what a file system may do with an entry whose folder was not synced: it is not there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from blocks.catalog import Catalog
from blocks.custody.abandoned import remove_abandoned
from blocks.errors import ArtifactNotFound
from tests.fault.killed_command import sessions_end
from tests.integration.custody_place import Place
from tests.storage_keys import ENCRYPTED, IDENTITY

CONTENT = b"content of a small file"

# Arguments: database, storage, recipient, run, who stores, and the point at which the process kills itself.
_PROGRAM = """
import asyncio, os, signal, sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID
from blocks.age import parse_recipient
from blocks.catalog import Catalog, Draft
from blocks.custody import Custody
from blocks.custody.sealing import fill_whole
from blocks.keys import StorageKeys
from blocks.storage import open_backend

url, store, recipient, run_id, writer, point = sys.argv[1:]
CONTENT = b"content of a small file"
armed = False

def here(place):
    if armed and place == point:
        os.kill(os.getpid(), signal.SIGKILL)

def around(name, before, after):
    real = getattr(os, name)
    def called(*args, **kwargs):
        here(before)
        result = real(*args, **kwargs)
        here(after)
        return result
    setattr(os, name, called)

around("link" if writer == "run" else "replace", "without its name", "folder not synced")

async def main():
    global armed
    backend = open_backend(store)
    async with Catalog.open(url) as catalog:
        custody = Custody(catalog=catalog, backend=backend, keys=StorageKeys(recipient=parse_recipient(recipient)))
        draft = Draft(kind="upload", filename="x", source_file="x", document_sha256="d" * 64, media_type="x/y",
                      keep_for=timedelta(days=1), run_id=UUID(run_id))

        async def make_available(artifact):
            here("folder synced")
            async with catalog.transaction() as connection:
                made = await catalog.make_available(connection, artifact)
                here("not committed")
            here("committed")
            return made

        (reservation,) = await custody.reserve([draft])
        armed = True
        if writer == "run":
            await custody.fill(reservation, CONTENT, make_available=make_available)
        else:
            filled = await asyncio.to_thread(
                fill_whole, custody.sealing, custody.order(reservation, draft, Path(store) / "spool"), CONTENT)
            artifact = await custody.finish(filled)
            await asyncio.to_thread(backend.sync_folders, [artifact.location])
            await make_available(artifact)

asyncio.run(main())
"""

# The row of the table, whether it was a power cut, and what is left: (temporary files, blobs, state of the row).
LEFT = [
    ("without its name", False, (1, 0, "pending")),
    ("folder not synced", False, (0, 1, "pending")),
    ("folder not synced", True, (0, 0, "pending")),
    ("folder synced", False, (0, 1, "pending")),
    ("not committed", False, (0, 1, "pending")),
    ("committed", False, (0, 1, "available")),
]

ClearUp = Callable[[Place, UUID], Awaitable[int]]


async def next_run(place: Place, run_id: UUID) -> int:
    """What a run does that finds another one dead."""
    return await place.custody.recover_run(run_id)


async def abandoned(place: Place, run_id: UUID) -> int:
    """What every process does half an hour later, whatever run it was."""
    del run_id
    return await remove_abandoned(place.custody, silent_for=timedelta(0))


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    store = tmp_path / "store"
    store.mkdir()
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, store, ENCRYPTED)


async def killed(place: Place, database_url: str, run_id: UUID, writer: str, point: str) -> None:
    arguments = [database_url, str(place.folder), IDENTITY.recipient.text, str(run_id), writer, point]
    with sessions_end(database_url):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, *arguments)
        assert await process.wait() == -9


@pytest.mark.parametrize("clear_up", [next_run, abandoned])
@pytest.mark.parametrize("writer", ["run", "worker"])
@pytest.mark.parametrize(("point", "power_cut", "left"), LEFT)
async def test_what_a_killed_process_leaves_is_what_the_table_says_and_is_cleared_up(
    place: Place,
    database_url: str,
    point: str,
    left: tuple[int, int, str],
    writer: str,
    clear_up: ClearUp,
    *,
    power_cut: bool,
) -> None:
    run_id = uuid4()
    await killed(place, database_url, run_id, writer, point)
    if power_cut:
        for path in place.backend.paths():
            (place.folder / path).unlink()
    is_readable = left[2] == "available"
    # A run links the temporary file to its name, and removes it when the folder is synced; a worker renames it.
    linked = int(writer == "run" and point == "folder not synced")
    partials = list(place.backend.leftovers())
    assert (len(partials) - linked, len(place.blobs()), *await place.states()) == left

    await _is_seen_as(place, run_id, is_readable=is_readable)
    # A second time there is nothing left to do, also for the other one.
    assert await clear_up(place, run_id) == (0 if is_readable else 1)
    assert [await again(place, run_id) for again in (next_run, abandoned)] == [0, 0]
    await _is_seen_as(place, run_id, is_readable=is_readable)
    if not is_readable:
        assert place.nothing_lies_in_the_storage()
        assert await place.states() == {}


async def _is_seen_as(place: Place, run_id: UUID, *, is_readable: bool) -> None:
    """Readers see the whole file, or none: in a list, by its id, and what is in its bytes."""
    async with place.catalog.connection() as connection:
        listed = (await place.catalog.list_artifacts(connection, run_id=run_id)).artifacts
    rows = await place.rows("file_id")
    assert len(listed) == int(is_readable)
    for (file_id,) in rows:
        if is_readable:
            artifact = await place.custody.get(file_id)
            assert (artifact, artifact.manifest) == (listed[0], "inline")
            assert await place.custody.read(artifact) == CONTENT
        else:
            with pytest.raises(ArtifactNotFound):
                await place.custody.get(file_id)
