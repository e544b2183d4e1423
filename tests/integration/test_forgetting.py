"""Forgetting on real servers: what keeps a document, what goes with it, what stays, and processes that are killed."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.states import Running

from blocks.access import Actor
from blocks.catalog import Artifact, Draft
from blocks.catalog.keeping import hold
from blocks.custody import Custody
from blocks.errors import ArtifactHeld, ArtifactPinned, DocumentInUse, DocumentNotFound, InvalidOptions
from blocks.forgetting import Certificate, Forgetter, find_documents, prefect_history
from blocks.forgetting.prefect_database import find_database
from blocks.open_custody import open_custody
from blocks.runs.catalogue_id import CATALOGUE_LABEL
from blocks.settings import Settings
from blocks.transfers import create_transfer
from blocks.transfers.prepare import new_upload
from flows.forget import forget_document
from tests.fault import killed_command
from tests.fault.kill_forgetting import DOCUMENT, MODULE, POINTS
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import new_run, process
from tests.marked_places import marked_columns, marked_files
from tests.stack_driver import prefect_variables

BY = Actor(actor="cli:test")


@pytest.fixture(autouse=True)
def named_server(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Prefect server is named in the environment, as everywhere outside of these tests."""
    for name, value in prefect_variables(prefect_server).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def custody(settings: Settings) -> AsyncIterator[Custody]:
    async with open_custody(settings) as opened:
        yield opened


@pytest.fixture
def forgetter(custody: Custody, settings: Settings) -> Forgetter:
    return Forgetter(custody=custody, settings=settings, by=BY)


@pytest.fixture
def mark() -> str:
    """A word that is in no other test: the Prefect server has runs of all of them."""
    return f"Markqz{secrets.token_hex(5)}"


async def documents(custody: Custody, text: str) -> list[str]:
    async with custody.catalog.connection() as connection:
        return await find_documents(connection, text)


async def forget(forgetter: Forgetter, text: object, *, force: bool = False) -> Certificate:
    (sha256,) = await documents(forgetter.custody, str(text))
    return await forgetter.forget(sha256, force=force)


async def files(custody: Custody) -> list[Artifact]:
    async with custody.catalog.connection() as connection:
        return (await custody.catalog.list_artifacts(connection)).artifacts


async def prefect_database(workspace: Workspace, client: PrefectClient) -> str:
    flows = [flow.id for flow in await client.read_flows(limit=5)]
    found = await find_database(workspace.database_url, workspace.home, flows)
    assert found is not None
    return found


# What keeps it --------------------------------------------------------------------------------------------------------


async def test_a_pin_asks_and_a_legal_hold_refuses(
    workspace: Workspace, custody: Custody, forgetter: Forgetter, mark: str
) -> None:
    path = workspace.write(f"{mark}.md", mark)
    await process(path)
    first, second = await files(custody)
    async with custody.catalog.transaction() as connection:
        await custody.catalog.pin(connection, first.file_id)
    with pytest.raises(ArtifactPinned, match=str(first.file_id)):
        await forget(forgetter, path)
    async with custody.catalog.transaction() as connection:
        await hold(connection, second.file_id)
    for force in (False, True):
        with pytest.raises(ArtifactHeld, match="waybill files release"):
            await forget(forgetter, path, force=force)
    assert len(await files(custody)) == 2
    async with custody.catalog.transaction() as connection:
        await connection.execute("update artifacts set held_at = null, hold_note = null")
    await forget(forgetter, path, force=True)
    assert await files(custody) == []


async def test_a_run_under_way_is_waited_for(
    workspace: Workspace, custody: Custody, client: PrefectClient, forgetter: Forgetter, mark: str
) -> None:
    path = workspace.write(f"{mark}.md", mark)
    await process(path)
    run = await new_run(client, Running(), sources=[str(path)])
    (sha256,) = await documents(custody, str(path))
    assert str(run.id) in str((await forgetter.look(sha256)).refused)
    with pytest.raises(DocumentInUse, match=str(run.id)):
        await forget(forgetter, path)
    await client.delete_flow_run(run.id)
    async with custody.catalog.connection() as connection:
        await connection.execute("update artifacts set state = 'pending' where kind = 'upload'")
    with pytest.raises(DocumentInUse, match="being stored"):
        await forgetter.forget(sha256)


