"""Sweeps that are killed by SIGKILL, at a named point or at a random moment, and what the next ones make of them.

Run as a program, this is the long form: every point, and random moments.

    python -m tests.fault.kill_sweep [--files 1100] [--kills 50]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from blocks.custody.manifest import manifest_path
from blocks.open_custody import open_custody
from blocks.settings import Settings
from blocks.settings.parsing import Secret
from blocks.storage import new_blob_path
from tests.fault import killed_command
from tests.integration.custody_place import draft

_MODULE = "tests.fault.kill_sweep"
_LONG_AGO_SECONDS = 25 * 3600.0

FIRST_POINTS = ("recorded", "abandoned", "upload", "scratch")
"""Where the first sweep, which only records what has no row, kills itself."""
SECOND_POINTS = ("bytes", "batch")
"""Where the second one does: half of a batch is deleted and nothing committed; or the first of two batches is done."""


# The process that is killed -------------------------------------------------------------------------------------------


def _die_at(point: str) -> None:
    from blocks.custody import sweep, sweep_unfinished
    from blocks.runs import sweep as home_sweep
    from blocks.storage.local import LocalBackend

    if point == "recorded":
        killed_command.die_after(sweep, "record_candidates", 2)
    elif point == "abandoned":
        killed_command.die_after(sweep_unfinished, "remove_abandoned")
    elif point == "upload":
        killed_command.die_after(LocalBackend, "abort", 2)
    elif point == "scratch":
        killed_command.die_after(home_sweep, "_remove", 2)
    elif point == "batch":
        killed_command.die_after(sweep._Sweep, "_remove")  # pyright: ignore[reportPrivateUsage]
    elif point == "bytes":
        delete_many = LocalBackend.delete_many

        def half(backend: LocalBackend, paths: list[str]) -> dict[str, str]:
            delete_many(backend, paths[: len(paths) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("unreachable")

        LocalBackend.delete_many = half  # type: ignore[method-assign, assignment]


# What kills it, and looks ---------------------------------------------------------------------------------------------


class Store:
    """A home with files that have to stay, and everything that a sweep removes."""

    def __init__(self, url: str, home: Path, *, files: int, kept: int) -> None:
        self.url, self.home, self.folder = url, home, home / "artifacts"
        self.environment = {"WAYBILL_HOME": str(home), "WAYBILL_DATABASE_URL": url}
        self._settings = Settings(home=home, database_url=Secret(url))
        self.kept, self.restorable = asyncio.run(self._store(kept))
        self._lose(files)

    async def _store(self, kept: int) -> tuple[dict[UUID, bytes], list[str]]:
        """Store files, and some more whose rows are lost: a rebuild could restore these."""
        async with open_custody(self._settings) as custody:
            contents = [os.urandom(50) for _ in range(kept + 3)]
            files = [await custody.take(draft(), content) for content in contents]
        lost = files[kept:]
        self._execute("delete from artifacts where file_id = any(%s)", [one.file_id for one in lost])
        return (
            {one.file_id: content for one, content in zip(files[:kept], contents, strict=False)},
            [one.location for one in lost],
        )

    def _lose(self, files: int) -> None:
        """Leave what dead processes and lost volumes leave."""
        for number in range(files):
            path = new_blob_path("stage_output", uuid4())
            self._write(path if number % 20 else manifest_path(path))
        self._rows("deleted", 10, blob=True)
        self._rows("deleting", 5, blob=True)
        self._rows("pending", 5, blob=True)
        for number in range(6):
            name = f"{number:02x}{number:030x}"
            self._write(f"outputs/{name[:2]}/.{name}.0123456789abcdef.partial")
        for _ in range(4):
            folder = self.home / "scratch" / str(uuid4())
            folder.mkdir(parents=True)
            (folder / "1-source").write_bytes(b"half")
        self.time_passes()

    def _rows(self, state: str, count: int, *, blob: bool) -> None:
        for _ in range(count):
            file_id = uuid4()
            path = new_blob_path("upload", file_id)
            if blob:
                self._write(path)
                self._write(manifest_path(path))
            self._execute(
                """
                insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, location,
                                       media_type, expires_at, created_at, deleted_at)
                values (%(id)s, %(state)s, 'upload', 'a.txt', '/a.txt', decode(repeat('0', 64), 'hex'), %(path)s,
                        'text/plain',
                        clock_timestamp(), clock_timestamp() - interval '1 day',
                        case when %(state)s = 'deleted' then clock_timestamp() end)
                """,
                {"id": file_id, "state": state, "path": path},
            )

    def _write(self, path: str) -> None:
        blob = self.folder / path
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(b"no row knows this")

    def _execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            given = values[0] if values and isinstance(values[0], dict) else values
            cursor = connection.execute(statement.encode(), given)
            return cursor.fetchall() if cursor.description else []

    def time_passes(self) -> None:
        """Let earlier sweeps, and everything that is stored, be a day ago."""
        self._execute("update sweep_candidates set first_seen_at = first_seen_at - interval '25 hours'")
        then = time.time() - _LONG_AGO_SECONDS
        for folder in (self.folder, self.home / "scratch"):
            for path in folder.rglob("*"):
                os.utime(path, (then, then), follow_symlinks=False)

    def kill_at(self, point: str) -> None:
        killed_command.kill_at(_MODULE, point, self.environment)
        self.check_kept()

    def kill_after(self, seconds: float) -> None:
        killed_command.kill_after(_MODULE, seconds, self.environment)
        self.check_kept()

    def finish(self) -> dict[str, Any]:
        found = json.loads(killed_command.finish(_MODULE, self.environment))
        assert found["stopped"] is None and not found["failed"]["count"], found
        return found

    def check_kept(self) -> None:
        """No file that has to stay is lost."""
        assert asyncio.run(self._contents()) == self.kept
        assert all((self.folder / path).is_file() for path in self.restorable)

    def check(self) -> None:
        """What has to stay is readable, and nothing else is left: no blob, no row, no candidate, no scratch file."""
        self.check_kept()
        # Small files: their manifests lie in their headers.
        rows = self._execute("select location from artifacts where state = 'available' and manifest = 'inline'")
        expected = sorted([*(str(location) for (location,) in rows), *self.restorable])
        assert sorted(str(one.relative_to(self.folder)) for one in self.folder.rglob("*") if one.is_file()) == expected
        states = self._execute("select state, count(*)::int from artifacts group by state order by state")
        assert states == [("available", len(self.kept)), ("deleted", 15)]
        assert sorted(self._execute("select path from sweep_candidates")) == sorted((one,) for one in self.restorable)
        assert [one for one in (self.home / "scratch").rglob("*") if one.is_file()] == []

    async def _contents(self) -> dict[UUID, bytes]:
        async with open_custody(self._settings) as custody:
            return {file_id: await custody.read(await custody.get(file_id)) for file_id in self.kept}


def kill_first(store: Store, kill: Callable[[], None]) -> None:
    """Kill a first sweep, then let sweeps do their work."""
    kill()
    store.finish()
    store.time_passes()
    store.finish()
    store.check()


def kill_second(store: Store, kill: Callable[[], None]) -> None:
    """Kill the sweep that removes what an earlier one has seen, then let the next one do its work."""
    store.finish()
    store.time_passes()
    kill()
    store.finish()
    store.check()


def long_form(new_store: Callable[[], Store], kills: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    moments = [chance.uniform(0, 1.0) for _ in range(kills)]
    for name in (*FIRST_POINTS, *SECOND_POINTS, *moments):
        store = new_store()
        is_first = name in FIRST_POINTS if isinstance(name, str) else chance.random() < 0.5

        def kill(store: Store = store, name: str | float = name) -> None:
            store.kill_at(name) if isinstance(name, str) else store.kill_after(name)

        (kill_first if is_first else kill_second)(store, kill)
        at = name if isinstance(name, str) else f"{name:.3f} s"
        print(f"the {'first' if is_first else 'second'} sweep killed at {at}, then whole", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=1100)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        _die_at(arguments.child)
        killed_command.run_child("sweep", "--max-share", "1", "--json")
    from tests.postgres_server import running_postgres

    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="waybill-kill-sweep-")))

        def new_store() -> Store:
            url = stack.enter_context(postgres.database())
            return Store(url, folder / str(uuid4()), files=arguments.files, kept=20)

        long_form(new_store, arguments.kills)


if __name__ == "__main__":
    main()
