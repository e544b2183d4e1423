"""Two homes with a catalogue each on one Prefect server: runs, events and deployments of one are not the other's."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.runner import Runner
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.states import Pending, Running

from blocks.catalog import Catalog
from blocks.errors import DeploymentMissing, StackUnavailable
from blocks.runs.deployment import find_deployment
from blocks.runs.home_id import home_id
from blocks.runs.ownership import Owner, is_of_another_catalogue, owner_in, read_owner
from blocks.settings import Settings
from flows.events.reconciler import LAST_DAY, Reconciler
from flows.events.record_run_events import RunEventRecorder
from tests.gateway import running_gateway
from tests.integration.prefect_runs import stand_in
from tests.postgres_server import Postgres
from tests.shared_servers import PREFECT_ALONE
from waybill.stack import flow_server
from waybill.stack.deployments import Deployment, project_directory
from waybill.stack.interrupted_runs import resume_interrupted_runs

pytestmark = PREFECT_ALONE

DEPLOYMENT = Deployment(name="waybill", entrypoint="flows/process.py:process_documents", tags=["waybill"])


@pytest.fixture
async def homes(postgres: Postgres, tmp_path: Path) -> AsyncIterator[tuple[Settings, Settings]]:
    with postgres.database() as one, postgres.database() as other:
        yield (
            Settings(home=tmp_path / "one", database_url=one),  # type: ignore[arg-type]
            Settings(home=tmp_path / "other", database_url=other),  # type: ignore[arg-type]
        )


async def register(client: PrefectClient, owner: Owner) -> str:
    """As a flow server does it at its start; the name of the deployment."""
    served = await flow_server._runner_deployment(client, project_directory(), DEPLOYMENT, owner)
    await Runner(name="test").aadd_deployment(served)
    return served.name


# The runner asks a server; where none is named, Prefect would start one of its own.
@pytest.mark.usefixtures("prefect_server")
async def test_the_runner_shares_no_folder_with_other_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "shared"))
    # As another account makes it first.
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/runner_storage").touch()
    runner = flow_server.make_runner(tmp_path / "home")
    assert tempfile.tempdir == str(tmp_path / "shared")
    async with runner:
        assert list((tmp_path / "home/prefect/runner_storage").iterdir())
    assert not list((tmp_path / "home/prefect/runner_storage").iterdir())


class _Prefect:
    """Prefect's API with the client of a test."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client

    @asynccontextmanager
    async def client(self, *, seconds: float | None) -> AsyncIterator[PrefectClient]:
        assert seconds is None
        yield self._client


async def gateway_finds(settings: Settings, client: PrefectClient) -> str:
    """The name of the deployment that a gateway of this home starts runs of."""
    async with Catalog.open(settings.required_database_url) as catalog:
        found = await find_deployment(_Prefect(client), catalog, settings.home)  # type: ignore[arg-type]
    return (await client.read_deployment(found)).name


async def events_of(settings: Settings, client: PrefectClient) -> set[str]:
    """The ids of runs whose events are recorded, after a round of the home's reconciler."""
    async with Catalog.open(settings.required_database_url) as catalog:
        await Reconciler(client, catalog, RunEventRecorder(settings)).reconcile_once(LAST_DAY)
        async with catalog.connection() as connection:
            rows = await (await connection.execute("select distinct task_id from webhook_events")).fetchall()
    return {str(row["task_id"]) for row in rows}


async def test_each_home_has_its_deployment_its_runs_and_their_events(
    client: PrefectClient, homes: tuple[Settings, Settings], prefect_server: str
) -> None:
    one, other = homes
    ours, theirs = await read_owner(one), await read_owner(other)
    assert (ours.catalogue, ours.home) != (theirs.catalogue, theirs.home)
    assert await read_owner(one) == ours
    with pytest.raises(DeploymentMissing):
        await gateway_finds(one, client)
    async with running_gateway(one.required_database_url, one.home, prefect_api=prefect_server) as gateway:
        unready = await gateway.client.get("/ready")
        assert (unready.status_code, unready.json()["checks"]["database"]["status"]) == (503, "ok")
        problem = unready.json()["checks"]["prefect"]["problem"]
        assert problem.startswith("Prefect does not know the deployment that processes documents")
    assert await register(client, ours) == "waybill"
    async with running_gateway(one.required_database_url, one.home, prefect_api=prefect_server) as gateway:
        assert (await gateway.client.get("/ready")).status_code == 200
    # Another home's gateway does not use it, and another home's flow server does not take it over.
    with pytest.raises(DeploymentMissing):
        await gateway_finds(other, client)
    assert await register(client, theirs) == f"waybill-{theirs.home}"
    assert [await register(client, owner) for owner in (ours, theirs)] == ["waybill", f"waybill-{theirs.home}"]
    assert [await gateway_finds(home, client) for home in homes] == ["waybill", f"waybill-{theirs.home}"]
    # On its own server a home keeps its deployment, whatever its id was before.
    with temporary_settings({PREFECT_HOME: other.home / "prefect"}), pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_server, "current_settings", lambda: other)
        assert not await flow_server._is_taken(client, "process-documents/waybill", theirs)
    # A gateway elsewhere that has the catalogue but another home.
    elsewhere = Settings(home=one.home / "elsewhere", database_url=other.database_url)
    assert await gateway_finds(elsewhere, client) == f"waybill-{theirs.home}"

    by_owner = {
        owner_in(found.tags): found.id for found in await client.read_deployments() if owner_in(found.tags) is not None
    }
    given = {"sources": ["letter.pdf"]}
    runs = {
        owner: await client.create_flow_run_from_deployment(by_owner[owner], parameters=given) for owner in by_owner
    }
    for run in runs.values():
        await client.set_flow_run_state(run.id, Pending())
        await client.set_flow_run_state(run.id, Running())
    assert await events_of(one, client) == {str(runs[ours].id)}
    assert await events_of(other, client) == {str(runs[theirs].id)}
    # A flow server that starts resumes what its own home has left.
    await resume_interrupted_runs(client, [by_owner[ours]])
    states = [(await client.read_flow_run(runs[owner].id)).state_name for owner in (ours, theirs)]
    assert states == ["AwaitingRetry", "Running"]


async def test_a_run_of_a_work_pool_belongs_to_the_catalogue_of_its_label(client: PrefectClient) -> None:
    run = await client.create_flow_run(stand_in, parameters={"sources": []})
    assert not is_of_another_catalogue(run, "00c0ffee")
    await client.update_flow_run_labels(run.id, {"waybill.catalogue": "00c0ffee"})
    run = await client.read_flow_run(run.id)
    assert not is_of_another_catalogue(run, "00c0ffee")
    assert is_of_another_catalogue(run, "0badcafe")


async def test_a_home_has_one_id_for_good(tmp_path: Path) -> None:
    ids = await asyncio.gather(*(asyncio.to_thread(home_id, tmp_path / "home") for _ in range(8)))
    assert len(set(ids)) == 1
    (tmp_path / "home" / "home-id").write_text("nonsense")
    with pytest.raises(StackUnavailable, match="home-id"):
        home_id(tmp_path / "home")
