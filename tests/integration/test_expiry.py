"""A run of the retention: what it finishes, removes, keeps, records and reports, on local storage and on S3."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from blocks.access import Actor, audit_entries
from blocks.catalog import Artifact, Catalog
from blocks.errors import ArtifactGone, PlanExecuted, PlanNotFound, StorageUnavailable, UnsafeKey
from blocks.retention import REASONS, RetentionPolicy, get_plan, make_plan
from blocks.retention.plans import claim_batch, claimant
from blocks.settings import Settings
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import recent_events, whole_body
from tasks.expiry import Report, retention_policy, run_retention
from tests.integration.custody_place import Place
from tests.integration.retention_files import DAY, expire, local_place, name_place, sql, stored
from tests.s3 import S3Server
from waybill.services.files import delete_file

BY = Actor(actor="cli:tester")

# Says of which document files are, by the digit that its hash repeats.
_OF_DOCUMENT = "update artifacts set document_sha256 = decode(repeat('{}', 64), 'hex')"

place = local_place


@pytest.fixture(params=["local", "s3"])
async def anywhere(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    url, options = None, None
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        url, options = f"s3://{request.getfixturevalue('s3_bucket')}/store", server.options
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path / "storage", url=url, options=options)


async def run(place: Place, **options: Any) -> Report:
    policy = options.pop("policy", RetentionPolicy())
    return await run_retention(place.custody, policy, by=BY, links=EventLinks(None), **options)


def ids(files: Sequence[Any]) -> set[UUID]:
    return {one.file_id for one in files}


async def expired_events(place: Place) -> list[dict[str, Any]]:
    """The whole bodies of all `files_expired` events."""
    async with place.catalog.connection() as connection:
        events = await recent_events(connection, DAY, event_types=["files_expired"])
        return [orjson.loads(await whole_body(connection, one.event_id)) for one in events]


async def announced(place: Place) -> list[str]:
    """The ids of all files in events, each as often as it is there."""
    return sorted(one["file_id"] for event in await expired_events(place) for one in event["data"]["files"])


async def test_a_run_removes_what_the_dry_run_has_named(anywhere: Place) -> None:
    pinned, *gone, later, fresh = await stored(anywhere, 6)
    await expire(anywhere, pinned, *gone)
    await sql(anywhere, "update artifacts set pinned_at = now() where file_id = %s", pinned.file_id)
    dry = await run(anywhere, dry_run=True)
    assert ids(dry.removed) == ids(gone) and dry.plan.state == "planned"
    assert (dry.kept[0].file_id, dry.kept[0].rule) == (pinned.file_id, "pinned"), "the protected come first"
    assert {one.rule for one in dry.kept[1:]} == {"not_due"} and len(dry.kept) == 3
    assert (dry.before["total"]["count"], dry.after["total"]["count"]) == (6, 3)
    assert len(anywhere.blobs()) == 6

    await expire(anywhere, later)
    real = await run(anywhere, plan_id=dry.plan.plan_id)
    assert ids(real.removed) == ids(dry.removed), "and not what has expired since"
    assert (real.removed_files, real.failed_files, real.plan.state) == (3, 0, "done")
    assert real.after["total"]["count"] == 3
    assert real.after["by_kind"]["upload"]["bytes"] == sum(one.size for one in (pinned, later, fresh))
    assert sorted(anywhere.blobs()) == sorted(one.location for one in (pinned, later, fresh))
    assert await announced(anywhere) == sorted(str(one.file_id) for one in gone)
    with pytest.raises(PlanNotFound):
        await run(anywhere, plan_id=dry.plan.plan_id)


async def test_a_dry_run_of_a_plan_names_what_would_go_now(place: Place) -> None:
    pinned, extended, removed, *gone = await stored(place, 5)
    await expire(place, pinned, extended, removed, *gone)
    plan_id = (await run(place, dry_run=True)).plan.plan_id
    await sql(place, "update artifacts set pinned_at = now() where file_id = %s", pinned.file_id)
    await sql(place, "update artifacts set expires_at = now() + interval '1 day' where file_id = %s", extended.file_id)
    await sql(place, "update artifacts set state = 'deleting' where file_id = %s", removed.file_id)
    dry = await run(place, dry_run=True, plan_id=plan_id)
    assert ids(dry.removed) == ids(gone)
    assert {one.file_id: one.rule for one in dry.kept} == {pinned.file_id: "pinned", extended.file_id: "extended"}
    real = await run(place, plan_id=plan_id)
    assert (dry.removed_files, dry.removed_bytes) == (real.removed_files, real.removed_bytes) and dry.removed_files == 2
    assert dry.kept_files == real.kept_files == 2
    assert (dry.after["total"], ids(dry.removed)) == (real.after["total"], ids(real.removed))
    with pytest.raises(PlanExecuted):
        await run(place, dry_run=True, plan_id=plan_id)


async def test_in_a_storage_without_the_files_of_the_catalogue_nothing_counts_as_removed(
    place: Place, tmp_path: Path
) -> None:
    files = await stored(place, 10)
    await expire(place, *files[:3])
    wrong = Place.at(place.catalog, tmp_path / "not mounted")
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match=r"none of the newest files \(10\)"):
            await run(wrong)
    (odd,) = await stored(place, 1)
    await name_place(place, odd, "../odd")
    with pytest.raises(StorageUnavailable, match=r"none of the newest files \(10\)"):
        await run(wrong)  # the newest row says nothing about the storage
    assert (await run(place)).removed_files == 3, "and the right storage loses what had to go"
    with pytest.raises(StorageUnavailable, match="files verify --all"):
        await run(wrong)  # a few files, and they may be lost for good: then a check marks them
    await sql(place, "update artifacts set damaged_at = now(), damage = 'it is gone' where state = 'available'")
    assert (await run(wrong)).removed_files == 0


async def test_a_row_that_names_the_place_of_another_file_takes_no_bytes_of_it(place: Place) -> None:
    by_rule, by_request, other = await stored(place, 3)
    names_it = "update artifacts set spare_location = %s where file_id = %s"
    await sql(place, names_it, other.location, by_rule.file_id)
    await expire(place, by_rule)
    assert (await run(place)).removed_files == 1
    await sql(place, names_it, other.location, by_request.file_id)
    await place.custody.remove(by_request.file_id)
    assert place.blobs() == [other.location]
    assert await place.custody.read(other) == b"content 2"


async def test_one_event_names_the_files_of_a_source(place: Place) -> None:
    files = await stored(place, 3)
    await sql(place, "update artifacts set source_file = 'https://me:secret@host/a?token=x' where file_id = %s",
              files[0].file_id)  # fmt: skip
    await expire(place, *files)
    run_id = uuid4()
    report = await run(place, run_id=run_id)
    events = {event["source_file"]: event for event in await expired_events(place)}
    assert set(events) == {"/docs/report.pdf", "https://me@host/a?token=***"}
    event = events["/docs/report.pdf"]
    assert (event["event_type"], event["task_id"]) == ("files_expired", str(run_id))
    assert (event["data"]["count"], event["data"]["plan_id"]) == (2, str(report.plan.plan_id))
    assert {one["file_id"] for one in event["data"]["files"]} == {str(one.file_id) for one in files[1:]}
    assert {one["rule"] for one in event["data"]["files"]} == {"expired"}


async def test_a_run_leaves_one_entry_in_the_audit_log(place: Place) -> None:
    await expire(place, *await stored(place, 2))
    dry = await run(place, dry_run=True)
    await run(place, plan_id=dry.plan.plan_id)
    async with place.catalog.connection() as connection:
        (entry,) = await audit_entries(connection, action="expire")
    assert entry.actor == "cli:tester"
    assert (entry.detail["plan_id"], entry.detail["files"]) == (str(dry.plan.plan_id), 2)


async def test_a_file_that_cannot_be_deleted_is_named_and_tried_again(place: Place) -> None:
    files = await stored(place, 3)
    await expire(place, *files)
    odd = put_folder_in_place(place, files[1])
    for removed in (2, 0):
        report = await run(place)
        assert (report.removed_files, report.failed_files, report.is_complete) == (removed, 1, False)
        (failed,) = report.view()["failed"]
        assert (failed["file_id"], failed["filename"]) == (str(files[1].file_id), "report.pdf")
        assert failed["error"]
        assert files[1].file_id not in ids(report.removed)
    odd.rmdir()
    report = await run(place)
    assert (report.finished, report.failed_files, report.is_complete) == (1, 0, True)
    assert place.nothing_lies_in_the_storage()
    assert await announced(place) == sorted(str(one.file_id) for one in files), "once each"


def put_folder_in_place(place: Place, artifact: Artifact) -> Path:
    """Put a folder where the stored bytes are, which unlink refuses; its path."""
    path = place.stored(artifact)
    path.unlink()
    path.mkdir()
    return path


async def test_a_failed_file_is_named_with_the_rule_that_removes_it(place: Place) -> None:
    by_age, by_time, by_request = files = await stored(place, 3)
    for artifact in files:
        put_folder_in_place(place, artifact)
    with pytest.raises(UnsafeKey):
        await place.custody.remove(by_request.file_id)
    await sql(place, "update artifacts set created_at = now() - interval '9 days' where file_id = %s", by_age.file_id)
    await expire(place, by_time)
    rules = {by_age.file_id: "older_than", by_time.file_id: "expired", by_request.file_id: "request"}
    for policy in (RetentionPolicy(older_than=DAY), RetentionPolicy()):  # the run that removes them, and a later one
        report = await run(place, policy=policy)
        assert {one.file_id: one.file and one.file.rule for one in report.failed} == rules
        shown = {one["rule"]: one["reason"] for one in report.view()["failed"]}
        assert shown == {rule: REASONS[rule] for rule in rules.values()}


async def test_what_failed_before_counts_in_runs_of_all_kinds_alone(place: Place) -> None:
    files = await stored(place, 4)
    await expire(place, *files)
    path = put_folder_in_place(place, files[0])
    found = [await run(place, policy=RetentionPolicy(kinds=kinds)) for kinds in (["upload"], ["upload"], ["export"])]
    assert [(one.failed_files, one.failed_again, one.failed_share) for one in found] == [
        (1, 0, 0.25), (1, 1, 0.0), (1, 1, 0.0),
    ]  # fmt: skip
    assert not any(one.is_complete for one in found), "it is named by each of them"
    nightly = await run(place)
    assert (nightly.failed_files, nightly.failed_again, nightly.failed_share) == (1, 1, 1.0)
    path.rmdir()
    assert (await run(place)).failed_share == 0.0


async def test_a_leftover_whose_row_names_no_place_for_bytes_is_finished_with_a_warning(anywhere: Place) -> None:
    (artifact,) = await stored(anywhere, 1)
    await name_place(anywhere, artifact, "../x")
    await sql(anywhere, "update artifacts set state = 'deleting'")
    report = await run(anywhere)
    assert (report.finished, report.failed_files, report.is_complete) == (1, 0, True)
    (warning,) = report.view()["warnings"]
    assert warning["file_id"] == str(artifact.file_id) and warning["warning"].startswith("location='../x': ")
    assert (await run(anywhere)).warnings == [], "once"


async def test_the_next_run_finishes_what_an_outage_has_left(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    files = await stored(place, 3)
    await expire(place, *files)

    def away(paths: Sequence[str]) -> dict[str, str]:
        raise StorageUnavailable("the storage is away")

    with monkeypatch.context() as outage:
        outage.setattr(place.backend, "delete_many", away)
        with pytest.raises(StorageUnavailable):
            await run(place)
    report = await run(place)
    assert (report.finished, report.plan.files, report.is_complete) == (3, 0, True)
    assert place.nothing_lies_in_the_storage()
    assert await place.states() == {"deleted": 3}
    assert len(await announced(place)) == 3


async def test_a_run_leaves_what_another_one_works_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    files = await stored(place, 3)
    await expire(place, *files)
    loop, started, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    delete_many = place.backend.delete_many

    def slow(paths: Sequence[str]) -> dict[str, str]:
        loop.call_soon_threadsafe(started.set)
        go_on.wait()
        return delete_many(paths)

    monkeypatch.setattr(place.backend, "delete_many", slow)
    working = asyncio.create_task(run(place))
    await started.wait()
    monkeypatch.setattr(place.backend, "delete_many", delete_many)
    other = await run(place)
    assert (other.removed_files, other.finished, other.failed_files) == (0, 0, 0)
    go_on.set()
    assert ((report := await working).removed_files, ids(report.removed)) == (3, ids(files))


async def test_of_many_workers_one_gets_a_batch(place: Place) -> None:
    await expire(place, *await stored(place, 1))

    async def claim(plan_id: UUID, claimed_by: int) -> bool:
        async with place.catalog.connection() as connection:
            return await claim_batch(connection, plan_id, claimed_by) is not None

    for _ in range(10):
        plan = await make_plan(place.catalog, RetentionPolicy())
        async with claimant(place.catalog) as claimed_by:
            claims = await asyncio.gather(*(claim(plan.plan_id, claimed_by) for _ in range(6)))
        assert sum(claims) == 1


async def test_an_interrupted_run_is_not_continued_by_the_next_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored(place, 3)
    await sql(place, "update artifacts set created_at = now() - interval '9 days'")
    dry = await run(place, policy=RetentionPolicy(older_than=DAY), dry_run=True)
    loop, started, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def hangs(paths: Sequence[str]) -> dict[str, str]:
        loop.call_soon_threadsafe(started.set)
        go_on.wait()
        raise StorageUnavailable("too late")

    with monkeypatch.context() as hanging:
        hanging.setattr(place.backend, "delete_many", hangs)
        running = asyncio.create_task(run(place, plan_id=dry.plan.plan_id))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        go_on.set()
    async with place.catalog.connection() as connection:
        assert (await get_plan(connection, dry.plan.plan_id)).state == "abandoned"
    report = await run(place)
    assert (report.finished, report.removed_files) == (3, 0), "what is unreadable already is finished"
    assert place.nothing_lies_in_the_storage()


async def test_past_the_cap_a_run_stops_and_says_what_lifts_it(place: Place) -> None:
    files = await stored(place, 5)
    await expire(place, *files)
    report = await run(place, policy=RetentionPolicy(max_files=2))
    assert (report.removed_files, report.plan.over_cap, report.is_complete) == (2, 3, False)
    assert report.lifted_by == "--max-files 5"
    assert [one.rule for one in report.kept] == ["over_cap"] * 3
    assert report.kept_files == 3
    again = await run(place, policy=RetentionPolicy(max_files=3))
    assert (again.removed_files, again.lifted_by, again.is_complete) == (3, None, True)


async def test_documents_without_a_file_leave_the_search_index(place: Place) -> None:
    one, two = await stored(place, 2)
    await sql(place, f"{_OF_DOCUMENT.format(1)} where file_id = %s", one.file_id)
    await sql(place, f"{_OF_DOCUMENT.format(2)} where file_id = %s", two.file_id)
    await index(place, "123")
    await expire(place, one)
    await run(place, policy=RetentionPolicy(search_index="keep"), dry_run=True)
    await run(place)
    assert await indexed(place) == "23", "not what was ingested elsewhere"


async def test_a_document_leaves_the_search_index_with_the_last_file_that_is_deleted_by_request(place: Place) -> None:
    upload, output, kept = await stored(place, 3)
    await sql(place, _OF_DOCUMENT.format(1))
    await sql(place, f"{_OF_DOCUMENT.format(2)} where file_id = %s", kept.file_id)
    await index(place, "12")
    await delete_file(place.custody, upload.file_id, by=BY)
    assert await indexed(place) == "12"
    await delete_file(place.custody, output.file_id, by=BY)
    assert await indexed(place) == "2"
    place.custody.keeps_index = True
    await delete_file(place.custody, kept.file_id, by=BY)
    assert await indexed(place) == "2", "the policy keeps it"


async def index(place: Place, digits: str) -> None:
    """Put a document into the search index for each digit, whose sha256 is that digit 64 times."""
    for digit in digits:
        await sql(
            place,
            "insert into indexed_documents (sha256, title, source, media_type, language, created, summary,"
            " embedding_model, stage_key, stemmer)"
            " values (repeat(%s, 64), '', '', '', 'en', '', '', '', '', 'simple')",
            digit,
        )


async def indexed(place: Place) -> str:
    async with place.catalog.connection() as connection:
        cursor = await connection.execute(b"select left(sha256, 1) as digit from indexed_documents order by 1")
        return "".join(row["digit"] for row in await cursor.fetchall())


async def test_two_runs_at_the_same_time_announce_each_file_once(anywhere: Place) -> None:
    files = await stored(anywhere, 20)
    await expire(anywhere, *files)
    one, other = await asyncio.gather(run(anywhere), run(anywhere))
    assert not (ids(one.removed) & ids(other.removed))
    assert ids(one.removed) | ids(other.removed) == ids(files)
    assert sum(report.removed_files + report.finished for report in (one, other)) == 20
    assert one.is_complete and other.is_complete
    assert await announced(anywhere) == sorted(str(one.file_id) for one in files)
    assert anywhere.blobs() == []
    with pytest.raises(ArtifactGone):
        await anywhere.custody.get(files[0].file_id)


def test_given_rules_win_over_the_settings_and_sources_add_to_theirs() -> None:
    settings = Settings(retention={"keep_newest": 2, "sources": {"a*": "9d"}})
    policy = retention_policy(settings, {"keep_newest": 1, "sources": {"b*": DAY}})
    assert policy.keep_newest == 1
    assert policy.sources == {"a*": 9 * DAY, "b*": DAY}


def test_a_run_of_some_kinds_takes_no_young_files_for_the_budget_of_all() -> None:
    settings = Settings(retention={"max_stored_bytes": 10})
    assert retention_policy(settings, {}).max_stored_bytes == 10
    assert retention_policy(settings, {"kinds": ["transfer"]}).max_stored_bytes is None
    assert retention_policy(settings, {"kinds": ["transfer"], "max_stored_bytes": 5}).max_stored_bytes == 5
