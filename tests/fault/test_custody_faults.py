"""Writes that are interrupted: by an error, a cancellation, a signal, a full disk, or a catalogue that goes away."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID, uuid4

import psycopg
import pytest

from blocks.catalog import Artifact, Catalog, Draft, Timeouts
from blocks.custody import Custody
from blocks.errors import CatalogUnavailable, SourceNotFound, StorageFull
from blocks.runs.run_lock import dead_runs
from blocks.storage import open_backend, read_chunks
from tests.fault.mounts import can_mount
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import ENCRYPTED, IDENTITY
from tests.stored import stored_paths

if TYPE_CHECKING:
    from tests.postgres_server import Postgres

MIB = 2**20
SIZE_MIB = 20
EVERY_MIB = range(SIZE_MIB + 1)
SHORT_TIMEOUTS = Timeouts(connection_seconds=5)


@dataclass(frozen=True)
class Place:
    """A custody on a local store, with what lies under it."""

    custody: Custody
    catalog: Catalog
    folder: Path

    async def states(self) -> dict[str, int]:
        async with self.catalog.transaction() as connection:
            return (await self.catalog.statistics(connection))["by_state"]

    async def available(self) -> list[Artifact]:
        async with self.catalog.transaction() as connection:
            return (await self.catalog.list_artifacts(connection)).artifacts

    def files(self) -> list[str]:
        return files_in(self.folder)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def files_of(artifacts: list[Artifact]) -> list[str]:
    """What lies in the storage for *artifacts* and nothing else."""
    return sorted(path for one in artifacts for path in stored_paths(one))


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


@pytest.fixture
def place(catalog: Catalog, tmp_path: Path) -> Place:
    folder = tmp_path / "store"
    return Place(Custody(catalog=catalog, backend=open_backend(str(folder)), keys=ENCRYPTED), catalog, folder)


def draft(run_id: UUID | None = None) -> Draft:
    return Draft(
        kind="upload",
        filename="report.pdf",
        source_file="/docs/report.pdf",
        document_sha256="d" * 64,
        media_type="application/pdf",
        keep_for=timedelta(days=1),
        run_id=run_id,
    )


class _Stream(io.RawIOBase):
    """20 MiB of zeros, and something that happens in the thread that reads, after so many; slow from then on."""

    def __init__(self, after_mib: int, happen: Callable[[], None]) -> None:
        self.reads = 0
        self._after_mib = after_mib
        self._happen = happen

    def read(self, size: int = -1) -> bytes:
        del size
        if self.reads == self._after_mib:
            self._happen()
        elif self.reads > self._after_mib:
            time.sleep(0.02)
        self.reads += 1
        return bytes(MIB) if self.reads <= SIZE_MIB else b""


class Source(type(Path())):  # type: ignore[misc]
    """A file to which something happens when it has been opened, or after so many MiB have been read."""

    stream: _Stream
    on_open: Callable[[], None] | None = None

    @classmethod
    def happening(cls, after_mib: int, happen: Callable[[], None]) -> Source:
        source = cls("report.pdf")
        source.stream = _Stream(after_mib, happen)
        return source

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        del follow_symlinks
        return os.stat_result((0o100644, 0, 0, 1, 0, 0, SIZE_MIB * MIB, 0, 0, 0))

    def open(self, *_: Any, **__: Any) -> Any:
        if self.on_open:
            self.on_open()
        return self.stream


# Errors and cancellations ---------------------------------------------------------------------------------------------


async def test_a_source_that_fails_at_any_mib_leaves_nothing(place: Place) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, "Input/output error")

    for after_mib in EVERY_MIB:
        with pytest.raises(SourceNotFound, match="Input/output error"):
            await place.custody.take(draft(), Source.happening(after_mib, fail))
        assert await place.states() == {}, after_mib
        assert place.files() == [], after_mib


@pytest.mark.parametrize("times", [1, 3])
async def test_a_write_that_is_cancelled_at_any_mib_is_over_when_its_caller_goes_on(place: Place, times: int) -> None:
    for after_mib in EVERY_MIB:
        writing, source = cancelled_in_the_middle(place, after_mib, times)
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await writing
        # Looked at once, not after a while: nothing may go on in the background.
        assert place.files() == [], after_mib
        assert await place.states() == {}, after_mib
        reads = source.stream.reads
        await asyncio.sleep(0.03)
        assert source.stream.reads == reads, after_mib


def cancelled_in_the_middle(place: Place, after_mib: int, times: int) -> tuple[asyncio.Task[Artifact], Source]:
    """A write that is cancelled, *times* in a row, while its thread reads."""
    loop, told = asyncio.get_running_loop(), Event()

    def cancel() -> None:
        for number in range(times):
            loop.call_later(number * 0.001, writing.cancel)
        told.set()

    def happen() -> None:
        loop.call_soon_threadsafe(cancel)
        assert told.wait(PATIENCE_SECONDS)

    source = Source.happening(after_mib, happen)
    writing = asyncio.create_task(place.custody.take(draft(), source))
    return writing, source


async def test_a_write_that_is_cancelled_before_its_first_byte_does_not_begin_afterwards(place: Place) -> None:
    loop = asyncio.get_running_loop()

    def on_open() -> None:
        loop.call_soon_threadsafe(writing.cancel)
        time.sleep(0.3)  # longer than clearing up takes, if it did not wait

    source = Source.happening(SIZE_MIB, lambda: None)
    source.on_open = on_open
    writing = asyncio.create_task(place.custody.take(draft(), source))
    with pytest.raises(asyncio.CancelledError):
        await writing
    await asyncio.sleep(0.3)
    assert place.files() == []
    assert await place.states() == {}


async def test_a_write_that_is_cancelled_between_any_two_steps_leaves_all_or_nothing(place: Place) -> None:
    for steps in range(60):
        writing = asyncio.create_task(place.custody.take(draft(), b"x" * MIB))
        for _ in range(steps):
            await asyncio.sleep(0)
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
    found = await place.available()
    assert await place.states() in ({}, {"available": len(found)})
    assert place.files() == files_of(found)


async def test_a_fetch_that_is_cancelled_leaves_no_file_and_no_thread(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = await place.custody.take(draft(), bytes(64 * MIB))
    target = tmp_path / "out" / "target"
    prepare(target)
    is_there, may_go_on, pieces = Event(), Event(), 0

    def held(stream: BinaryIO) -> Iterator[bytes]:
        nonlocal pieces
        for piece in read_chunks(stream):
            yield piece
            pieces += 1
            if pieces == 20:
                is_there.set()
                assert may_go_on.wait(PATIENCE_SECONDS)

    monkeypatch.setattr("blocks.custody.read.read_chunks", held)
    fetching = asyncio.create_task(place.custody.fetch(artifact, target))
    await asyncio.to_thread(is_there.wait, PATIENCE_SECONDS)
    assert len(files_in(tmp_path / "out")) == 2, "the partial file is there"
    fetching.cancel()
    # Behind the cancellation in the loop.
    for _ in range(10):
        await asyncio.sleep(0)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    read = pieces
    assert files_in(tmp_path / "out") == ["target"]
    assert target.read_bytes() == b"earlier"
    await asyncio.sleep(0.03)
    assert pieces == read < 64


def prepare(target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"earlier")


# Signals --------------------------------------------------------------------------------------------------------------

# One process that has imported everything forks a writer for each point, waits until it is there, and signals it.
_WRITERS = """
import asyncio, json, os, signal, sys, threading, time
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4
from blocks.age import X25519Identity
from blocks.catalog import Catalog, Draft
from blocks.custody import Custody, write as custody_write
from blocks.keys import StorageKeys
from blocks.runs.run_lock import hold_run_lock
from blocks.storage import open_backend

