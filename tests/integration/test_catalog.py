"""The catalogue on a real Postgres: what is listed, what is hidden, and that lists come from indexes."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import string
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from blocks.catalog import (
    KINDS,
    Artifact,
    Catalog,
    Connection,
    Draft,
    Kind,
    Reservation,
    StageMark,
    queries,
    sweeping,
)
from blocks.catalog.ingestion_counts import INGESTOR
from blocks.catalog.maintenance import restore
from blocks.errors import ArtifactNotFound, CatalogRefused, CatalogUnavailable, InvalidOptions, InvalidSettings
from blocks.postgres import pool as pool_module
from tests.stack_driver import PATIENCE_SECONDS

DAY = timedelta(days=1)
# Fixed, so that a test has the same name in every process.
FILE_ID = "24a95703-f852-422f-a412-bec4b340ddb3"


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


def sha(text: str) -> str:
    return text.encode().hex().ljust(64, "0")[:64]


def draft(
    source: str = "/docs/report.pdf",
    *,
    document: str = "content",
    stage: int | None = None,
    kind: Kind = "upload",
    keep_for: timedelta = DAY,
    **more: Any,
) -> Draft:
    mark = None if stage is None else StageMark(number=stage, name=f"stage-{stage}", key=sha(f"{document} {stage}"))
    values: dict[str, Any] = {"filename": source.rsplit("/", 1)[-1], "media_type": "text/plain"} | more
    return Draft(
        kind="stage_output" if stage else kind,
        source_file=source,
        document_sha256=sha(document),
        keep_for=keep_for,
        stage=mark,
        **values,
    )


async def announce(catalog: Catalog, wanted: Draft) -> UUID:
    """A `pending` row."""
    file_id = uuid4()
    async with catalog.transaction() as connection:
        await catalog.reserve(connection, [Reservation(file_id=file_id, location=f"x/{file_id.hex}", draft=wanted)])
    return file_id


async def fill(catalog: Catalog, connection: Connection, file_id: UUID, wanted: Draft, *, size: int = 10) -> Artifact:
    """Turn a `pending` row into what custody would have made of it."""
    now = await catalog.now()
    artifact = Artifact(
        file_id=file_id,
        kind=wanted.kind,
        filename=wanted.filename,
        source_file=wanted.source_file,
        document_sha256=wanted.document_sha256,
        stage=wanted.stage.number if wanted.stage else None,
        stage_name=wanted.stage.name if wanted.stage else None,
        stage_key=wanted.stage.key if wanted.stage else None,
        run_id=wanted.run_id,
        media_type=wanted.media_type,
        size=size,
        sha256=wanted.document_sha256,
        stored_size=size + 200,
        stored_sha256=sha(f"stored {file_id}"),
        location=f"x/{file_id.hex}",
        metadata=wanted.metadata,
        report=wanted.report,
        created_at=now,
        expires_at=now + wanted.keep_for,
        encrypted_for="age1recipient",
        header_sha256=sha(f"header {file_id}"),
    )
    made = await catalog.make_available(connection, artifact)
    assert made == replace(artifact, metadata=made.metadata, report=made.report)
    return made


async def store(catalog: Catalog, wanted: Draft, *, size: int = 10) -> Artifact:
    """An available artifact, as custody would make it, without the bytes."""
    file_id = await announce(catalog, wanted)
    async with catalog.transaction() as connection:
        artifact = await fill(catalog, connection, file_id, wanted, size=size)
        if wanted.run_id:
            uses = [(artifact.file_id, wanted.source_file)]
            await catalog.record_uses(connection, run_id=wanted.run_id, uses=uses, reused=False)
    return artifact


async def listed(catalog: Catalog, **filters: Any) -> list[UUID]:
    async with catalog.transaction() as connection:
        page = await catalog.list_artifacts(connection, **filters)
    assert page.next is None
    return [artifact.file_id for artifact in page.artifacts]


async def execute(catalog: Catalog, statement: str, *values: object) -> None:
    async with catalog.transaction() as connection:
        await connection.execute(statement.encode(), values)


# From pending to deleted ----------------------------------------------------------------------------------------------


async def test_a_pending_file_is_seen_by_nobody(catalog: Catalog) -> None:
    file_id = await announce(catalog, draft(run_id=uuid4()))
    async with catalog.transaction() as connection:
        with pytest.raises(ArtifactNotFound):
            await catalog.get(connection, file_id)
        with pytest.raises(ArtifactNotFound):
            await catalog.begin_deletion(connection, file_id)
        assert await catalog.lock_state(connection, file_id) == "pending"
    assert await listed(catalog) == []


async def test_an_available_file_is_what_was_announced_and_measured(catalog: Catalog) -> None:
    wanted = draft(stage=3, metadata={"title": "T", "pages": 3}, report={"seconds": 0.5}, run_id=uuid4())
    stored = await store(catalog, wanted, size=77)
    async with catalog.transaction() as connection:
        artifact = await catalog.get(connection, stored.file_id)
    assert artifact == stored
    assert artifact.stage_key == wanted.stage.key if wanted.stage else None
    assert (artifact.size, artifact.metadata, artifact.report) == (77, {"title": "T", "pages": 3}, {"seconds": 0.5})
    assert artifact.expires_at - artifact.created_at < DAY + timedelta(seconds=5)
    assert artifact.expires_at - artifact.created_at > DAY - timedelta(seconds=5)


async def test_expiry_counts_from_when_the_file_became_available(catalog: Catalog) -> None:
    file_id = await announce(catalog, draft(keep_for=timedelta(seconds=1)))
    await execute(catalog, "update artifacts set expires_at = now() - interval '1 day', created_at = now()")
    async with catalog.transaction() as connection:
        artifact = await fill(catalog, connection, file_id, draft())
    assert await listed(catalog) == [artifact.file_id]


async def test_a_row_becomes_available_once_and_only_from_pending(catalog: Catalog) -> None:
    artifact = await store(catalog, draft())
    for file_id in (artifact.file_id, uuid4()):
        with pytest.raises(ArtifactNotFound, match="no longer pending"):
            async with catalog.transaction() as connection:
                await fill(catalog, connection, file_id, draft())


async def test_forgetting_takes_pending_rows_only(catalog: Catalog) -> None:
    pending, artifact = await announce(catalog, draft()), await store(catalog, draft())
    async with catalog.transaction() as connection:
        await catalog.forget_pending(connection, pending)
        await catalog.forget_pending(connection, artifact.file_id)
        assert await catalog.lock_state(connection, pending) is None
        assert await catalog.lock_state(connection, artifact.file_id) == "available"


async def test_a_tombstone_hides_the_file_at_once_and_can_be_set_again_until_it_is_done(catalog: Catalog) -> None:
    artifact = await store(catalog, draft())
    for _ in range(2):
        async with catalog.transaction() as connection:
            assert (await catalog.begin_deletion(connection, artifact.file_id)).locations == [artifact.location]
    assert await listed(catalog) == []
    for _ in range(2):
        async with catalog.transaction() as connection:
            await catalog.finish_deletion(connection, artifact.file_id)
    async with catalog.transaction() as connection:
        assert await catalog.lock_state(connection, artifact.file_id) == "deleted"
        with pytest.raises(ArtifactNotFound):
            await catalog.begin_deletion(connection, artifact.file_id)


async def test_an_error_rolls_everything_back(catalog: Catalog) -> None:
    with pytest.raises(RuntimeError):
        async with catalog.transaction() as connection:
            await catalog.reserve(connection, [Reservation(file_id=uuid4(), location="x", draft=draft())])
            raise RuntimeError
    async with catalog.transaction() as connection:
        assert (await catalog.statistics(connection))["by_state"] == {}


async def test_the_state_of_a_row_waits_for_whoever_is_changing_it(catalog: Catalog) -> None:
    file_id = await announce(catalog, draft())

    async def look() -> str | None:
        async with catalog.transaction() as connection:
            return await catalog.lock_state(connection, file_id)

    async with catalog.transaction() as connection:
        await fill(catalog, connection, file_id, draft())
        looking = asyncio.create_task(look())
        done, _ = await asyncio.wait([looking], timeout=0.2)
        assert not done
    assert await looking == "available"


async def test_a_row_that_is_held_for_long_is_a_passing_condition(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await announce(catalog, draft())
    monkeypatch.setattr(queries, "LOCK_TIMEOUT", "set local lock_timeout = '100ms'")
    async with catalog.transaction() as connection:
        await catalog.lock_state(connection, file_id)
        with pytest.raises(CatalogUnavailable):
            async with catalog.transaction() as other:
                await catalog.lock_state(other, file_id)


# Lists ----------------------------------------------------------------------------------------------------------------


async def test_a_source_is_known_by_its_path_and_by_its_name(catalog: Catalog) -> None:
    upload = await store(catalog, draft("/docs/report.pdf"))
    output = await store(catalog, draft("/docs/report.pdf", stage=1))
    await store(catalog, draft("/docs/other.pdf", document="other"))
    url = await store(catalog, draft("s3://bucket/a/scan.pdf", document="scan"))
    for source in ("/docs/report.pdf", "report.pdf"):
        assert await listed(catalog, source=source) == [output.file_id, upload.file_id]
    assert await listed(catalog, source="s3://bucket/a/scan.pdf") == [url.file_id]
    assert await listed(catalog, source="scan.pdf") == [url.file_id]
    for source in ("/docs", "docs/report.pdf", "REPORT.PDF", "%", "report.pd_", "", "/docs/report.pdf/"):
        assert await listed(catalog, source=source) == []


async def test_equal_names_in_different_folders_are_told_apart_by_the_path(catalog: Catalog) -> None:
    first = await store(catalog, draft("/a/report.pdf", document="a"))
    second = await store(catalog, draft("/b/report.pdf", document="b"))
    assert await listed(catalog, source="/a/report.pdf") == [first.file_id]
    assert set(await listed(catalog, source="report.pdf")) == {first.file_id, second.file_id}


async def test_outputs_of_the_same_content_belong_to_both_of_its_names(catalog: Catalog) -> None:
    first = await store(catalog, draft("/docs/first.pdf", document="same"))
    output = await store(catalog, draft("/docs/first.pdf", document="same", stage=1))
    second = await store(catalog, draft("/docs/second.pdf", document="same"))
    assert await listed(catalog, source="first.pdf") == [output.file_id, first.file_id]
    assert await listed(catalog, source="/docs/second.pdf") == [second.file_id, output.file_id]


async def test_a_source_whose_content_changed_lists_the_outputs_of_both_contents(catalog: Catalog) -> None:
    ids = [
        (await store(catalog, draft(document=document, stage=stage))).file_id
        for document in ("before", "after")
        for stage in (None, 1)
    ]
    assert await listed(catalog, source="report.pdf") == ids[::-1]
    assert await listed(catalog, source="report.pdf", stage=1) == [ids[3], ids[1]]


async def test_lists_by_stage_kind_and_run_combine(catalog: Catalog) -> None:
    run_id = uuid4()
    upload = await store(catalog, draft(run_id=run_id))
    export = await store(catalog, draft(kind="export", document="export"))
    first = await store(catalog, draft(stage=1, run_id=run_id))
    other = await store(catalog, draft(stage=1, document="other"))
    assert await listed(catalog, stage=1) == [other.file_id, first.file_id]
    assert await listed(catalog, stage=1, run_id=run_id) == [first.file_id]
    assert await listed(catalog, kind="export") == [export.file_id]
    assert await listed(catalog, kind="upload", source="report.pdf") == [upload.file_id]
    assert await listed(catalog, kind="transfer") == []
    assert await listed(catalog, stage=1_000_000) == []
    assert await listed(catalog) == [a.file_id for a in (other, first, export, upload)]


async def test_a_run_lists_what_it_made_and_what_it_reused(catalog: Catalog) -> None:
    maker, reuser = uuid4(), uuid4()
    made = await store(catalog, draft(stage=1, run_id=maker))
    for _ in range(2):  # a retry notes the same again
        async with catalog.transaction() as connection:
            uses = [(made.file_id, "/b/x.pdf"), (made.file_id, "/b/y.pdf"), (made.file_id, "/b/x.pdf")]
            await catalog.record_uses(connection, run_id=reuser, uses=uses, reused=True)
    assert await listed(catalog, run_id=maker) == [made.file_id]
    assert await listed(catalog, run_id=reuser) == [made.file_id]
    assert await listed(catalog, run_id=uuid4()) == []


async def test_expired_files_are_gone_for_every_reader(catalog: Catalog) -> None:
    run_id = uuid4()
    wanted = draft(stage=1, run_id=run_id)
    artifact = await store(catalog, wanted)
    upload = await store(catalog, draft())
    await execute(catalog, "update artifacts set expires_at = clock_timestamp()")
    for filters in ({}, {"source": "report.pdf"}, {"stage": 1}, {"run_id": run_id}, {"kind": "upload"}):
        assert await listed(catalog, **filters) == []
    async with catalog.transaction() as connection:
        with pytest.raises(ArtifactNotFound):
            await catalog.get(connection, artifact.file_id)
        assert await catalog.find_reusable(connection, [artifact.stage_key or ""]) == {}
        assert (await catalog.find_uploads(connection, [(upload.source_file, upload.sha256)])) == {}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_are_complete_and_stable_while_files_are_added(catalog: Catalog, limit: int) -> None:
    expected = [(await store(catalog, draft(document=f"{number}"))).file_id for number in range(14)]
    # As if made in the same instant: only the id tells them apart.
    await execute(catalog, "update artifacts set created_at = %s", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    expected = sorted(expected, reverse=True)
    found: list[UUID] = []
    after: str | None = None
    while True:
        async with catalog.transaction() as connection:
            page = await catalog.list_artifacts(connection, limit=limit, after=after)
        found += [artifact.file_id for artifact in page.artifacts]
        assert len(page.artifacts) <= limit
        after = page.next
        if after is None:
            break
        assert len(page.artifacts) == limit
        await store(catalog, draft(document="added meanwhile"))
    assert found == expected


async def test_a_full_last_page_has_no_next_one(catalog: Catalog) -> None:
    for number in range(4):
        await store(catalog, draft(document=f"{number}"))
    async with catalog.transaction() as connection:
        first = await catalog.list_artifacts(connection, limit=2)
        second = await catalog.list_artifacts(connection, limit=2, after=first.next)
    assert first.next is not None and second.next is None
    assert len(second.artifacts) == 2


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "after",
    [
        "",
        "nonsense",
        "\udcff",
        "é",
        "AAAA====",
        "A" * 100_000,
        cursor(""),
        cursor("2026-01-01T00:00:00+00:00"),
        cursor(f"yesterday {FILE_ID}"),
        cursor("2026-01-01T00:00:00+00:00 not-an-id"),
        cursor(f"2026-01-01T00:00:00 {FILE_ID}"),
        cursor(f"2026-01-01T00:00:00+00:00 {FILE_ID} more"),
        cursor(f"99999-01-01T00:00:00+00:00 {FILE_ID}"),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
async def test_a_cursor_that_waybill_did_not_give_is_refused(catalog: Catalog, after: str) -> None:
    async with catalog.transaction() as connection:
        with pytest.raises(InvalidOptions, match="cursor"):
            await catalog.list_artifacts(connection, after=after)


@pytest.mark.parametrize("created_at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"])
async def test_a_cursor_from_the_ends_of_time_is_answered(catalog: Catalog, created_at: str) -> None:
    artifact = await store(catalog, draft())
    found = await listed(catalog, after=cursor(f"{created_at} {uuid4()}"))
    assert found == ([artifact.file_id] if created_at.startswith("9") else [])


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**9])
async def test_a_page_of_an_impossible_size_is_refused(catalog: Catalog, limit: int) -> None:
    async with catalog.transaction() as connection:
        with pytest.raises(InvalidOptions, match="1 to 1000"):
            await catalog.list_artifacts(connection, limit=limit)


# Reuse ----------------------------------------------------------------------------------------------------------------


async def test_the_newest_output_of_each_key_is_found(catalog: Catalog) -> None:
    await store(catalog, draft(stage=1))
    newest = await store(catalog, draft(stage=1))
    other = await store(catalog, draft(stage=2))
    async with catalog.transaction() as connection:
        keys = [newest.stage_key or "", other.stage_key or ""]
        assert await catalog.find_reusable(connection, [*keys, sha("unknown")]) == {keys[0]: newest, keys[1]: other}
        assert await catalog.find_reusable(connection, []) == {}


async def test_outputs_of_one_run_are_found_apart_from_newer_ones_of_others(catalog: Catalog) -> None:
    run_id = uuid4()
    own = await store(catalog, draft(stage=1, run_id=run_id))
    newer = await store(catalog, draft(stage=1))
    key = own.stage_key or ""
    assert newer.stage_key == key
    async with catalog.transaction() as connection:
        assert await catalog.find_reusable(connection, [key], of_run=run_id) == {key: own}
        assert await catalog.find_reusable(connection, [key], of_run=uuid4()) == {}


@pytest.mark.parametrize(
    "change",
    [
        "expires_at = clock_timestamp() - interval '1 second'",
        "expires_at = clock_timestamp() + interval '59 minutes'",
        "state = 'deleting'",
        "state = 'deleted', deleted_at = clock_timestamp()",
        "state = 'pending'",
    ],
)
async def test_what_is_gone_or_about_to_go_is_not_reused(catalog: Catalog, change: str) -> None:
    older = await store(catalog, draft(stage=1))
    newer = await store(catalog, draft(stage=1))
    upload = await store(catalog, draft())
    statement = f"update artifacts set {change} where file_id = any(%s)"  # noqa: S608 -- a constant of this file
    await execute(catalog, statement, [newer.file_id, upload.file_id])
    async with catalog.transaction() as connection:
        assert await catalog.find_reusable(connection, [older.stage_key or ""]) == {older.stage_key: older}
        assert not await catalog.find_uploads(connection, [(upload.source_file, upload.sha256)])


async def test_an_upload_is_known_again_by_source_and_content(catalog: Catalog) -> None:
    older = await store(catalog, draft("/a/x.pdf"))
    upload = await store(catalog, draft("/a/x.pdf"))
    other = await store(catalog, draft("/a/z.pdf", document="z"))
    await store(catalog, draft("/a/x.pdf", stage=1))
    assert older.sha256 == upload.sha256
    known, also_known = ("/a/x.pdf", upload.sha256), ("/a/z.pdf", other.sha256)
    unknown = [("/a/y.pdf", upload.sha256), ("/a/x.pdf", sha("changed")), ("/a/z.pdf", upload.sha256)]
    async with catalog.transaction() as connection:
        found = await catalog.find_uploads(connection, [known, *unknown, also_known, known])
        assert found == {known: upload, also_known: other}
        assert await catalog.find_uploads(connection, unknown) == {}
        assert await catalog.find_uploads(connection, []) == {}


# Statistics, unfinished rows ------------------------------------------------------------------------------------------


async def test_statistics_count_by_kind_stage_and_state(catalog: Catalog) -> None:
    oldest = await store(catalog, draft(), size=1)
    await store(catalog, draft(stage=1), size=10)
    newest = await store(catalog, draft(stage=2), size=100)
    await announce(catalog, draft(kind="export"))
    async with catalog.transaction() as connection:
        found = await catalog.statistics(connection)
    assert found["total"] == {
        "count": 3,
        "bytes": 111,
        "oldest": oldest.created_at.isoformat(),
        "newest": newest.created_at.isoformat(),
    }
    assert {kind: (group["count"], group["bytes"]) for kind, group in found["by_kind"].items()} == {
        "stage_output": (2, 110),
        "upload": (1, 1),
    }
    assert {stage: group["bytes"] for stage, group in found["by_stage"].items()} == {"1": 10, "2": 100}
    assert found["by_state"] == {"available": 3, "pending": 1}
    json.dumps(found)


async def test_an_empty_catalogue_has_statistics_too(catalog: Catalog) -> None:
    async with catalog.transaction() as connection:
        found = await catalog.statistics(connection)
    assert found["total"] == {"count": 0, "bytes": 0, "oldest": None, "newest": None}


async def test_only_what_a_run_left_between_two_states_is_unfinished(catalog: Catalog) -> None:
    run_id = uuid4()
    pending = await announce(catalog, draft(run_id=run_id))
    deleting = await store(catalog, draft(run_id=run_id))
    deleted = await store(catalog, draft(run_id=run_id))
    await store(catalog, draft(run_id=run_id))
    await announce(catalog, draft(run_id=uuid4()))
    await announce(catalog, draft())
    async with catalog.transaction() as connection:
        for artifact in (deleting, deleted):
            await catalog.begin_deletion(connection, artifact.file_id)
        await catalog.finish_deletion(connection, deleted.file_id)
        found = await catalog.unfinished_of_run(connection, run_id)
    assert {(row.file_id, row.state) for row in found} == {(pending, "pending"), (deleting.file_id, "deleting")}


# What documents and stages may say ------------------------------------------------------------------------------------


async def test_metadata_may_hold_what_postgres_refuses(catalog: Catalog) -> None:
    metadata = {
        "title": "A\x00B",
        "\x00key": ["\x00", {"deep": "x\x00"}],
        "half": "\ud800!",
        "pair": "\ud83d\ude00",
        "mark": "\ufeffx",
        "ratio": float("nan"),
        "most": float("inf"),
        "long": [10**400, -(10**400), 10**300],
        "tuple": (1, None, True),
        "text": "ünï 文",
    }
    artifact = await store(catalog, draft(metadata=metadata, report={"warnings": ["\x00"]}))
    assert artifact.metadata == {
        "title": "AB",
        "key": ["", {"deep": "x"}],
        "half": "\ufffd!",
        "pair": "😀",
        "mark": "\ufeffx",
        "ratio": None,
        "most": None,
        "long": [None, None, 1e300],
        "tuple": [1, None, True],
        "text": "ünï 文",
    }
    assert artifact.report == {"warnings": [""]}
    json.dumps(artifact.metadata_view(), allow_nan=False).encode()


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    "metadata",
    [{"x": {1, 2}}, {"x": b"bytes"}, {"x": object()}, {"x": datetime.now(UTC)}, {"x": "y" * 2**20}, nested(100_000)],
    ids=["set", "bytes", "object", "datetime", "huge", "deep"],
)
async def test_metadata_that_is_not_small_json_is_refused_as_our_error(
    catalog: Catalog, metadata: dict[str, Any]
) -> None:
    for wanted in (draft(metadata=metadata), draft(report=metadata)):
        with pytest.raises(CatalogRefused) as caught:
            await announce(catalog, wanted)
        assert "yyyy" not in str(caught.value)
    assert await listed(catalog) == []


async def test_metadata_of_nearly_a_mebibyte_is_kept(catalog: Catalog) -> None:
    artifact = await store(catalog, draft(metadata={"x": "y" * (2**20 - 20)}))
    assert len(artifact.metadata["x"]) == 2**20 - 20


@pytest.mark.parametrize("field", ["source_file", "filename", "media_type"])
@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
async def test_text_that_postgres_cannot_hold_is_refused_as_our_error(catalog: Catalog, field: str, text: str) -> None:
    wanted = draft(text) if field == "source_file" else draft(**{field: text})
    with pytest.raises(CatalogRefused):
        await announce(catalog, wanted)
    async with catalog.transaction() as connection:
        with pytest.raises(CatalogRefused):
            await catalog.list_artifacts(connection, source=text)


@pytest.mark.parametrize("folder", ["/", "https://host/report.pdf?signature="])
async def test_a_source_may_be_longer_than_an_index_entry(catalog: Catalog, folder: str) -> None:
    rng = random.Random(1)
    sources = ["".join(rng.choices(string.ascii_letters, k=6000)) for _ in range(2)]
    common = "".join(rng.choices("äöü文", k=3000))
    stored = [await store(catalog, draft(f"{folder}{common}{source}", document=source)) for source in sources]
    for artifact in stored:
        assert await listed(catalog, source=artifact.source_file) == [artifact.file_id]
        async with catalog.transaction() as connection:
            pair = (artifact.source_file, artifact.sha256)
            assert await catalog.find_uploads(connection, [pair]) == {pair: artifact}


async def test_the_public_views_are_json_with_the_promised_fields(catalog: Catalog) -> None:
    run_id = uuid4()
    artifact = await store(catalog, draft(stage=3, run_id=run_id, metadata={"a": 1}, report={"seconds": 1.5}))
    assert " ".join(artifact.summary()) == (
        "file_id filename kind stage stage_name size sha256 media_type created_at expires_at"
    )
    assert artifact.listing()["source_file"] == "/docs/report.pdf"
    assert artifact.listing()["run_id"] == str(run_id)
    assert artifact.listing()["metadata"] == {"a": 1}
    assert {"stored_size", "stored_sha256", "document_sha256", "stage_key"} <= artifact.metadata_view().keys()
    assert artifact.report_view()["seconds"] == 1.5
    for view in (artifact.listing(), artifact.metadata_view(), artifact.report_view()):
        assert datetime.fromisoformat(artifact.summary()["created_at"]).tzinfo is not None
        assert json.loads(json.dumps(view)) == view


# The server -----------------------------------------------------------------------------------------------------------


async def test_a_database_that_is_not_there_is_told_by_its_name(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "CONNECT_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(CatalogUnavailable, match='database "no_such_database" does not exist'):
        async with Catalog.open(re.sub("/test_[0-9a-f]+", "/no_such_database", database_url)):
            pass


async def test_a_server_that_does_not_answer_is_a_passing_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "CONNECT_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(CatalogUnavailable):
        async with Catalog.open("postgresql://postgres@/waybill?host=/nowhere/at/all"):
            pass


async def test_a_database_without_the_schema_is_told(empty_database_url: str) -> None:
    async with Catalog.open(empty_database_url) as catalog:
        with pytest.raises(InvalidSettings, match="migrated"):
            await listed(catalog)


async def test_connections_that_end_while_they_are_idle_fail_no_call(catalog: Catalog, database_url: str) -> None:
    async def use(together: asyncio.Barrier | None = None) -> None:
        async with catalog.transaction() as connection:
            await connection.execute("select 1")
            if together is not None:
                await together.wait()  # so that each has a connection of its own

    everyone = pool_module.POOL_CONNECTIONS
    for _ in range(2):
        together = asyncio.Barrier(everyone)
        await asyncio.gather(*(use(together) for _ in range(everyone)))
        with psycopg.connect(database_url) as connection:
            ended = connection.execute(
                "select count(pg_terminate_backend(pid, %s)) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()",
                [int(1000 * PATIENCE_SECONDS)],
            ).fetchone()
        assert ended is not None and ended[0] >= everyone
        await asyncio.gather(*(use() for _ in range(2 * everyone)))


async def test_a_connection_that_is_cut_in_use_is_a_passing_condition(catalog: Catalog) -> None:
    with pytest.raises(CatalogUnavailable):
        async with catalog.transaction() as connection:
            await connection.execute("select pg_terminate_backend(pg_backend_pid())")
    assert await listed(catalog) == []


async def test_counts_of_an_ingestion_are_stored_without_zeros_and_shown_and_exported_with_them(
    catalog: Catalog,
) -> None:
    counts = {"inserted": 3, "updated": 0, "unchanged": 0, "removed": 0}
    metadata = {"rows": {"chunks": counts, "facts": dict.fromkeys(counts, 0)}, "left_out": 0}
    wanted = replace(
        draft(metadata=metadata), kind="stage_output", stage=StageMark(number=5, name=INGESTOR, key=sha("5"))
    )
    artifact = await store(catalog, wanted)
    assert artifact.metadata == metadata
    stored = {"rows": {"chunks": {"inserted": 3}, "facts": {}}, "left_out": 0}
    async with catalog.connection() as connection:
        for _ in range(2):
            for table, expected in (("artifacts", stored), ("waybill_export.artifacts", metadata)):
                statement = f"select metadata from {table}"  # noqa: S608 - one of two
                found = await (await connection.execute(statement.encode())).fetchall()
                assert [row["metadata"] for row in found] == [expected]
            # Its manifest has all of them.
            await connection.execute("delete from artifacts")
            await restore(connection, artifact)
        for row in (metadata, {"rows": 3}, {"rows": {"chunks": 0}}, {"rows": {}}, {}):
            await connection.execute("update artifacts set metadata = %s", [json.dumps(row)])
            (shown,) = await (await connection.execute("select metadata from waybill_export.artifacts")).fetchall()
            assert shown["metadata"] == row == (await catalog.get(connection, artifact.file_id)).metadata


async def test_an_output_of_a_run_is_recorded_once_for_each_source(catalog: Catalog, database_url: str) -> None:
    artifact, run_id = await store(catalog, draft()), uuid4()
    uses = [(artifact.file_id, source) for source in ("/docs/a.pdf", "/docs/b.pdf", "/docs/" + "c" * 4000)]
    async with catalog.connection() as connection:
        for _ in range(2):
            await catalog.record_uses(connection, run_id=run_id, uses=uses, reused=True)
        found = await (await connection.execute("select file_id, source_file from run_outputs")).fetchall()
    assert sorted((row["file_id"], row["source_file"]) for row in found) == sorted(uses)
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(psycopg.errors.UniqueViolation, match="run_outputs_once"),
    ):
        connection.execute("insert into run_outputs select * from run_outputs")


# Plans ----------------------------------------------------------------------------------------------------------------

_MANY = """
    insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, stage, stage_name, stage_key,
                           run_id, media_type, size, sha256, stored_size, stored_sha256, location, created_at,
                           expires_at)
    select gen_random_uuid(), 'available', case when stage = 0 then 'upload' else 'stage_output' end, 'report.md',
           '/docs/' || number || '/report-' || number || '.pdf', decode(lpad(number::text, 64, '0'), 'hex'),
           nullif(stage, 0), case when stage > 0 then 'stage' end,
           case when stage > 0 then decode(lpad(number || 'a' || stage, 64, '0'), 'hex') end,
           lpad((number / 20)::text, 32, '0')::uuid, 'text/markdown', 1, decode(lpad(number::text, 64, '0'), 'hex'), 1,
           decode(lpad(number::text, 64, '0'), 'hex'), number || '/' || stage,
           now() - make_interval(secs => 4000 - number), now() + interval '10 days'
      from generate_series(1, 3334) number, generate_series(0, 5) stage
