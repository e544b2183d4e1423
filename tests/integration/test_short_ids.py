"""Ids by their first digits, and files by their names, on a real catalogue and a real Prefect server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.states import Running

from blocks.catalog import Catalog, Connection
from blocks.errors import (
    AmbiguousId,
    ArtifactNotFound,
    DeliveryNotFound,
    EndpointNotFound,
    InvalidOptions,
    PlanNotFound,
    RunNotFound,
)
from blocks.runs.ownership import CATALOGUE_LABEL
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import new_run, process
from waybill.services.short_ids import (
    find_delivery,
    find_endpoint,
    find_file,
    find_file_by_name,
    find_plan,
    find_run,
    find_run_with_events,
    find_run_with_files,
    read_digits,
)


@pytest.fixture
async def connection(workspace: Workspace) -> AsyncIterator[Connection]:
    async with Catalog.open(workspace.database_url) as catalog, catalog.connection() as opened:
        yield opened


async def add_file(connection: Connection, file_id: str, *, name: str = "a.md", state: str = "available") -> UUID:
    await connection.execute(
        "insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, media_type, location, "
        "metadata, report, created_at, expires_at, size, sha256, stored_size, stored_sha256, deleted_at) values "
        "(%(id)s::text::uuid, %(state)s, 'upload', %(name)s, '/in/a.pdf', %(hash)s, 'text/markdown', "
        "%(id)s::text, '{}', '{}', now(), "
        "now() + interval '1 day', 1, %(hash)s, 1, %(hash)s, "
        "case %(state)s when 'deleted' then now() end)",
        {"id": file_id, "name": name, "state": state, "hash": bytes(32)},
    )
    return UUID(file_id)


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("0B6F1C3E", "0b6f1c3e"),
        ("0b6f1c3e-7d", "0b6f1c3e7d"),
        ("0b6f1c3e7d524f0e9a552f6f0f5f3c1a", "0b6f1c3e7d524f0e9a552f6f0f5f3c1a"),
        (" 0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a ", "0b6f1c3e7d524f0e9a552f6f0f5f3c1a"),
    ],
)
def test_an_id_is_read_whole_or_by_its_first_digits(typed: str, digits: str) -> None:
    assert read_digits(typed) == digits


@pytest.mark.parametrize(
    "typed", ["", "0b6f1c3", "report.md", "0b6f1c3g", "0b6f-1c3e-7d52", "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a0"]
)
def test_what_is_no_id_is_refused_with_what_one_looks_like(typed: str) -> None:
    with pytest.raises(InvalidOptions, match="8 digits are enough"):
        read_digits(typed)


async def test_the_first_digits_name_a_file_and_several_are_listed(connection: Connection) -> None:
    one = await add_file(connection, "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a")
    other = await add_file(connection, "0b6f1c3e-7d53-4f0e-9a55-2f6f0f5f3c1a", name="b.md")
    with pytest.raises(AmbiguousId) as raised:
        await find_file(connection, "0b6f1c3e")
    assert str(one) in raised.value.message and f"{other}  b.md of /in/a.pdf" in raised.value.message
    assert await find_file(connection, "0b6f1c3e-7d52") == one
    assert await find_file(connection, "0B6F1C3E7D53") == other
    with pytest.raises(ArtifactNotFound, match="waybill files list"):
        await find_file(connection, "0b6f1c3f")


async def test_a_deleted_file_counts_only_where_no_other_is_meant(connection: Connection) -> None:
    kept = await add_file(connection, "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a")
    gone = await add_file(connection, "0b6f1c3e-7d53-4f0e-9a55-2f6f0f5f3c1a", state="deleted")
    assert await find_file(connection, "0b6f1c3e") == kept
    assert await find_file(connection, "0b6f1c3e7d53") == gone


async def test_files_that_are_being_stored_are_listed_by_their_names(connection: Connection) -> None:
    ids = [f"0b6f1c3e-7d5{last}-4f0e-9a55-2f6f0f5f3c1a" for last in range(2)]
    for file_id in ids:
        await connection.execute(
            "insert into artifacts (file_id, state, filename, document_sha256, location, expires_at) "
            "values (%s, 'pending', 'report.md', %s, %s, now())",
            (file_id, bytes(32), f"x/{file_id}"),
        )
    with pytest.raises(AmbiguousId, match=f"  {ids[0]}  report.md, which is being stored\n  {ids[1]}  report.md"):
        await find_file(connection, "0b6f1c3e")


async def test_a_file_is_found_by_its_name_and_several_of_that_name_are_listed(connection: Connection) -> None:
    one = await add_file(connection, str(uuid4()), name="report.md")
    hexadecimal = await add_file(connection, str(uuid4()), name="deadbeef")
    assert await find_file_by_name(connection, "report.md") == one
    assert await find_file_by_name(connection, "deadbeef") == hexadecimal
    assert await find_file_by_name(connection, str(one)[:13]) == one
    other = await add_file(connection, str(uuid4()), name="report.md")
    with pytest.raises(AmbiguousId) as raised:
        await find_file_by_name(connection, "report.md")
    assert str(one) in raised.value.message and str(other) in raised.value.message
    with pytest.raises(ArtifactNotFound, match=r"nothing\.md"):
        await find_file_by_name(connection, "nothing.md")


async def test_a_run_is_found_with_and_without_files_and_none_of_another_catalogue(
    workspace: Workspace, connection: Connection, client: PrefectClient
) -> None:
    with_files = await process(workspace.write("report.txt", "Some words."))
    without = (await new_run(client, Running())).id
    for run_id in (with_files, without):
        assert await find_run(client, connection, str(run_id)[:13]) == run_id
    assert await find_run_with_files(connection, str(with_files)[:13]) == with_files
    with pytest.raises(RunNotFound):
        await find_run_with_files(connection, str(without)[:13])
    await client.update_flow_run_labels(without, {CATALOGUE_LABEL: "0badcafe"})
    with pytest.raises(RunNotFound, match="waybill runs list"):
        await find_run(client, connection, str(without)[:13])


ENDPOINT, DELIVERY, RUN = (f"0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1{last}" for last in "abc")
SECRET, OTHER = "1b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a", "0b6f1c3e-7d53-4f0e-9a55-2f6f0f5f3c1a"


async def add_endpoint(connection: Connection, endpoint_id: str, *, state: str = "enabled") -> None:
    await connection.execute(
        "insert into webhook_endpoints (endpoint_id, origin, url, secret_id, state) "
        "values (%s, 'registered', 'https://a.example/', %s, %s)",
        (endpoint_id, SECRET, state),
    )


async def test_endpoints_deliveries_and_their_runs_are_found_by_first_digits(connection: Connection) -> None:
    await connection.execute("insert into webhook_secrets (secret_id, sealed) values (%s, '')", (SECRET,))
    await add_endpoint(connection, ENDPOINT)
    await connection.execute(
        "insert into webhook_events (event_id, event_type, task_id, occurred_at, body) "
        "values ('evt_1', 'task_failed', %s, now(), '')",
        (RUN,),
    )
    await connection.execute(
        "insert into webhook_deliveries (delivery_id, event_id, endpoint_id) values (%s, 'evt_1', %s)",
        (DELIVERY, ENDPOINT),
    )
    assert await find_endpoint(connection, ENDPOINT[:8]) == UUID(ENDPOINT)
    assert await find_delivery(connection, DELIVERY[:13]) == UUID(DELIVERY)
    assert await find_run_with_events(connection, RUN[:8]) == UUID(RUN)
    await add_endpoint(connection, OTHER, state="removed")
    assert await find_endpoint(connection, ENDPOINT[:8]) == UUID(ENDPOINT), "a removed one is not meant"
    assert await find_endpoint(connection, OTHER[:13]) == UUID(OTHER)
    await connection.execute("update webhook_endpoints set state = 'disabled'")
    with pytest.raises(AmbiguousId, match=f"several endpoints.*\n  {ENDPOINT}  https://a.example/\n  {OTHER}"):
        await find_endpoint(connection, ENDPOINT[:8])
    with pytest.raises(EndpointNotFound, match="waybill webhooks list"):
        await find_endpoint(connection, "0b6f1c3f")
    with pytest.raises(DeliveryNotFound, match="waybill webhooks deliveries"):
        await find_delivery(connection, "0b6f1c3f")
    with pytest.raises(RunNotFound, match="waybill runs list"):
        await find_run_with_events(connection, "0b6f1c3f")


async def test_a_plan_is_found_by_its_first_digits(connection: Connection) -> None:
    for plan_id in (ENDPOINT, OTHER):
        await connection.execute(
            "insert into retention_plans (plan_id, digest, policy, cutoff, files, bytes, groups, statistics) "
            "values (%s, '', '{}', now(), 0, 0, '[]', '{}')",
            (plan_id,),
        )
    assert await find_plan(connection, OTHER[:13]) == UUID(OTHER)
    with pytest.raises(AmbiguousId, match=r"several plans.*\n.* made 20"):
        await find_plan(connection, OTHER[:8])
    with pytest.raises(PlanNotFound, match="waybill expire --list"):
        await find_plan(connection, "0b6f1c3f")