url, store, home, how = sys.argv[1:5]
points = json.loads(sys.argv[5])
keys = StorageKeys(recipient=X25519Identity.from_text(sys.argv[6]).recipient)
reader, writer = os.pipe()
told = threading.Event()

def here(run_id):
    os.write(writer, run_id.bytes)
    told.wait()  # one that waits for the end of its work never ends

def watched(run_id, point):
    link, read_chunks = os.link, custody_write.read_chunks
    def chunks(stream):
        for number, chunk in enumerate(read_chunks(stream)):
            if number == point:
                here(run_id)
            yield chunk
        if point == 20:
            here(run_id)
    def linked(*arguments, **options):
        if point == "before the link":
            here(run_id)
        link(*arguments, **options)
        if point == "after the link":
            here(run_id)
    class Watched(Custody):
        async def _make_available(self, *arguments):
            if point == "before the last commit":
                await asyncio.to_thread(here, run_id)
            artifact = await super()._make_available(*arguments)
            if point == "after the last commit":
                await asyncio.to_thread(here, run_id)
            return artifact
    custody_write.read_chunks, os.link = chunks, linked
    return Watched

async def write(run_id, point):
    draft = Draft(kind="upload", filename="x", source_file="x", document_sha256="d" * 64, media_type="x/y",
                  keep_for=timedelta(days=1), run_id=run_id)
    custody_class = watched(run_id, point)
    # Gives the loop a wake-up descriptor: a signal that comes just before the loop goes to sleep would not wake it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: None)
    async with Catalog.open(url) as catalog:
        custody = custody_class(catalog=catalog, backend=open_backend(store), keys=keys)
        await custody.take(draft, Path(store).parent / "source")

