"""The sweep: what no row knows goes, after two looks; what is being written, what can be restored and what is foreign
stays; and a look that may be wrong removes nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from blocks.age import X25519Identity
from blocks.catalog import Catalog, Timeouts
from blocks.catalog.maintenance import restore
from blocks.catalog.sweeping import hold_against_sweep
from blocks.custody.manifest import manifest_path
from blocks.custody.rebuild import rebuild
from blocks.custody.sweep import SweepLimits, sweep
from blocks.custody.sweep_report import SweepReport
from blocks.errors import BlobMissing, InvalidOptions, StorageUnavailable
from blocks.keys import StorageKeys
from blocks.runs.run_lock import hold_run_lock, run_locks
from blocks.runs.sweep import sweep_home
from blocks.settings import Settings
from blocks.storage import StoredObject, new_blob_path
from blocks.storage.backend import PROBE_PATH
from tests.integration.custody_place import Place, draft
from tests.s3 import S3Server
from tests.storage_keys import ENCRYPTED, PLAIN

HOUR = timedelta(hours=1)
# Where the storage gives no object an age of our choice.
NOW = SweepLimits(min_age=timedelta(0), upload_age=timedelta(0))


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


@pytest.fixture
def local(catalog: Catalog, tmp_path: Path) -> Place:
    return Place.at(catalog, tmp_path / "store")


@pytest.fixture(params=["local", "memory", "s3"])
def place(request: pytest.FixtureRequest, catalog: Catalog, tmp_path: Path) -> Place:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        # The server's page is 1,000; here each listing is several pages long.
        options = {**server.options, "s3_additional_kwargs": {"MaxKeys": 2}}
        return Place.at(catalog, tmp_path, url=f"s3://{server.new_bucket()}/store", options=options)
    url = f"memory://{uuid4().hex}" if request.param == "memory" else None
    return Place.at(catalog, tmp_path / "store", url=url)


async def execute(catalog: Catalog, statement: str) -> list[dict[str, Any]]:
    async with catalog.connection() as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []  # type: ignore[return-value]


async def recorded(place: Place) -> set[str]:
    return {row["path"] for row in await execute(place.catalog, "select path from sweep_candidates")}


def lay(place: Place, *, kind: str = "stage_output") -> str:
    """A blob that no row knows."""
    path = new_blob_path(kind, uuid4())
    place.backend.publish(path, [b"no row knows this"])
    return path


def grow_old(place: Place, age: timedelta = 2 * HOUR) -> None:
    """Let everything in the local storage have been written *age* ago."""
    then = time.time() - age.total_seconds()
    for path in place.folder.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


async def time_passes(place: Place, age: timedelta = 2 * HOUR) -> None:
    """Let earlier sweeps and everything in the local storage be *age* ago."""
    seconds = age.total_seconds()
    await execute(
        place.catalog,
        f"update sweep_candidates set first_seen_at = first_seen_at - make_interval(secs => {seconds})",  # noqa: S608
    )
    if place.folder.is_dir():
        grow_old(place, age)


async def twice(place: Place, limits: SweepLimits = SweepLimits()) -> SweepReport:  # noqa: B008
    first = await sweep(place.custody, limits=limits)
    assert not first.removed.count, first.removed
    await time_passes(place)
    return await sweep(place.custody, limits=limits)


def paths_of(findings: Any) -> list[str]:
    return sorted(one.path for one in findings.first)


async def lose_row(place: Place, file_id: UUID) -> None:
    await execute(place.catalog, f"delete from artifacts where file_id = '{file_id}'")  # noqa: S608


# What goes ------------------------------------------------------------------------------------------------------------


async def test_what_no_row_knows_goes_at_the_second_look(place: Place) -> None:
    kept = await place.custody.take(draft(), b"kept")
    blob, manifest = lay(place), new_blob_path("upload", uuid4())
    place.backend.publish(manifest_path(manifest), [b"a manifest without its blob"])
    deleted = await place.custody.take(draft(), b"deleted")
    content = place.stored_bytes(deleted)
    await place.custody.remove(deleted.file_id)
    place.backend.publish(deleted.location, [content])  # as on a volume that was away when it was deleted
    before = set(place.backend.paths())

    for dry_run in (True, False):
        first = await sweep(place.custody, limits=NOW, dry_run=dry_run)
        assert (first.removed.count, first.stopped) == (0, None)
        assert paths_of(first.waiting) == sorted([blob, manifest, deleted.location])
        assert set(place.backend.paths()) == before
        assert await recorded(place) == (set() if dry_run else {blob, manifest, deleted.location})

    dry = await sweep(place.custody, limits=NOW, dry_run=True)
    assert set(place.backend.paths()) == before
    second = await sweep(place.custody, limits=NOW)
    assert second.is_complete
    assert paths_of(second.removed) == paths_of(dry.removed) == sorted([blob, manifest, deleted.location])
    assert second.removed.by_what == dry.removed.by_what == {"blob": 1, "manifest": 1, "deleted": 1}
    assert second.removed.bytes == dry.removed.bytes > 0
    assert set(place.backend.paths()) == {kept.location}
    assert await recorded(place) == set()
    assert await place.custody.read(kept) == b"kept"
    assert (second.blobs, second.manifests, second.rows) == (3, 1, {"available": 1, "deleted": 1})


async def test_both_ages_have_to_be_reached(local: Place) -> None:
    """The time since the first look counts by the database, that of the blob by the storage."""
    await local.custody.take(draft(), b"kept")
    path = lay(local)
    grow_old(local)
    assert not (await sweep(local.custody)).removed.count
    assert not (await sweep(local.custody)).removed.count  # seen twice, but just now
    await time_passes(local)
    os.utime(local.folder / path)
    young = await sweep(local.custody)
    assert not young.removed.count
    assert "written less than 1h ago" in str(young.waiting.first[0].why)
    assert young.waiting.first[0].first_seen_at is not None
    grow_old(local)
    assert paths_of((await sweep(local.custody)).removed) == [path]


async def test_a_candidate_that_gets_a_row_is_forgotten(local: Place) -> None:
    await local.custody.take(draft(), b"kept")
    artifact = await local.custody.take(draft(), b"lost and found")
    await lose_row(local, artifact.file_id)
    gone = lay(local)
    await sweep(local.custody)
    assert await recorded(local) == {artifact.location, gone}
    await rebuild(local.custody, accept_plain=False, dry_run=False, on_progress=lambda *_: None)
    local.backend.delete(gone)
    await time_passes(local)
    report = await sweep(local.custody, limits=SweepLimits(restorable=True))
    assert not report.removed.count
    assert await recorded(local) == set()
    assert await local.custody.read(artifact) == b"lost and found"


async def test_a_rebuild_that_is_under_way_is_waited_for_and_wins(local: Place) -> None:
    await local.custody.take(draft(), b"kept")
    artifact = await local.custody.take(draft(), b"restored in time")
    await lose_row(local, artifact.file_id)
    gone = lay(local)
    await sweep(local.custody)
    await time_passes(local)
    async with local.catalog.transaction() as connection:
        await hold_against_sweep(connection)
        sweeping = asyncio.create_task(sweep(local.custody, limits=SweepLimits(restorable=True)))
        waiting = """
            select count(*) as n from pg_locks l join pg_database d on d.oid = l.database
             where l.locktype = 'advisory' and not l.granted and d.datname = current_database()
        """
        while not (await execute(local.catalog, waiting))[0]["n"]:
            assert not sweeping.done(), sweeping.result()
            await asyncio.sleep(0.02)
        assert await restore(connection, artifact)
    report = await sweeping
    assert paths_of(report.removed) == [gone]
    assert await local.custody.read(artifact) == b"restored in time"


# What stays -----------------------------------------------------------------------------------------------------------


async def test_a_write_that_takes_longer_than_the_minimum_age_is_never_swept(place: Place) -> None:
    await place.custody.take(draft(), b"kept")
    (reservation,) = await place.custody.reserve([draft()])

    async def looks() -> None:
        for _ in range(3):
            report = await sweep(place.custody, limits=NOW)
            assert not report.removed.count
            await time_passes(place)

    await looks()
    # As a writer does that is slow between its blob and its row.
    place.backend.publish(reservation.location, [b"visible, and not available yet"])
    await looks()
    report = await sweep(place.custody, limits=NOW)
    assert report.untouched.by_what == {"pending": 1}
    place.backend.delete(reservation.location)
    artifact = await place.custody.fill(reservation, b"stored in the end")
    assert await place.custody.read(artifact) == b"stored in the end"


@pytest.mark.usefixtures("manifests_beside")
async def test_files_that_a_rebuild_can_restore_go_only_on_request(place: Place) -> None:
    await place.custody.take(draft(), b"kept")
    lost = await place.custody.take(draft(), b"its row is lost")
    await lose_row(place, lost.file_id)
    damaged = await place.custody.take(draft(), b"its row is lost, and its manifest is damaged")
    await lose_row(place, damaged.file_id)
    place.backend.publish(manifest_path(damaged.location), [b"no manifest"], replace=True)
    report = await twice(place, NOW)
    assert not report.removed.count
    assert report.untouched.by_what == {"restorable": 1, "unreadable": 1}
    assert "catalog rebuild" in str(next(one.why for one in report.untouched.first if one.path == lost.location))
    report = await sweep(place.custody, limits=replace(NOW, restorable=True))
    assert paths_of(report.removed) == sorted([lost.location, damaged.location])
    assert len(place.blobs()) == 1


async def test_what_waybill_did_not_put_there_stays(local: Place) -> None:
    await local.custody.take(draft(), b"kept")
    foreign = [
        "outputs/notes.txt",
        "outputs/3f/notes.txt",
        f"outputs/3f/{'a' * 32}",
        "uploads/Ü/x",
        "prefect-results/x",
    ]
    for path in [*foreign, PROBE_PATH]:
        local.backend.publish(path, [b"foreign"])
    report = await twice(local)
    assert not report.removed.count
    assert paths_of(report.untouched) == sorted([*foreign[:-1], PROBE_PATH])
    assert "probe" in str(next(one.why for one in report.untouched.first if one.path == PROBE_PATH))
    assert set(foreign) <= set(local.backend.paths())


# Rows without blobs ---------------------------------------------------------------------------------------------------


async def test_a_row_whose_blob_is_gone_is_reported_and_marked(place: Place) -> None:
    kept = await place.custody.take(draft(), b"kept")
    lost = [await place.custody.take(draft(), b"lost") for _ in range(3)]
    for one in lost:
        place.backend.delete(one.location)
    dry = await sweep(place.custody, limits=NOW, dry_run=True)
    assert await place.rows("damaged_at is null") == [(True,)] * 4
    report = await sweep(place.custody, limits=NOW)
    again = await sweep(place.custody, limits=NOW)
    lost_paths = sorted(one.location for one in lost)
    assert paths_of(report.missing) == paths_of(again.missing) == paths_of(dry.missing) == lost_paths
    assert report.removed.count == 0 and report.stopped is None
    marked = {row[0]: row[1] for row in await place.rows("file_id, damage")}
    assert {file_id for file_id, damage in marked.items() if damage} == {one.file_id for one in lost}
    assert await place.custody.read(kept) == b"kept"


# A look that may be wrong ---------------------------------------------------------------------------------------------


async def test_an_empty_listing_removes_and_marks_nothing(local: Place) -> None:
    for _ in range(3):
        await local.custody.take(draft(), b"on the volume")
    (reservation,) = await local.custody.reserve([draft()])
    await execute(local.catalog, "update artifacts set created_at = created_at - interval '1 day'")
    local.folder.rename(local.folder.with_name("unmounted"))
    local.folder.mkdir()
    report = await sweep(local.custody)
    assert report.stopped is not None and "lists no blob" in report.stopped and "mounted" in report.stopped
    assert report.missing.count == 3
    assert await local.rows("damaged_at is null") == [(True,)] * 4
    assert len(await local.rows("file_id")) == 4
    await local.custody.release([reservation])


async def test_a_listing_that_fails_in_the_middle_removes_nothing(
    local: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await local.custody.take(draft(), b"kept")
    lay(local)
    await sweep(local.custody)
    await time_passes(local)
    listed = local.backend.objects

    def failing(prefix: str = "") -> Iterator[StoredObject]:
        yield from listed(prefix)
        if prefix == "exports":
            raise StorageUnavailable("cannot list exports: Input/output error")

    monkeypatch.setattr(local.backend, "objects", failing)
    report = await sweep(local.custody)
    assert report.stopped == "cannot list exports: Input/output error"
    assert not report.is_complete
    assert (report.blobs, report.removed.count, len(list(local.backend.paths()))) == (2, 0, 2)


async def test_a_catalogue_that_is_empty_or_away_removes_nothing(local: Place, database_url: str) -> None:
    lay(local)
    grow_old(local)
    for _ in range(2):
        report = await sweep(local.custody)
        assert report.stopped is not None and "catalogue has no file at all" in report.stopped
        assert await recorded(local) == set()
    async with (
        Catalog.open(database_url, Timeouts(answer_seconds=0.3)) as silent,
        local.catalog.transaction() as connection,
    ):
        await connection.execute("lock table artifacts")
        report = await sweep(Place.at(silent, local.folder).custody)
    assert report.stopped is not None and report.removed.count == 0
    assert len(list(local.backend.paths())) == 1


async def test_a_storage_that_holds_none_of_the_files_is_not_swept(local: Place, tmp_path: Path) -> None:
    """The storage of another home, or a catalogue of another one."""
    for number in range(3):
        await local.custody.take(draft(), f"{number}".encode())
    other = Place.at(local.catalog, tmp_path / "other")
    path = lay(other)
    report = await twice(other)
    assert report.stopped is not None and "none of the catalogue's 3 files" in report.stopped
    assert list(other.backend.paths()) == [path]
    assert await local.rows("damaged_at is null") == [(True,)] * 3


async def test_files_that_are_known_to_be_lost_cast_no_doubt(local: Place) -> None:
    lost = [await local.custody.take(draft(), b"lost") for _ in range(2)]
    for one in lost:
        local.backend.delete(one.location)
    path = lay(local)
    assert "none of the catalogue's 2 files" in str((await sweep(local.custody)).stopped)
    for one in lost:
        with pytest.raises(BlobMissing):
            await local.custody.verify(one)
    await time_passes(local)
    report = await sweep(local.custody)
    assert (paths_of(report.removed), report.missing.count, report.stopped) == ([path], 2, None)


async def test_a_storage_that_two_homes_share_by_mistake_is_not_swept(local: Place) -> None:
    await local.custody.take(draft(), b"ours")
    identity = X25519Identity.generate()
    neighbour = local.with_keys(StorageKeys(recipient=identity.recipient, identities=(identity,)))
    foreign = await neighbour.custody.take(draft(), b"theirs")
    await lose_row(local, foreign.file_id)  # it is in the catalogue of the other home
    bare = lay(local)
    report = await twice(local, SweepLimits(restorable=True))
    assert report.stopped is not None and "another home" in report.stopped
    assert bare in set(local.backend.paths()) and foreign.location in set(local.backend.paths())
    without_key = local.with_keys(PLAIN)
    assert "no identity" in str((await sweep(without_key.custody)).stopped)


async def test_files_of_a_key_that_was_given_up_stay_and_keep_nothing_else_from_going(local: Place) -> None:
    kept = await local.custody.take(draft(), b"ours")
    given_up = X25519Identity.generate()
    before = local.with_keys(StorageKeys(recipient=given_up.recipient, identities=(given_up,)))

    async def lose_one() -> str:
        lost = await before.custody.take(draft(), b"nobody can read this")
        await lose_row(local, lost.file_id)
        return lost.location

    lost = sorted([await lose_one(), await lose_one()])
    bare = lay(local)
    for age in (0, 23):
        await time_passes(local, age * HOUR)
        report = await sweep(local.custody)
        assert report.stopped is not None and "when sweeps have known all such files for 1d" in report.stopped
        assert (report.removed.count, paths_of(report.untouched)) == (0, lost), "it may be a home that is at work"
    await time_passes(local, 2 * HOUR)
    grow_old(local, 25 * HOUR)
    report = await sweep(local.custody, limits=SweepLimits(restorable=True, max_files=1))
    assert (paths_of(report.removed), report.stopped) == ([bare], None)
    assert (paths_of(report.untouched), report.untouched.by_what) == (lost, {"other_key": 2})
    assert "no key that is here opens it" in str(report.untouched.first[0].why)
    assert set(lost) < set(local.backend.paths()) and await local.custody.read(kept) == b"ours"

    found = local.with_keys(StorageKeys(recipient=ENCRYPTED.recipient, identities=(*ENCRYPTED.identities, given_up)))
    assert (await sweep(found.custody)).untouched.by_what == {"restorable": 2}, "the key was found again"
    await lose_one()
    assert "another home" in str((await sweep(local.custody)).stopped)


# Many, and the cap ----------------------------------------------------------------------------------------------------


async def test_no_more_than_the_cap_goes_in_one_run(local: Place) -> None:
    await local.custody.take(draft(), b"kept")
    for _ in range(130):
        lay(local)
    by_share = await twice(local)
    assert (by_share.removed.count, by_share.over_cap) == (100, 30)
    assert by_share.stopped is not None and "--max-share" in by_share.stopped
    by_count = await sweep(local.custody, limits=SweepLimits(max_files=10))
    assert (by_count.removed.count, by_count.over_cap) == (10, 20)
    assert by_count.stopped is not None and "--max-files" in by_count.stopped
    rest = await sweep(local.custody)
    assert (rest.removed.count, rest.over_cap, rest.stopped) == (20, 0, None)
    for unusable in ({"max_files": -1}, {"max_share": 1.5}, {"min_age": -HOUR}):
        with pytest.raises(InvalidOptions):
            SweepLimits(**unusable)  # type: ignore[arg-type]


async def test_more_than_a_page_is_listed_and_one_that_cannot_be_removed_is_reported(
    local: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await local.custody.take(draft(), b"kept")
    paths = [lay(local) for _ in range(1100)]
    odd = paths[500]
    delete_many = local.backend.delete_many

    def refusing(wanted: list[str]) -> dict[str, str]:
        failed = delete_many([path for path in wanted if path != odd])
        return {**failed, odd: f"cannot delete {odd}: Operation not permitted"} if odd in wanted else failed

    await sweep(local.custody)
    await time_passes(local)
    with monkeypatch.context() as patch:
        patch.setattr(local.backend, "delete_many", refusing)
        report = await sweep(local.custody, limits=SweepLimits(max_share=1.0))
    assert (report.removed.count, report.failed.count, report.is_complete) == (1099, 1, False)
    assert report.failed.first[0].why == f"cannot delete {odd}: Operation not permitted"
    assert len(report.removed.first) == 100
    assert await recorded(local) == {odd}
    assert paths_of((await sweep(local.custody)).removed) == [odd]


@pytest.mark.usefixtures("manifests_beside")
async def test_an_outage_in_the_middle_leaves_a_rest_that_the_next_sweep_removes(
    local: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await local.custody.take(draft(), b"kept")
    lost = [await local.custody.take(draft(), b"lost") for _ in range(4)]
    for one in lost:
        await lose_row(local, one.file_id)
    limits = SweepLimits(restorable=True)
    await sweep(local.custody, limits=limits)
    await time_passes(local)
    delete_many = local.backend.delete_many

    def away(paths: list[str]) -> dict[str, str]:
        delete_many(paths[:2])
        raise StorageUnavailable("cannot delete blobs: the server cannot be reached; try again later")

    with monkeypatch.context() as patch:
        patch.setattr(local.backend, "delete_many", away)
        report = await sweep(local.custody, limits=limits)
    assert (report.removed.count, report.is_complete) == (0, False)
    assert report.stopped is not None and "cannot be reached" in report.stopped
    report = await sweep(local.custody, limits=limits)
    assert (report.removed.by_what, report.stopped) == ({"manifest": 2, "restorable": 2}, None)
    assert len(local.blobs()) == 1


# Interrupted writers --------------------------------------------------------------------------------------------------


async def test_old_uploads_are_aborted_and_those_of_a_living_writer_are_not(
    catalog: Catalog, s3_server: S3Server, tmp_path: Path
) -> None:
    bucket = s3_server.new_bucket()
    place = Place.at(catalog, tmp_path, url=f"s3://{bucket}/store", options=s3_server.options)
    await place.custody.take(draft(), b"kept")
    (reservation,) = await place.custody.reserve([draft()])
    dead = new_blob_path("upload", uuid4())
    for path in (reservation.location, dead):
        s3_server.administrator.create_multipart_upload(Bucket=bucket, Key=f"store/{path}")
    young = await sweep(place.custody)
    assert not young.removed.count and len(list(place.backend.leftovers())) == 2
    dry = await sweep(place.custody, limits=NOW, dry_run=True)
    assert paths_of(dry.removed) == [dead] and len(list(place.backend.leftovers())) == 2
    report = await sweep(place.custody, limits=NOW)
    assert paths_of(report.removed) == [dead] and paths_of(report.untouched) == [reservation.location]
    assert list(place.backend.leftovers()) == [reservation.location]
    await place.custody.release([reservation])


async def test_temporary_files_and_rows_of_dead_writers_go(local: Place) -> None:
    await local.custody.take(draft(), b"kept")
    reservations = await local.custody.reserve([draft(), draft()])
    local.custody.open_writes.remove([one.file_id for one in reservations])  # as if their process were dead
    dead, living = reservations
    local.backend.publish(dead.location, [b"stored, and then its writer died"])
    await execute(
        local.catalog,
        f"update artifacts set created_at = created_at - interval '2 hours' where file_id = '{dead.file_id}'",  # noqa: S608
    )
    folder = local.folder / "outputs/3f"
    folder.mkdir(parents=True, exist_ok=True)
    for name, age_hours in ((f"3f{'0' * 30}", 25), (f"3f{'1' * 30}", 23)):
        partial = folder / f".{name}.0123456789abcdef.partial"
        partial.write_bytes(b"half")
        os.utime(partial, (time.time() - age_hours * 3600,) * 2)
    before = set(local.backend.paths())
    dry = await sweep(local.custody, dry_run=True)
    assert set(local.backend.paths()) == before
    report = await sweep(local.custody)
    assert paths_of(report.removed) == paths_of(dry.removed) == sorted([dead.location, f"outputs/3f/3f{'0' * 30}"])
    assert list(local.backend.leftovers()) == [f"outputs/3f/3f{'1' * 30}"]
    assert dead.location not in set(local.backend.paths())
    assert (await local.states()) == {"available": 1, "pending": 1}
    await local.custody.release([living])


async def test_scratch_folders_of_dead_runs_and_exports_go(local: Place, tmp_path: Path) -> None:
    await local.custody.take(draft(), b"kept")
    settings = Settings(home=tmp_path / "home")
    living, dead, unlocked, young = (str(uuid4()) for _ in range(4))
    names = [living, dead, unlocked, young, "notes", f"exports/exp_{'1' * 16}", f"exports/exp_{'2' * 16}"]
    then = time.time() - 2 * 3600
    for name in names:
        folder = settings.scratch / name
        folder.mkdir(parents=True)
        (folder / "1-source").write_bytes(b"12345")
        for path in (folder / "1-source", folder):
            os.utime(path, (then, then))
    os.utime(settings.scratch / young / "1-source")
    old_export = settings.scratch / names[-1]
    for path in (old_export / "1-source", old_export):
        os.utime(path, (then - 86400,) * 2)
    with hold_run_lock(settings.home, UUID(living)):
        (settings.home / "leases" / f"{dead}.lease").touch()
        dry = await sweep_home(local.custody, settings, dry_run=True)
        assert sum(1 for one in settings.scratch.rglob("1-source")) == len(names)
        report = await sweep_home(local.custody, settings)
    gone = sorted(str(settings.scratch / name) for name in (dead, unlocked, names[-1]))
    assert paths_of(report.removed) == paths_of(dry.removed) == gone
    assert report.removed.bytes == 15
    assert sorted(one.path for one in report.waiting.first) == sorted(
        str(settings.scratch / name) for name in (young, names[-2])
    )
    assert paths_of(report.untouched) == [str(settings.scratch / "notes")]
    left = {str(one.parent.relative_to(settings.scratch)) for one in settings.scratch.rglob("1-source")}
    assert left == {living, young, "notes", names[-2]}
    # The next run has to find the lock of a dead one.
    assert run_locks(settings.home) == {UUID(dead): False}


async def test_a_report_can_be_printed_as_json(local: Place) -> None:
    await local.custody.take(draft(), b"kept")
    path = lay(local)
    view = (await twice(local)).view()
    assert view["removed"]["count"] == 1 and view["removed"]["first"][0]["path"] == path
    assert view["removed"]["first"][0]["first_seen_at"].endswith("+00:00")
    assert view["stopped"] is None and view["rows"] == {"available": 1}