async def test_what_is_being_stored_of_a_document_or_made_from_it_is_waited_for(
    workspace: Workspace, custody: Custody, forgetter: Forgetter, mark: str
) -> None:
    path = workspace.write(f"{mark}.md", mark)
    await process(path)
    (sha256,) = await documents(custody, str(path))
    (output,) = [file for file in await files(custody) if file.stage]
    for content, why in ((sha256, "the document is being stored"), (output.sha256, "made from it is being stored")):
        draft = Draft(
            kind="upload", filename=path.name, source_file=str(path), document_sha256=content, media_type="text/plain",
            keep_for=timedelta(days=1),
        )  # fmt: skip
        reservations = await custody.reserve([draft])
        seen = await forgetter.look(sha256)
        assert why in str(seen.refused)
        assert seen.known.sources == [str(path)]
        with pytest.raises(DocumentInUse, match=why):
            await forgetter.forget(sha256)
        await custody.release(reservations)
    await forgetter.forget(sha256)


async def test_several_contents_of_a_source_are_several_documents(
    workspace: Workspace, custody: Custody, forgetter: Forgetter, mark: str
) -> None:
    from blocks.forgetting import forget_named

    path = workspace.write(f"{mark}.md", f"{mark} first")
    await process(path)
    workspace.write(f"{mark}.md", f"{mark} second")
    await process(path)
    found = await documents(custody, f"{mark}.md")
    assert len(found) == 2
    with pytest.raises(InvalidOptions, match=f"{found[0]}, {found[1]}"):
        await forget_named(forgetter, str(path), force=False, dry_run=False)
    assert await documents(custody, found[0][:10]) == [found[0]]
    foreseen = await forget_named(forgetter, str(path), force=False, dry_run=True)
    assert [len(one["files"]) for one in foreseen] == [2, 2]
    await forgetter.forget(found[0])
    assert await documents(custody, str(path)) == [found[1]]
    with pytest.raises(DocumentNotFound, match="it was forgotten on"):
        await documents(custody, found[0])
    await forget_named(forgetter, str(path), force=True, dry_run=False)
    assert await files(custody) == []


# What goes with it ----------------------------------------------------------------------------------------------------


async def test_a_content_goes_under_all_its_names_with_what_was_made_from_its_outputs(
    workspace: Workspace, custody: Custody, forgetter: Forgetter, client: PrefectClient, mark: str
) -> None:
    one, two = workspace.write(f"{mark} one.md", mark), workspace.write(f"{mark} two.md", mark)
    stays = workspace.write("stays.md", "something else")
    await process(one, stays)
    await process(two)
    (output,) = [file for file in await files(custody) if file.stage and file.source_file == str(one)]
    await process(f"waybill:{output.file_id}")
    certificate = await forget(forgetter, two)
    assert {file.source_file for file in await files(custody)} == {str(stays)}
    assert marked_columns(workspace.database_url, [mark]) == set()
    assert marked_columns(await prefect_database(workspace, client), [mark]) == set()
    assert marked_files(workspace.home, [mark]) == set()
    assert certificate.left == {}


async def test_its_transfers_end_and_exports_are_named(
    workspace: Workspace, custody: Custody, forgetter: Forgetter, mark: str
) -> None:
    path = workspace.write(f"{mark}.md", mark)
    await process(path)
    upload = next(file for file in await files(custody) if file.kind == "upload")
    async with custody.catalog.transaction() as connection:
        given = await create_transfer(
            connection, new_upload(filename="x", requested_by="test", lasts=timedelta(hours=1))
        )
        await connection.execute(
            "update transfers set direction = 'download', size = 1, file_id = %s, filename = %s where transfer_id = %s",
            [upload.file_id, upload.filename, given.transfer_id],
        )
        await connection.execute(
            "insert into export_jobs (job_id, export_type, format, state, keep_for, filename, size, sha256, "
            "requested_by, ended_at, expires_at) values ('exp_0123456789abcdef', 'documents', 'csv', 'completed', "
            "'1 day', 'x.csv', 1, repeat('0', 64), 'test', now(), now() + interval '1 day')"
        )
    certificate = await forget(forgetter, path)
    assert certificate.exports == ["exp_0123456789abcdef"]
    with psycopg.connect(workspace.database_url) as connection:
        found = connection.execute("select state, filename, header from transfers").fetchone()
    assert found == ("cancelled", f"forgotten document ({certificate.sha256[:8]})", None)


# What stays -----------------------------------------------------------------------------------------------------------


async def test_a_name_of_another_document_stays_with_that(
    workspace: Workspace, custody: Custody, forgetter: Forgetter, client: PrefectClient, mark: str
) -> None:
    for folder in ("a", "b"):
        (workspace.documents / folder).mkdir()
    ours, theirs = workspace.documents / "a" / f"{mark}.md", workspace.documents / "b" / f"{mark}.md"
    ours.write_text("ours")
    theirs.write_text("theirs")
    our_run, their_run = await process(ours), await process(theirs)
    certificate = await forget(forgetter, ours)
    assert (await client.read_flow_run(our_run)).name == f"forgotten document ({certificate.sha256[:8]})"
    assert (await client.read_flow_run(their_run)).name == f"{mark}.md"
    assert {file.filename for file in await files(custody)} == {f"{mark}.md", f"{mark}.hostile.txt"}
    events = {
        row[0] for row in _rows(workspace, "select source_file from webhook_events where task_id = %s", their_run)
    }
    assert str(theirs) in events