def unwind(*_):
    told.set()
    raise SystemExit(143)

def child(point):
    if how == "SIGTERM-unwinding":
        signal.signal(signal.SIGTERM, unwind)
    run_id = uuid4()
    with hold_run_lock(Path(home), run_id):
        asyncio.run(write(run_id, point))

for point in points:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(point)
            code = 0
        except SystemExit as exc:
            code = exc.code
        finally:
            sys.stderr.flush()
            os._exit(code)
    run_id = UUID(bytes=os.read(reader, 16))
    os.kill(pid, signal.SIGKILL if how == "SIGKILL" else signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps([point, str(run_id), status]), flush=True)
"""
LATER_POINTS = ["before the link", "after the link", "before the last commit", "after the last commit"]


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGTERM-unwinding"])
async def test_a_signal_at_any_point_of_a_write_leaves_nothing_that_can_be_read(
    place: Place, database_url: str, tmp_path: Path, how: str
) -> None:
    with (tmp_path / "source").open("wb") as source:
        source.truncate(SIZE_MIB * MIB)
    points = [*EVERY_MIB, *LATER_POINTS]
    done = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-c",
            _WRITERS,
            database_url,
            str(place.folder),
            str(tmp_path),
            how,
            json.dumps(points),
            IDENTITY.text,
        ],
        capture_output=True,
        text=True,
        timeout=len(points) * PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert [point for point, *_ in ends] == points
    expected = {"SIGKILL": -signal.SIGKILL, "SIGTERM": -signal.SIGTERM, "SIGTERM-unwinding": 143}[how]
    assert {status for _, _, status in ends} == {expected}

    # What the last point leaves is a whole file: its commit had happened.
    [whole] = await place.available()
    await place.custody.verify(whole)
    assert str(whole.run_id) == ends[-1][1]
    if how == "SIGTERM-unwinding":  # the process had the time to clear up after itself
        assert await place.states() == {"available": 1}
        assert place.files() == files_of([whole])
    else:
        assert await place.states() == {"available": 1, "pending": len(points) - 1}

    recovered = [run_id for run_id in dead_runs(tmp_path) if await place.custody.recover_run(run_id) >= 0]
    assert {str(run_id) for run_id in recovered} == {run_id for _, run_id, _ in ends}
    assert await place.states() == {"available": 1}
    assert place.files() == files_of([whole])
    await place.custody.verify(whole)
    assert list(dead_runs(tmp_path)) == []


# A full disk ----------------------------------------------------------------------------------------------------------


if can_mount():

    async def test_a_full_disk_is_told_and_nothing_stays_on_it(
        catalog: Catalog, small_disk: Path, tmp_path: Path
    ) -> None:
        folder = small_disk / "store"
        place = Place(Custody(catalog=catalog, backend=open_backend(str(folder)), keys=ENCRYPTED), catalog, folder)
        source = tmp_path / "source"
        source.write_bytes(bytes(SIZE_MIB * MIB))
        for given in (source, bytes(SIZE_MIB * MIB)):
            with pytest.raises(StorageFull, match="free some space") as caught:
                await place.custody.take(draft(), given)
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.errno == errno.ENOSPC
            assert await place.states() == {}
            assert place.files() == []
        await place.custody.verify(await place.custody.take(draft(), bytes(6 * MIB)))

    async def test_a_disk_without_room_for_a_copy_is_told_and_keeps_what_was_there(
        place: Place, small_disk: Path
    ) -> None:
        artifact = await place.custody.take(draft(), bytes(SIZE_MIB * MIB))
        (small_disk / "target").write_bytes(b"earlier")
        with pytest.raises(StorageFull):
            await place.custody.fetch(artifact, small_disk / "target")
        assert files_in(small_disk) == ["target"]
        assert (small_disk / "target").read_bytes() == b"earlier"


_LIMITED = """
import asyncio, resource, sys
from datetime import timedelta
from pathlib import Path
from blocks.catalog import Catalog, Draft
from blocks.custody import Custody
from blocks.errors import StorageFull
from blocks.keys import StorageKeys
from blocks.storage import open_backend

