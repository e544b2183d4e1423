"""Intake of the documents of a shard: few statements for many, and each passes or fails by itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from blocks.catalog import Catalog, Draft, Reservation
from blocks.custody import Custody
from blocks.custody.sealing import Filled, KeepOrder, Sealing, fill_whole
from blocks.errors import CatalogRefused
from flows.process import process_documents
from tasks import intake
from tasks.examination import Examined, examine
from tests import stored
from tests.integration.conftest import Workspace


async def process(*sources: object, **more: Any) -> dict[str, Any]:
    """Run the light stage on *sources*; the run's report."""
    run = process_documents(sources=[str(one) for one in sources], stages=[6], return_state=True, **more)
    state = await cast("Any", run)
    return await state.aresult(raise_on_failure=False)


def uploads(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["source"].rpartition("/")[2]: one["artifacts"][0] for one in report["documents"] if one["artifacts"]}


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What intake asks the catalogue, and for how many documents at once."""
    seen: list[tuple[str, int]] = []
    find, reserve, use = Catalog.find_uploads, Custody.reserve, Catalog.record_uses

    async def find_uploads(self: Catalog, connection: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        seen.append(("find", len(pairs)))
        return await find(self, connection, pairs)

    async def reserve_all(self: Custody, drafts: Sequence[Draft]) -> list[Reservation]:
        if drafts[0].kind == "upload":
            seen.append(("reserve", len(drafts)))
        return await reserve(self, drafts)

    async def record_uses(self: Catalog, connection: Any, **values: Any) -> None:
        seen.append(("use", len(values["uses"])))
        await use(self, connection, **values)

    monkeypatch.setattr(Catalog, "find_uploads", find_uploads)
    monkeypatch.setattr(Custody, "reserve", reserve_all)
    monkeypatch.setattr(Catalog, "record_uses", record_uses)
    return seen


async def test_a_shard_costs_the_catalogue_one_statement_of_a_kind(
    workspace: Workspace, statements: list[tuple[str, int]]
) -> None:
    for number in range(20):  # two shards
        workspace.write(f"{number:02}.txt", f"text {number}")
    report = await process(workspace.documents)
    assert report["state"] == "completed"
    assert sorted(statements) == [("find", 10), ("find", 10), ("reserve", 10), ("reserve", 10)]
    statements.clear()
    again = await process(workspace.documents)
    assert {one["reused"] for one in uploads(again).values()} == {True}
    assert sorted(statements) == [("find", 10), ("find", 10), *[("use", 10)] * 4]


async def test_files_in_custody_are_found_together_and_a_missing_one_fails_alone(workspace: Workspace) -> None:
    for number in range(20):
        workspace.write(f"{number:02}.txt", f"text {number}")
    ids = [one["file_id"] for one in uploads(await process(workspace.documents)).values()]
    missing = "00000000-0000-4000-8000-000000000000"
    report = await process(*(f"waybill:{file_id}" for file_id in [*ids, missing]))
    failed = [one for one in report["documents"] if one["state"] == "failed"]
    assert [(one["source"], one["error_type"]) for one in failed] == [(f"waybill:{missing}", "ArtifactNotFound")]
    assert len(report["documents"]) == 21
    assert all(artifact["reused"] for one in report["documents"] for artifact in one["artifacts"])


async def test_one_that_the_catalogue_refuses_does_not_keep_the_others_of_its_shard_out(workspace: Workspace) -> None:
    for number in range(18):
        workspace.write(f"{number:02}.txt", f"text {number}")
    odd = os.path.join(os.fsencode(workspace.documents), b"no\xffname.txt")  # noqa: PTH118 - bytes
    descriptor = os.open(odd, os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"text")
    os.close(descriptor)
    report = await process(workspace.documents)
    states = sorted(one["state"] for one in report["documents"])
    assert len(states) == 19
    assert states.count("completed") >= 18


@pytest.mark.parametrize(
    ("error", "stored_files"),
    [(CatalogRefused("not this one"), 17), (RuntimeError("a fault of our own"), 9)],
    ids=["refused", "unexpected"],
)
async def test_a_small_file_that_cannot_be_stored_leaves_neither_row_nor_bytes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, error: Exception, stored_files: int
) -> None:
    """Its own error fails it alone. An unexpected one fails those of its shard, also what is written of them."""
    for number in range(17):
        workspace.write(f"{number:02}.txt", f"text {number}")
    workspace.write("bad.txt", "bad")

    def fill(sealing: Sealing, order: KeepOrder, content: bytes) -> Filled:
        filled = fill_whole(sealing, order, content)
        if content == b"bad":
            raise error
        return filled

    monkeypatch.setattr(intake, "fill_whole", fill)
    report = await process(workspace.documents)
    assert sum(one["state"] == "completed" for one in report["documents"]) == stored_files
    with psycopg.connect(workspace.database_url) as connection:
        kept = connection.execute("select state, count(*) from artifacts where kind = 'upload' group by 1").fetchall()
    assert kept == [("available", stored_files)]
    assert len(stored.blobs(workspace.home, "uploads")) == stored_files


@pytest.mark.parametrize("size", [10, 2 * 2**20], ids=["small", "large"])
async def test_what_is_stored_is_what_was_examined(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = workspace.write("moving.txt", "a" * size)
    monkeypatch.setattr("tasks.stage_tasks.take_custody.retry_delay_seconds", [0.01])

    def examine_and_change(path: Path, *arguments: Any, **more: Any) -> Examined:
        found = examine(path, *arguments, **more)
        path.write_text("b" * size)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(intake, "examine", examine_and_change)
        report = await process(path)
    (document,) = report["documents"]
    letter = "a" if size == 10 else "b"  # the large one was read again by a retry
    assert document["sha256"] == hashlib.sha256(letter.encode() * size).hexdigest()
    assert document["artifacts"][0]["sha256"] == document["sha256"]
    assert document["state"] == "completed"