async def test_a_document_that_is_called_like_a_state_or_like_a_part_of_another_name_leaves_others_alone(
    workspace: Workspace, forgetter: Forgetter, client: PrefectClient, mark: str
) -> None:
    state, part, longer = (workspace.documents / name for name in ("completed", f"{mark}.md", f"annual {mark}.md"))
    for path in (state, part, longer):
        path.write_text(f"{path.name}: its own text")
    their_run = await process(longer)
    before, events_before = await client.read_flow_run(their_run), _events(workspace, their_run)
    await process(state, part)
    for path in (state, part):
        certificate = await forget(forgetter, path)
        assert not certificate.left
    after = await client.read_flow_run(their_run)
    assert (after.name, after.state_name, after.parameters) == (before.name, "Completed", before.parameters)
    assert _events(workspace, their_run) == events_before


def _events(workspace: Workspace, run_id: UUID) -> list[Any]:
    return _rows(workspace, "select source_file, body from webhook_events where task_id = %s order by event_id", run_id)


async def test_runs_of_another_catalogue_keep_the_name(
    workspace: Workspace, forgetter: Forgetter, client: PrefectClient, mark: str
) -> None:
    path = workspace.write(f"{mark}.md", mark)
    await process(path)
    foreign = await new_run(client, Running(), sources=[str(path)])
    await client.update_flow_run_labels(foreign.id, {CATALOGUE_LABEL: "0123456789abcdef"})
    certificate = await forget(forgetter, path)
    assert (await client.read_flow_run(foreign.id)).parameters["sources"] == [str(path)]
    assert certificate.left == {}


# Prefect --------------------------------------------------------------------------------------------------------------


async def test_a_server_whose_database_is_elsewhere_loses_the_runs(
    workspace: Workspace, forgetter: Forgetter, client: PrefectClient, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workspace.write(f"{mark}.md", mark)
    run_id = await process(path)

    async def nowhere(*_: Any) -> None:
        return None

    monkeypatch.setattr(prefect_history, "find_database", nowhere)
    certificate = await forget(forgetter, path)
    assert certificate.prefect_by == "its API" and certificate.prefect["flow_run"] == 1
    assert any("events of the Prefect server" in one for one in certificate.not_reached)
    assert run_id not in {run.id for run in await client.read_flow_runs()}


async def test_a_run_that_forgets_loses_the_name_from_its_own_parameters(
    workspace: Workspace, custody: Custody, client: PrefectClient, mark: str
) -> None:
    path = workspace.write(f"{mark}.md", mark)
    await process(path)
    state = await cast("Awaitable[State[Any]]", forget_document(document=str(path), return_state=True))
    assert state.is_completed() and await files(custody) == []
    run = await client.read_flow_run(UUID(str(state.state_details.flow_run_id)))
    assert str(run.parameters["document"]).startswith("forgotten document (")
    assert (run.name, state.message) == ("forget a document", "1 document forgotten")
    assert marked_columns(await prefect_database(workspace, client), [mark]) == set()


# Killed ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", POINTS)
async def test_the_same_command_goes_on_after_a_kill(
    point: str, workspace: Workspace, custody: Custody, client: PrefectClient, mark: str
) -> None:
    path = workspace.write(f"{mark}.md", f"# {mark}")
    await process(path, workspace.write("stays.md", "something else"))
    environment = {DOCUMENT: str(path)}
    killed_command.kill_at(MODULE, point, environment)
    assert not [file for file in await files(custody) if mark in file.source_file], "unreadable since the first step"
    (certificate,) = json.loads(killed_command.finish(MODULE, environment))["documents"]
    assert certificate["left"] == {} and certificate["removed"]["files"] == 2
    assert marked_columns(workspace.database_url, [mark]) == set()
    assert marked_columns(await prefect_database(workspace, client), [mark]) == set()
    assert marked_files(workspace.home, [mark]) == set()
    assert _rows(workspace, "select count(*) from webhook_events where event_type = 'document_forgotten'") == [(1,)]
    assert _rows(workspace, "select count(*) from audit_log where action = 'forget'") == [(1,)]


def _rows(workspace: Workspace, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(workspace.database_url) as connection:
        return connection.execute(cast("Any", statement), values).fetchall()