async def main(url, store, source):
    draft = Draft(kind="upload", filename="x", source_file="x", document_sha256="d" * 64, media_type="x/y",
                  keep_for=timedelta(days=1))
    async with Catalog.open(url) as catalog:
        custody = Custody(catalog=catalog, backend=open_backend(store), keys=StorageKeys(recipient=None))
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 2**20, 8 * 2**20))
        try:
            await custody.take(draft, source)
        except StorageFull as error:
            print(error.__cause__.errno)

asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
"""


async def test_a_file_size_limit_is_told_and_nothing_stays(place: Place, database_url: str, tmp_path: Path) -> None:
    with (tmp_path / "source").open("wb") as source:
        source.truncate(SIZE_MIB * MIB)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _LIMITED, database_url, str(place.folder), str(tmp_path / "source")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == errno.EFBIG
    assert await place.states() == {}
    assert place.files() == []


# A catalogue that goes away -------------------------------------------------------------------------------------------


async def test_a_catalogue_that_goes_away_in_the_middle_of_a_write_leaves_a_row_that_is_recovered(
    postgres: Postgres, database_url: str, tmp_path: Path
) -> None:
    name = database_url.split("/")[3].split("?")[0]
    folder, run_id = tmp_path / "store", uuid4()

    def go_away() -> None:
        postgres.execute(f"alter database {name} allow_connections false")
        postgres.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")  # noqa: S608

    async with Catalog.open(database_url, SHORT_TIMEOUTS) as catalog:
        place = Place(Custody(catalog=catalog, backend=open_backend(str(folder)), keys=ENCRYPTED), catalog, folder)
        with pytest.raises(CatalogUnavailable):
            await place.custody.take(draft(run_id), Source.happening(7, go_away))
    postgres.execute(f"alter database {name} allow_connections true")
    assert not [name for name in place.files() if name.endswith(".partial")]
    async with Catalog.open(database_url) as catalog:
        place = Place(Custody(catalog=catalog, backend=open_backend(str(folder)), keys=ENCRYPTED), catalog, folder)
        assert await place.states() == {"pending": 1}
        assert await place.custody.recover_run(run_id) == 1
        assert await place.states() == {}
        assert place.files() == []


async def test_a_catalogue_that_is_not_there_from_the_beginning_stores_nothing(
    postgres: Postgres, database_url: str, tmp_path: Path
) -> None:
    name = database_url.split("/")[3].split("?")[0]
    async with Catalog.open(database_url, SHORT_TIMEOUTS) as catalog:
        custody = Custody(catalog=catalog, backend=open_backend(str(tmp_path / "store")), keys=ENCRYPTED)
        postgres.execute(f"alter database {name} allow_connections false")
        with psycopg.connect(postgres.url()) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(CatalogUnavailable):
                await custody.take(draft(), b"x")
            # By then there is no connection that could be tried.
            with pytest.raises(CatalogUnavailable, match=r"after 5\.00 sec"):
                await custody.take(draft(), b"x")
    assert files_in(tmp_path) == []
    postgres.execute(f"alter database {name} allow_connections true")