"""
_TYPES = {
    "source": ("text", "'/docs/77/report-77.pdf'"),
    "stage": ("smallint", "3"),
    "run_id": ("uuid", f"'{7:032}'"),
    "limit": ("bigint", "101"),
    "after_created_at": ("timestamptz", "now() - interval '2000 seconds'"),
    "after_file_id": ("uuid", "gen_random_uuid()"),
    "of_run": ("uuid", "null"),
    "stage_keys": ("text[]", f"'{{{'77a3':0>64}}}'"),
    "sources": ("text[]", "'{/docs/77/report-77.pdf}'"),
    "sha256s": ("text[]", f"'{{{77:064}}}'"),
    "folder": ("text", "'77/3'"),
}


def as_prepared(statement: str) -> str:
    """The statement as psycopg prepares it: numbered parameters of the types that it sends."""
    names = list(_TYPES)
    return re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", statement)


STATEMENTS = {
    "-".join(filters) or "everything": queries.list_statement(
        [{"run": "run_id", "after": "after_file_id"}.get(name, name) for name in filters],
        kind="upload" if "kind" in filters else None,
    )
    for filters in (
        (),
        ("source",),
        ("stage",),
        ("run",),
        ("kind",),
        ("after",),
        ("source", "after"),
        ("stage", "after"),
        ("run", "after"),
        ("kind", "after"),
        ("source", "stage"),
        ("source", "stage", "run", "kind", "after"),
    )
} | {
    **{kind: queries.list_statement([], kind=kind) for kind in KINDS},
    "find-reusable": queries.FIND_REUSABLE,
    "find-uploads": queries.FIND_UPLOADS,
    "files-of-a-folder": sweeping.AVAILABLE_IN,
}


async def test_no_two_files_have_one_path(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_MANY.replace("3334", "2"))
        with pytest.raises(psycopg.errors.ExclusionViolation, match="artifacts_location_key"):
            connection.execute("update artifacts set location = '1/2' where location = '1/1'")
        connection.execute("update artifacts set spare_location = '1/7' where location = '1/1'")
        with pytest.raises(psycopg.errors.UniqueViolation, match="artifacts_spare_location_key"):
            connection.execute("update artifacts set spare_location = '1/7' where location = '2/2'")


# What recovery, forgetting and doctor read of a file that is being stored; and columns with a default.
_OF_PENDING = {"file_id", "state", "filename", "document_sha256", "run_id", "location", "created_at", "expires_at"}
_DEFAULTS = {"metadata": {}, "report": {}, "manifest": "separate"}


async def test_a_pending_row_has_only_what_is_read_of_it_and_the_file_has_all(catalog: Catalog) -> None:
    wanted = draft(stage=1, metadata={"pages": 3}, report={"stage_version": "1"}, run_id=uuid4())
    file_id = await announce(catalog, wanted)
    async with catalog.transaction() as connection:
        found = await connection.execute("select * from artifacts where file_id = %s", [file_id])
        (row,) = await found.fetchall()
        assert {name for name, value in row.items() if value is not None} == _OF_PENDING | _DEFAULTS.keys()
        assert {name: row[name] for name in _DEFAULTS} == _DEFAULTS
        assert (row["filename"], row["document_sha256"].hex(), row["run_id"]) == (
            wanted.filename, wanted.document_sha256, wanted.run_id,
        )  # fmt: skip
        made = await fill(catalog, connection, file_id, wanted)
    assert wanted.columns().items() <= vars(made).items()
    async with catalog.connection() as connection:
        assert await catalog.get(connection, file_id) == made


@pytest.mark.parametrize("name", ["kind", "source_file", "media_type"])
@pytest.mark.parametrize("state", ["available", "deleting", "deleted"])
async def test_only_a_pending_row_may_lack_what_describes_its_file(catalog: Catalog, name: str, state: str) -> None:
    artifact = await store(catalog, draft())
    deleted_at = "now()" if state == "deleted" else "null"
    change = f"update artifacts set state = '{state}', deleted_at = {deleted_at}, {name} = null"  # noqa: S608
    async with catalog.connection() as connection:
        with pytest.raises(psycopg.errors.CheckViolation, match="artifacts_described"):
            await connection.execute(change.encode())
        assert await catalog.get(connection, artifact.file_id) == artifact


async def test_every_list_is_answered_from_an_index(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_MANY)
        connection.execute(
            "insert into run_outputs (run_id, file_id, source_file, reused) "
            "select run_id, file_id, source_file, false from artifacts"
        )
        connection.execute("vacuum analyze")
        types = ", ".join(kind for kind, _ in _TYPES.values())
        values = ", ".join(value for _, value in _TYPES.values())
        for mode in ("force_custom_plan", "force_generic_plan"):
            connection.execute(f"set plan_cache_mode = {mode}".encode())
            for name, statement in STATEMENTS.items():
                connection.execute(f"prepare listing ({types}) as {as_prepared(statement)}".encode())
                explain = f"explain (analyze, buffers) execute listing ({values})"
                explained = connection.execute(explain.encode()).fetchall()
                connection.execute("deallocate listing")
                plan = "\n".join(row[0] for row in explained)
                assert "Seq Scan" not in plan, f"{name}, {mode}:\n{plan}"
                assert "Index" in plan, f"{name}, {mode}:\n{plan}"
                # A page of the list is 101 rows of 20,000. How long it takes depends on what else the machine does.
                assert pages_read(plan) < 500, f"{name}, {mode}:\n{plan}"


@pytest.mark.parametrize("kind", KINDS)
async def test_files_of_each_kind_are_found_by_an_index(database_url: str, kind: Kind) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_MANY)
        connection.execute("update artifacts set kind = 'export' where location in ('7/0', '8/0')")
        connection.execute("update artifacts set kind = 'transfer' where location in ('9/0')")
        connection.execute("vacuum analyze")
        statement = as_prepared(queries.list_statement([], kind=kind)).replace(
            f"${[*_TYPES].index('limit') + 1}", "101"
        )
        plan = "\n".join(row[0] for row in connection.execute(f"explain (analyze, buffers) {statement}".encode()))
    # Outputs of stages, which most files are, are not in the index by kind.
    assert ("artifacts_by_time" if kind == "stage_output" else "artifacts_by_kind") in plan
    assert pages_read(plan) < 500, plan


async def test_a_kind_that_there_is_not_has_no_files(catalog: Catalog) -> None:
    await store(catalog, draft())
    assert await listed(catalog, kind="' or true --") == []


def pages_read(plan: str) -> int:
    """Pages that the whole statement has touched, in memory or on disk, each as often as it was touched."""
    (touched,) = re.findall(r"Buffers: shared (.*)", plan)[:1]
    return sum(int(count) for count in re.findall(r"(?:hit|read)=(\d+)", touched))
