"""Executing a plan: what goes, what stays after all, and what a failure leaves for the next run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from blocks.catalog import Artifact, Catalog, Connection
from blocks.errors import ArtifactGone, PlanNotFound, StorageUnavailable
from blocks.retention import (
    Outcome,
    Plan,
    Removed,
    RetentionPolicy,
    exceptions,
    execute_plan,
    get_plan,
    make_plan,
    planned_files,
    unfinished_plans,
)
from tests.integration.custody_place import Place, draft

DAY = timedelta(days=1)


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path / "storage")


async def stored(place: Place, count: int) -> list[Artifact]:
    return [await place.custody.take(draft(), f"content {number}".encode()) for number in range(count)]


async def sql(place: Place, statement: str, *values: object) -> None:
    async with place.catalog.connection() as connection:
        await connection.execute(statement.encode(), values)


async def expire(place: Place, *artifacts: Artifact) -> None:
    await sql(
        place,
        "update artifacts set expires_at = clock_timestamp() - interval '1 second' where file_id = any(%s)",
        [artifact.file_id for artifact in artifacts],
    )


class Recorder:
    """Collects what was recorded as removed, and its transactions."""

    def __init__(self) -> None:
        self.files: list[UUID] = []

    async def __call__(self, connection: Connection, removed: Sequence[Removed]) -> None:
        assert connection.info.transaction_status.name == "INTRANS", "one transaction with the tombstones"
        self.files += [one.file_id for one in removed]


async def run(place: Place, plan: Plan) -> tuple[Outcome, list[UUID]]:
    recorder = Recorder()
    return await execute_plan(place.custody, plan, recorder), recorder.files


async def test_exactly_the_planned_files_go_with_bytes_manifests_and_rows(place: Place) -> None:
    gone, stays = (files := await stored(place, 5))[:3], files[3:]
    await expire(place, *gone)
    plan = await make_plan(place.catalog, RetentionPolicy())
    assert {one.file_id async for one in planned_files(place.catalog, plan.plan_id)} == {one.file_id for one in gone}
    assert len(place.blobs()) == 5, "a plan removes nothing"
    outcome, recorded = await run(place, plan)
    assert (outcome.removed, outcome.kept, outcome.failed) == (3, {}, {})
    assert outcome.removed_bytes == sum(one.stored_size for one in gone) == plan.bytes
    assert sorted(recorded) == sorted(one.file_id for one in gone)
    assert place.blobs() == sorted(one.location for one in stays), "no orphan, no manifest without its blob"
    assert await place.states() == {"available": 2, "deleted": 3}
    with pytest.raises(ArtifactGone):
        await place.custody.get(gone[0].file_id)
    async with place.catalog.connection() as connection:
        assert (await get_plan(connection, plan.plan_id)).state == "done"
    with pytest.raises(PlanNotFound, match="executed already"):
        await run(place, plan)


async def test_what_was_pinned_held_extended_or_is_read_since_stays(place: Place) -> None:
    pinned, held, extended, read, removed, goes = await stored(place, 6)
    await expire(place, pinned, held, extended, read, removed, goes)
    plan = await make_plan(place.catalog, RetentionPolicy())
    assert plan.files == 6
    await sql(place, "update artifacts set pinned_at = now() where file_id = %s", pinned.file_id)
    await sql(place, "update artifacts set held_at = now() where file_id = %s", held.file_id)
    await sql(place, "update artifacts set expires_at = now() + interval '1 day' where file_id = %s", extended.file_id)
    await sql(place, "insert into artifact_readers values (%s, %s, now() + interval '1 minute')", read.file_id, uuid4())
    await place.custody.remove(removed.file_id)
    outcome, recorded = await run(place, plan)
    assert recorded == [goes.file_id]
    assert outcome.kept == {
        str(pinned.file_id): "pinned",
        str(held.file_id): "held",
        str(extended.file_id): "extended",
        str(read.file_id): "reading",
    }
    async with place.catalog.connection() as connection:
        found = {one.file_id: one.reason for one in await exceptions(connection, plan.plan_id)}
    assert {str(file_id): reason for file_id, reason in found.items()} == outcome.kept
    assert len(place.blobs()) == 4


async def test_an_extension_wins_over_every_rule(place: Place) -> None:
    (artifact,) = await stored(place, 1)
    await sql(place, "update artifacts set created_at = now() - interval '9 days'")
    plan = await make_plan(place.catalog, RetentionPolicy(older_than=DAY))
    assert plan.files == 1
    await sql(place, "update artifacts set extended_at = clock_timestamp()")
    outcome, recorded = await run(place, plan)
    assert (outcome.kept, recorded) == ({str(artifact.file_id): "extended"}, [])


async def test_what_a_rule_keeps_is_readable_again(place: Place) -> None:
    old, new = await stored(place, 2)
    await expire(place, old, new)
    with pytest.raises(ArtifactGone):
        await place.custody.get(new.file_id)
    plan = await make_plan(place.catalog, RetentionPolicy(keep_newest=1))
    assert (plan.files, plan.renewals) == (1, 1)
    outcome, recorded = await run(place, plan)
    assert (outcome.renewed, recorded) == (1, [old.file_id])
    assert await place.custody.read(await place.custody.get(new.file_id)) == b"content 1"


async def test_rows_that_claim_impossible_sizes_stop_no_run(place: Place) -> None:
    gone = await stored(place, 3)
    await stored(place, 2)
    await expire(place, *gone)
    await sql(place, "update artifacts set size = 9223372036854775807, stored_size = 9223372036854775807")
    plan = await make_plan(place.catalog, RetentionPolicy())
    assert (plan.files, plan.bytes, {group.bytes for group in plan.groups}) == (3, 2**63 - 1, {2**63 - 1})
    outcome = await execute_plan(place.custody, plan, Recorder())
    assert (outcome.removed, outcome.removed_bytes) == (3, 2**63 - 1)


async def test_a_file_that_cannot_be_deleted_is_listed_and_fails_no_other(place: Place) -> None:
    files = await stored(place, 4)
    await expire(place, *files)
    odd = place.stored(files[1])
    odd.unlink()
    odd.mkdir()  # what unlink refuses
    outcome, recorded = await run(place, await make_plan(place.catalog, RetentionPolicy()))
    assert (outcome.removed, list(outcome.failed)) == (3, [str(files[1].file_id)])
    assert len(recorded) == 4, "no reader sees it any more"
    assert await place.states() == {"deleted": 3, "deleting": 1}


async def test_two_runs_that_meet_remove_each_file_once(place: Place) -> None:
    files = await stored(place, 30)
    await expire(place, *files)
    plans = [await make_plan(place.catalog, RetentionPolicy()) for _ in range(2)]
    (one, first), (other, second), (third, again) = await asyncio.gather(
        run(place, plans[0]), run(place, plans[1]), run(place, plans[0])
    )
    assert sorted(first + second + again) == sorted(artifact.file_id for artifact in files)
    assert not one.failed and not other.failed and not third.failed
    assert place.nothing_lies_in_the_storage()
    assert await place.states() == {"deleted": 30}


async def test_an_outage_of_the_storage_leaves_a_plan_that_the_next_run_finishes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = await stored(place, 3)
    await expire(place, *files)
    plan = await make_plan(place.catalog, RetentionPolicy())

    def away(paths: Sequence[str]) -> dict[str, str]:
        raise StorageUnavailable("the storage is away")

    with monkeypatch.context() as outage:
        outage.setattr(place.backend, "delete_many", away)
        with pytest.raises(StorageUnavailable):
            await run(place, plan)
    async with place.catalog.connection() as connection:
        (open_plan,) = await unfinished_plans(connection)
    assert open_plan.plan_id == plan.plan_id
    outcome, recorded = await run(place, open_plan)
    assert (outcome.removed, recorded) == (3, []), "recorded once, with the tombstones"
    assert place.nothing_lies_in_the_storage()
    async with place.catalog.connection() as connection:
        assert await unfinished_plans(connection) == []


_MIXED = """
    with made as (
        insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, stage, stage_name,
                               stage_key, media_type, size, sha256, stored_size, stored_sha256, location, created_at,
                               expires_at, pinned_at, held_at)
        select file_id, 'available', case when stage is null then 'upload' else 'stage_output' end, 'f',
               '/documents/' || n / 8 || '.pdf', repeat(chr(97 + n / 8 %% 6), 64), stage, 'stage-' || stage,
               case when stage is not null then repeat('k', 64) end, 'text/plain', 1, repeat('a', 64), 1,
               repeat('b', 64), 'uploads/00/' || replace(file_id::text, '-', ''),
               clock_timestamp() - n %% 900 * interval '1 hour',
               clock_timestamp() + (n %% 97 - 50.5) * interval '1 hour',
               case when n %% 11 = 0 then now() end, case when n %% 13 = 0 then now() end
          from (select n, nullif(n %% 4, 0)::smallint as stage, gen_random_uuid() as file_id
                  from generate_series(1, 10000) n) as numbers
        returning file_id
    )
    insert into artifact_readers
    select file_id, gen_random_uuid(), now() + interval '1 hour' from made where left(file_id::text, 1) = '7'
"""


async def test_of_ten_thousand_mixed_files_exactly_those_of_the_dry_run_go(place: Place) -> None:
    await sql(place, _MIXED)
    policy = RetentionPolicy(older_than=30 * DAY, keep_newest=1, keep_inputs=True, max_stored_bytes=6000)
    plan = await make_plan(place.catalog, policy)
    named = {one.file_id async for one in planned_files(place.catalog, plan.plan_id)}
    assert {"expired", "older_than", "budget"} == {group.rule for group in plan.groups if group.removes}
    assert {"pinned", "held", "reading", "newest", "input"} < {group.rule for group in plan.groups}
    outcome, recorded = await run(place, plan)
    assert len(named) > 900 and (outcome.kept, outcome.failed) == ({}, {})
    assert set(recorded) == named and len(recorded) == len(named)
    states = dict(await place.rows("file_id, state"))
    assert {file_id for file_id, state in states.items() if state == "deleted"} == named
