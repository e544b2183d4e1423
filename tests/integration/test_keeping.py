"""What keeps a file: legal holds, extensions, and the leases of those who read it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from blocks.access import Actor
from blocks.catalog import Artifact, Catalog
from blocks.catalog.keeping import begin_reading, hold, release
from blocks.custody import open_reads, renewal
from blocks.errors import ArtifactGone, ArtifactHeld, ArtifactNotFound, BlobMissing, InvalidOptions
from tests.integration.custody_place import Place, draft
from tests.stack_driver import PATIENCE_SECONDS
from waybill.services.files import extend_file, read_end

ME = Actor(actor="cli:a test")
HOUR = timedelta(hours=1)
SMALL = b"a report"
# Taken for large, and more than a reader has in memory: an S3 reader requests 16 MiB ahead at most.
LARGE = os.urandom(2**20) * 24


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


@pytest.fixture
def place(catalog: Catalog, tmp_path: Path) -> Place:
    return Place.at(catalog, tmp_path / "store")


@pytest.fixture
def on_s3(request: pytest.FixtureRequest, catalog: Catalog, tmp_path: Path) -> Place:
    server = request.getfixturevalue("s3_server")
    url = f"s3://{request.getfixturevalue('s3_bucket')}/custody"
    return Place.at(catalog, tmp_path / "store", url=url, options=server.options)


async def execute(catalog: Catalog, statement: str, *values: object) -> list[tuple[object, ...]]:
    async with catalog.connection() as connection:
        cursor = await connection.execute(statement.encode(), values)
        return [tuple(row.values()) for row in await cursor.fetchall()] if cursor.description else []


async def leases(catalog: Catalog) -> list[tuple[UUID, bool]]:
    """The files that have a lease, with whether it has not ended."""
    found = await execute(catalog, "select file_id, read_until > clock_timestamp() from artifact_readers")
    return [(row[0], bool(row[1])) for row in found if isinstance(row[0], UUID)]


async def expire(catalog: Catalog, artifact: Artifact) -> None:
    await execute(
        catalog,
        "update artifacts set expires_at = clock_timestamp() - interval '1 hour' where file_id = %s",
        artifact.file_id,
    )


# Legal holds ----------------------------------------------------------------------------------------------------------


async def test_a_hold_outlives_expiry_and_the_pin_until_it_is_released(place: Place) -> None:
    artifact = await place.custody.take(draft(), SMALL)
    async with place.catalog.connection() as connection:
        held = await hold(connection, artifact.file_id, note="case 2026/114")
        assert (held.kept, held.hold_note, held.listing()["held"]) == (True, "case 2026/114", True)
        await place.catalog.pin(connection, artifact.file_id)
        await expire(place.catalog, artifact)
        unpinned = await place.catalog.unpin(connection, artifact.file_id)
        assert (unpinned.pinned_at, unpinned.held_at) == (None, held.held_at)
        await expire(place.catalog, artifact)
        assert await place.custody.read(await place.custody.get(artifact.file_id)) == SMALL
        with pytest.raises(ArtifactHeld, match="administrator"):
            await place.custody.remove(artifact.file_id)
        again = await hold(connection, artifact.file_id)
        assert (again.held_at, again.hold_note) == (held.held_at, None), "the last note stands"
        released = await release(connection, artifact.file_id)
    assert released is not None and not released.kept
    assert released.expires_at - await place.catalog.now() > timedelta(hours=23), "another day"
    await place.custody.remove(artifact.file_id)


async def test_an_expired_file_can_be_held_while_it_is_stored_and_no_longer(place: Place) -> None:
    artifact, gone = await place.custody.take(draft(), SMALL), await place.custody.take(draft(), SMALL)
    await expire(place.catalog, artifact)
    await place.custody.remove(gone.file_id)
    async with place.catalog.connection() as connection:
        with pytest.raises(ArtifactGone):
            await place.catalog.pin(connection, artifact.file_id)
        assert (await hold(connection, artifact.file_id)).kept
        for file_id, kind in ((gone.file_id, ArtifactGone), (uuid4(), ArtifactNotFound)):
            with pytest.raises(kind):
                await hold(connection, file_id)
            assert await release(connection, file_id) is None
    assert await place.custody.read(await place.custody.get(artifact.file_id)) == SMALL


@pytest.mark.parametrize("kept_by", ["pin", "hold"])
async def test_a_grace_that_moves_the_end_is_an_extension_and_one_that_does_not_is_none(
    place: Place, kept_by: str
) -> None:
    late, soon = await place.custody.take(draft(keep_for=48 * HOUR), SMALL), await place.custody.take(draft(), SMALL)
    await expire(place.catalog, soon)
    await execute(place.catalog, "update artifacts set pinned_at = now(), held_at = now()")
    async with place.catalog.connection() as connection:
        for artifact in (late, soon):
            letting_go = place.catalog.unpin if kept_by == "pin" else release
            await letting_go(connection, artifact.file_id)
    moved = dict(await execute(place.catalog, "select file_id, extended_at is not null from artifacts"))
    assert moved == {late.file_id: False, soon.file_id: True}


# Extensions -----------------------------------------------------------------------------------------------------------


async def test_an_extension_counts_from_now_and_never_shortens_unasked(place: Place) -> None:
    artifact = await place.custody.take(draft(keep_for=48 * HOUR), SMALL)

    async def extended(end: timedelta | datetime, **more: bool) -> tuple[Artifact, bool]:
        return await extend_file(place.custody, artifact.file_id, end, by=ME, **more)

    found, is_changed = await extended(72 * HOUR)
    assert is_changed and abs((await place.catalog.now()) + 72 * HOUR - found.expires_at) < HOUR
    assert await extended(48 * HOUR) == (found, False)
    assert await extended(found.expires_at) == (found, False), "repeated, as after a lost answer"
    shorter, is_changed = await extended(2 * HOUR, shorten=True)
    assert is_changed and shorter.expires_at < artifact.expires_at
    until = shorter.expires_at + 1000 * HOUR
    assert (await extended(until))[0].expires_at == until
    now = await place.catalog.now()
    for wrong in (now - HOUR, now, now + timedelta(days=365_001)):
        with pytest.raises(InvalidOptions, match="still to come"):
            await extended(wrong, shorten=True)
    details = await execute(place.catalog, "select detail from audit_log where action = 'extend' order by entry_id")
    assert [list(row[0]) for row in details] == [["from", "until"]] * 3  # type: ignore[call-overload]
    assert await execute(place.catalog, "select extended_at is not null from artifacts") == [(True,)]


async def test_an_expired_file_is_extended_only_by_who_may_correct_a_mistake(place: Place) -> None:
    artifact, gone = await place.custody.take(draft(), SMALL), await place.custody.take(draft(), SMALL)
    await expire(place.catalog, artifact)
    await place.custody.remove(gone.file_id)
    with pytest.raises(ArtifactGone):
        await extend_file(place.custody, artifact.file_id, 2 * HOUR, by=ME)
    await extend_file(place.custody, artifact.file_id, 2 * HOUR, even_expired=True, by=ME)
    assert await place.custody.read(await place.custody.get(artifact.file_id)) == SMALL
    for file_id, kind in ((gone.file_id, ArtifactGone), (uuid4(), ArtifactNotFound)):
        with pytest.raises(kind):
            await extend_file(place.custody, file_id, 2 * HOUR, even_expired=True, by=ME)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T08:00+02:00", datetime(2027, 1, 31, 6, tzinfo=UTC)),
        ("2027-01-31T08:00Z", datetime(2027, 1, 31, 8, tzinfo=UTC)),
        ("2027-01-31T08:00", None),
        ("2027-02-30", None),
        ("9999-12-31T23:59-14:00", None),
        ("31.1.2027", None),
        ("tomorrow", None),
        ("", None),
    ],
)
def test_a_time_is_a_day_in_utc_or_has_its_zone(text: str, expected: datetime | None) -> None:
    if expected is None:
        with pytest.raises(InvalidOptions):
            read_end(None, text)
    else:
        assert read_end(None, text) == expected


@pytest.mark.parametrize(
    ("keep_for", "until"), [(None, None), ("1d", "2027-01-31"), ("0d", None), ("-1d", None), ("365001d", None)]
)
def test_either_a_length_or_a_time_is_needed(keep_for: str | None, until: str | None) -> None:
    with pytest.raises(InvalidOptions):
        read_end(keep_for, until)


# Readers --------------------------------------------------------------------------------------------------------------


async def test_only_a_reading_that_may_take_long_or_of_a_file_that_ends_soon_has_a_lease(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[UUID] = []
    real = begin_reading

    async def noted(connection: object, file_id: UUID, reader_id: UUID) -> bool:
        begun.append(file_id)
        return await real(connection, file_id, reader_id)  # type: ignore[arg-type]

    monkeypatch.setattr(open_reads, "begin_reading", noted)
    small, soon, held, large = [
        await place.custody.take(draft(keep_for=keep_for), content)
        for keep_for, content in ((3 * HOUR, SMALL), (HOUR / 2, SMALL), (HOUR / 2, SMALL), (3 * HOUR, LARGE))
    ]
    async with place.catalog.connection() as connection:
        held = await hold(connection, held.file_id)
    for artifact in (small, held):
        await place.custody.read(artifact)
        await place.custody.read_part(artifact, 1, 3)
    assert begun == []
    await place.custody.read_part(soon, 1, 3)
    await place.custody.fetch(large, tmp_path / "copy")
    await place.custody.verify(large)
    async with place.custody.open_content(large) as content, place.custody.open_content(large):
        assert await leases(place.catalog) == [(large.file_id, True)], "one for all who read it in this process"
        assert content.read(0, 5) == LARGE[:5]
    assert begun == [soon.file_id, large.file_id, large.file_id, large.file_id]
    assert await leases(place.catalog) == []


async def test_a_lease_is_renewed_and_that_of_a_killed_reader_is_cleared_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RENEW_SECONDS", 0.05)
    large, other = await place.custody.take(draft(), LARGE), await place.custody.take(draft(), SMALL)
    await execute(
        place.catalog,
        "insert into artifact_readers values (%s, %s, clock_timestamp() - interval '25 hours')",
        other.file_id,
        uuid4(),
    )
    async with place.custody.open_content(large), asyncio.timeout(PATIENCE_SECONDS):
        # Also one that was lost, as that of a process that was suspended for a day.
        for change in ("update artifact_readers set read_until = 'epoch'", "delete from artifact_readers"):
            await execute(place.catalog, change)
            while await leases(place.catalog) != [(large.file_id, True)]:  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.02)


async def test_no_lease_is_given_while_the_file_is_being_removed(place: Place) -> None:
    artifact = await place.custody.take(draft(keep_for=HOUR / 2), SMALL)
    async with place.catalog.transaction() as removal:
        # As a run of the retention does it: the rows are locked, then those without a reader become tombstones.
        await removal.execute(b"select from artifacts where file_id = %s for update", [artifact.file_id])
        reading = asyncio.create_task(place.custody.read(artifact))
        waiting = (
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            " and query like %s"
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await execute(place.catalog, waiting, "%artifact_readers%") == [(0,)]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
        await removal.execute(b"update artifacts set state = 'deleting' where file_id = %s", [artifact.file_id])
    with pytest.raises(ArtifactGone):
        await reading
    assert await leases(place.catalog) == []


async def test_what_is_removed_while_it_is_read_is_read_to_its_end_on_a_local_disk(place: Place) -> None:
    artifact = await place.custody.take(draft(), LARGE)
    async with place.custody.open_content(artifact) as content:
        first = content.read(0, 100)
        await place.custody.remove(artifact.file_id)
        assert first + content.read(100, len(LARGE)) == LARGE
    with pytest.raises(ArtifactGone):
        async with place.custody.open_content(artifact):
            pass


async def test_what_is_removed_while_it_is_read_fails_loudly_on_s3(on_s3: Place, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    artifact = await on_s3.custody.take(draft(), LARGE)
    with pytest.raises(BlobMissing, match="deleted while it was read"):
        async with on_s3.custody.open_content(artifact) as content:
            content.read(0, 100)
            await on_s3.custody.remove(artifact.file_id)
            content.read(100, len(LARGE))
    with pytest.raises(ArtifactGone):
        await on_s3.custody.fetch(artifact, target)
    assert not os.path.lexists(target)  # noqa: ASYNC240 - a test's own
