"""A worker's scratch folders: one for each assignment that is under way, and none that a killed process has left."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

from blocks.runs.run_lock import dead_runs, hold_run_lock
from blocks.runtime.write_errors import write_errors

_FOLDER = "scratch"


@asynccontextmanager
async def scratch_folder(home: Path) -> AsyncGenerator[Path]:
    """Yield an empty folder below *home* for the length of the block; remove those of dead processes first.

    Documents of others lie in it, decrypted. Raises `StackUnavailable`, `StorageFull`, `TargetUnwritable`.
    """
    await asyncio.to_thread(remove_dead, home)
    work_id = uuid4()
    folder = _folder(home, work_id)
    with hold_run_lock(home, work_id):
        with write_errors(folder):
            folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_dead(home: Path) -> None:
    """Remove the folders below *home* whose processes have ended. Blocks."""
    for work_id in dead_runs(home):
        shutil.rmtree(_folder(home, work_id), ignore_errors=True)


def _folder(home: Path, work_id: UUID) -> Path:
    return home / _FOLDER / str(work_id)
