"""Executing a plan: what goes, what stays after all, and what a failure leaves for the next run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from blocks.catalog import Artifact, Connection
from blocks.errors import ArtifactGone, PlanNotFound, StorageUnavailable, UnsafeKey
from blocks.retention import (
    Outcome,
    Plan,
    Removed,
    RetentionPolicy,
    exceptions,
    execute_plan,
    finish_deletions,
    get_plan,
    make_plan,
    planned_files,
    unfinished_plans,
)
from tests.integration.custody_place import Place
from tests.integration.retention_files import DAY, expire, local_place, name_place, sql, stored

place = local_place


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
    with pytest.raises(PlanNotFound, match=r"executed already \(20\d\d-\d\d-\d\d \d\d:\d\d UTC\); make"):
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


# No file of Waybill has one of these places; the last one is the folder of all uploads.
NO_PLACES = ("../outside", "/etc/passwd", "", "x" * 3000, "uploads/\n", "uploads")


async def files_without_a_place(place: Place) -> list[Artifact]:
    """Expired files; the rows of all but one name a place that can have no stored bytes."""
    files = await stored(place, len(NO_PLACES) + 1)
    for artifact, location in zip(files, NO_PLACES, strict=False):
        await name_place(place, artifact, location)
    await expire(place, *files)
    return files


async def test_a_row_that_names_no_place_for_bytes_ends_with_a_warning(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    *odd, _ = await files_without_a_place(place)
    outside = place.folder.parent / "outside"
    outside.write_bytes(b"of another program")
    outcome, recorded = await run(place, await make_plan(place.catalog, RetentionPolicy()))
    assert (outcome.removed, outcome.failed, len(recorded)) == (len(odd) + 1, {}, len(odd) + 1)
    assert await place.states() == {"deleted": len(odd) + 1}
    assert outcome.unusable.keys() == {str(one.file_id) for one in odd}
    for artifact, location in zip(odd, NO_PLACES, strict=True):
        assert outcome.unusable[str(artifact.file_id)].startswith(f"location={location[:200]!r}: ")
        assert f"file={artifact.file_id} location={location[:200]!r}: " in caplog.text
    assert outside.exists()
    assert place.blobs() == sorted(one.location for one in odd), "what no row names is left to the sweep"


async def test_a_request_ends_a_row_without_a_place_as_a_rule_does(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    files = await files_without_a_place(place)
    for artifact in files:
        await place.custody.remove(artifact.file_id)
    assert await place.states() == {"deleted": len(files)}
    for artifact, location in zip(files, NO_PLACES, strict=False):
        assert f"file={artifact.file_id} location={location[:200]!r}: " in caplog.text
    assert str(files[-1].file_id) not in caplog.text


async def test_a_rule_and_a_request_fail_alike_where_a_folder_has_the_place_of_the_bytes(place: Place) -> None:
    """A person put it there, and may take it away again."""
    by_rule, by_request = files = await stored(place, 2)
    await expire(place, by_rule)
    for artifact in files:
        place.stored(artifact).unlink()
        place.stored(artifact).mkdir()
    outcome, _ = await run(place, await make_plan(place.catalog, RetentionPolicy()))
    assert (list(outcome.failed), outcome.unusable) == ([str(by_rule.file_id)], {})
    with pytest.raises(UnsafeKey, match="remove the link or foreign file"):
        await place.custody.remove(by_request.file_id)
    assert await place.states() == {"deleting": 2}
    for artifact in files:
        place.stored(artifact).rmdir()
    assert (await finish_deletions(place.custody)).removed == 2
    assert await place.states() == {"deleted": 2}


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
               '/documents/' || n / 8 || '.pdf', decode(repeat(chr(97 + n / 8 %% 6), 64), 'hex'), stage,
               'stage-' || stage,
               case when stage is not null then decode(repeat('c', 64), 'hex') end, 'text/plain', 1,
               decode(repeat('a', 64), 'hex'), 1,
               decode(repeat('b', 64), 'hex'), 'uploads/00/' || replace(file_id::text, '-', ''),
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
