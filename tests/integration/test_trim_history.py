"""Old history goes, on a real Prefect server and a real catalogue; what is not over, read and delivered stays."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, Scheduled
from psycopg.conninfo import make_conninfo

from blocks.catalog import Catalog
from blocks.history import database_sizes
from blocks.runs.ownership import Owner, catalogue_id
from blocks.settings import Settings
from blocks.webhooks import registration as registry
from blocks.webhooks.outbox import Event, add_events, computed_event_id, history
from blocks.webhooks.secrets import SecretBox
from flows.events.reconciler import LAST_DAY, Reconciler
from flows.events.record_run_events import RunEventRecorder
from flows.history import Trimmed, trim, trim_history
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import stand_in
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import prefect_variables

pytestmark = PREFECT_ALONE

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=9)


@flow(name="somebody-elses-flow")
async def foreign() -> None:
    """A flow that is none of ours."""


class Place:
    """One catalogue and one Prefect server, with old things in both."""

    def __init__(self, client: PrefectClient, catalog: Catalog, settings: Settings) -> None:
        self.client, self.catalog, self.settings = client, catalog, settings
        self._prefect: str | None = None

    async def run(
        self, *states: State[Any], of: Any = stand_in, read: bool = True, tags: Sequence[str] = (), task: Any = None
    ) -> FlowRun:
        """A run that has been through *states*, whose times count; *read*: by the reconciler."""
        parameters = {"sources": ["a.pdf"]} if of is stand_in else {}
        made = await self.client.create_flow_run(
            of, parameters=parameters, state=Pending(), tags=list(tags), parent_task_run_id=task
        )
        for state in states:
            await self.client.set_flow_run_state(made.id, state, force=True)
        if states:
            self._age(made.id, states[-1].timestamp)
        run = await self.client.read_flow_run(made.id)
        if read and run.state_id is not None:
            async with self.catalog.connection() as connection:
                await history.note_read(connection, run.id, run.state_id)
        return run

    def _age(self, run_id: UUID, moment: datetime) -> None:
        """Prefect's server takes its own time for what happens; only its database can say that it was earlier."""
        if self._prefect is None:
            self._prefect = _database_with(self.settings.required_database_url, run_id)
        with psycopg.connect(self._prefect) as connection:
            age = NOW - moment
            connection.execute(
                "update flow_run set start_time = start_time - %(age)s, end_time = end_time - %(age)s,"
                " expected_start_time = expected_start_time - %(age)s where id = %(id)s",
                {"age": age, "id": run_id},
            )
            connection.execute(
                'update flow_run_state set "timestamp" = "timestamp" - %s where flow_run_id = %s', [age, run_id]
            )

    async def old_run(self, **more: Any) -> FlowRun:
        return await self.run(Running(timestamp=OLD), Completed(timestamp=OLD), **more)

    async def execute(self, statement: LiteralString, *values: Any) -> list[Any]:
        async with self.catalog.connection() as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

    async def event(self, run: UUID | None, kind: str, *, age: timedelta = timedelta(days=9)) -> str:
        """An event of *run* that was recorded *age* ago, with a delivery for each endpoint, delivered then."""
        event = Event(
            event_id=computed_event_id(run or uuid4(), kind, uuid4()),
            event_type=kind,
            task_id=run,
            source_file="a.pdf",
            occurred_at=NOW - age,
            data={},
        )
        async with self.catalog.transaction() as connection:
            await add_events(connection, [event], lambda _: None)
        await self.execute("update webhook_events set recorded_at = %s where event_id = %s", NOW - age, event.event_id)
        await self.execute(
            "update webhook_deliveries set state = 'delivered', settled_at = %s, created_at = %s where event_id = %s",
            NOW - age,
            NOW - age,
            event.event_id,
        )
        return event.event_id

    async def endpoint(self) -> UUID:
        async with self.catalog.transaction() as connection:
            box = SecretBox.of(self.settings)
            return (await registry.register(connection, box, url="https://a.example/")).endpoint.endpoint_id

    async def trim(self, **more: Any) -> Trimmed:
        return await trim(self.settings, **more)

    async def left(self, *runs: FlowRun) -> list[bool]:
        """Whether each of *runs* is still there."""
        these = FlowRunFilter.model_validate({"id": {"any_": [run.id for run in runs]}})
        found = {run.id for run in await self.client.read_flow_runs(flow_run_filter=these)}
        return [run.id in found for run in runs]

    async def rows(self, table: LiteralString) -> int:
        return int((await self.execute("select count(*) as rows from " + table))[0]["rows"])  # noqa: S608


def _database_with(url: str, run_id: UUID) -> str:
    """The database of the Prefect server that has this run: it is on the same Postgres as the tests' catalogues."""
    with psycopg.connect(url) as connection:
        names = connection.execute("select datname from pg_database where datname like '%\\_prefect'").fetchall()
    for (name,) in names:
        with psycopg.connect(make_conninfo(url, dbname=name)) as connection:
            if connection.execute("select 1 from flow_run where id = %s", [run_id]).fetchone():
                return make_conninfo(url, dbname=name)
    raise AssertionError("no Prefect server of the tests has this run")


@pytest.fixture
async def place(workspace: Workspace, client: PrefectClient, settings: Settings) -> AsyncIterator[Place]:
    async with Catalog.open(workspace.database_url) as catalog:
        opened = Place(client, catalog, settings)
        a_month_ago = OLD - timedelta(days=30)
        await opened.execute("update webhook_history_read set began_at = %s, read_until = %s", a_month_ago, NOW)
        yield opened
    # The next test looks at all of the server.
    for run in await client.read_flow_runs(limit=200):
        await client.delete_flow_run(run.id)


async def test_old_runs_go_with_their_artifacts_and_the_others_stay(place: Place) -> None:
    async with place.catalog.connection() as connection:
        here = await catalogue_id(connection)
    ours = Owner(catalogue=here, home="0" * 8).tag
    gone = [
        await place.old_run(),
        await place.old_run(tags=[ours]),
        await place.run(Running(timestamp=OLD), Failed(timestamp=OLD)),
        await place.run(Running(timestamp=OLD), Crashed(timestamp=OLD)),
        await place.run(Cancelled(timestamp=OLD)),
        await place.old_run(of=trim_history, read=False),
    ]
    stay = [
        await place.run(Running(timestamp=OLD), Completed(timestamp=NOW - timedelta(days=6))),
        await place.run(),
        await place.run(Running(timestamp=OLD)),
        await place.run(Scheduled(scheduled_time=OLD)),
        await place.old_run(of=foreign),
        await place.old_run(tags=[Owner(catalogue="f" * 8, home="f" * 8).tag]),
    ]
    for run in (gone[0], stay[0]):
        for kind in ("table", "progress"):
            await place.client.create_artifact(ArtifactCreate(key="some-key", type=kind, data=1, flow_run_id=run.id))
    shown = await place.trim(dry_run=True)
    assert await place.left(*gone, *stay) == [True] * len([*gone, *stay])
    done = await place.trim()
    assert await place.left(*gone) == [False] * len(gone)
    assert await place.left(*stay) == [True] * len(stay)
    assert (done.counted.removed["flow runs"], done.counted.removed["run artifacts"]) == (len(gone), 2)
    assert shown.counted.removed == done.counted.removed + Counter(), "the dry run names what goes"
    assert done.counted.kept["flow runs"] == {"other_catalogue": 1, "not_over": 1}
    left = await place.client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[gone[0].id, stay[0].id]))
    )
    assert {one.flow_run_id for one in left} == {stay[0].id}
    assert (await place.trim()).counted.removed["flow runs"] == 0


async def test_a_run_stays_until_its_events_are_delivered_and_its_end_is_read(place: Place, settings: Settings) -> None:
    await place.endpoint()
    waiting, unread, changed = await place.old_run(), await place.old_run(read=False), await place.old_run()
    event_id = await place.event(waiting.id, "task_completed")
    await place.execute(
        "update webhook_deliveries set state = 'pending', settled_at = null where event_id = %s", event_id
    )
    await place.execute("update webhook_history_read set read_until = %s", OLD - timedelta(hours=1))
    await place.client.set_flow_run_state(changed.id, Failed(timestamp=OLD), force=True)
    done = await place.trim()
    assert await place.left(waiting, unread, changed) == [True, True, True]
    assert done.counted.kept["flow runs"] == {"pending_delivery": 1, "not_read": 2}
    assert done.counted.kept["webhook_events"] == {"pending_delivery": 1}

    reconciler = Reconciler(client=place.client, catalog=place.catalog, recorder=RunEventRecorder(settings))
    await reconciler.reconcile_once(LAST_DAY)
    assert (await place.trim()).counted.kept["flow runs"]["pending_delivery"] == 3, "what was read has to be sent first"
    await place.execute("update webhook_deliveries set state = 'dead', settled_at = %s", OLD)
    await place.execute("update webhook_events set recorded_at = %s", OLD)
    await place.trim()
    assert await place.left(waiting, unread, changed) == [False, False, False]
    assert await place.rows("webhook_events") == 0
    await reconciler.reconcile_once(LAST_DAY)
    assert await place.rows("webhook_events") == 0, "nothing is recorded a second time"


async def test_subflow_runs_go_before_their_parent_and_keep_it_while_they_are_not_over(place: Place) -> None:
    async def with_child(parent: FlowRun, *states: State[Any], of: Any = foreign) -> FlowRun:
        task = await place.client.create_task_run(
            stage, flow_run_id=parent.id, dynamic_key=str(uuid4()), state=Completed()
        )
        return await place.run(*states, of=of, task=task.id)

    from prefect import task as task_decorator

    @task_decorator(name="stage")
    async def stage() -> None: ...

    over = (Running(timestamp=OLD), Completed(timestamp=OLD))
    whole, kept, alive = await place.old_run(), await place.old_run(), await place.run(Running(timestamp=OLD))
    child = await with_child(whole, *over)
    grandchild = await with_child(child, *over)
    unfinished = await with_child(kept, Running(timestamp=OLD))
    of_alive = await with_child(alive, *over, of=stand_in)
    done = await place.trim()
    assert await place.left(whole, child, grandchild) == [False, False, False]
    assert await place.left(kept, unfinished, alive, of_alive) == [True, True, True, True]
    assert (done.counted.removed["flow runs"], done.counted.removed["subflow runs"]) == (1, 2)
    assert done.counted.kept["flow runs"] == {"subflow_not_over": 1, "parent_not_over": 1, "not_over": 1}


async def test_own_rows_go_when_nothing_needs_them(place: Place) -> None:
    endpoint = await place.endpoint()
    old, alive, late = uuid4(), uuid4(), uuid4()
    for kind in ("task_started", "stage_completed", "task_completed"):
        await place.event(old, kind)
    await place.event(alive, "task_started")
    await place.event(late, "task_completed")
    await place.event(late, "stage_completed", age=timedelta(days=1))
    await place.event(None, "files_expired")
    box = SecretBox.of(place.settings)
    async with place.catalog.transaction() as connection:
        for run, url in ((old, "https://run.example/a"), (alive, "https://run.example/b")):
            await registry.set_run_webhook(connection, box, run_id=run, url=url)
            await history.note_read(connection, run, uuid4())
    ten_days = NOW - timedelta(days=10)
    await place.execute("update webhook_runs set recorded_at = %s", ten_days)
    await place.execute("update webhook_runs_read set read_at = %s", ten_days)
    await place.execute("update webhook_endpoints set created_at = %s", ten_days)
    await place.execute("update webhook_secrets set created_at = %s", ten_days)
    for days in (8, 6):
        await place.execute(
            "insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, media_type, location,"
            " expires_at, deleted_at) values (gen_random_uuid(), 'deleted', 'upload', 'a', 'a', repeat('0', 64), 'a/b',"
            " gen_random_uuid()::text, %s, %s)",
            NOW,
            NOW - timedelta(days=days),
        )
    await place.execute(
        "insert into run_outputs (run_id, file_id, source_file, reused)"
        " select file_id, file_id, '', false from artifacts"
    )
    for days in (366, 8):
        await place.execute(
            "insert into audit_log (recorded_at, action, actor) values (%s, 'pin', 'cli:a')", NOW - timedelta(days=days)
        )
    before = await place.rows("webhook_deliveries")
    done = await place.trim(prefect_missing="there is no Prefect server")
    assert done.prefect == "there is no Prefect server"
    assert before - await place.rows("webhook_deliveries") == 4
    assert {row["task_id"] for row in await place.execute("select task_id from webhook_events")} == {alive, late}
    assert done.counted.kept["webhook_events"] == {"not_over": 1, "recent_event": 1}
    assert [row["run_id"] for row in await place.execute("select run_id from webhook_runs")] == [alive]
    urls = await place.execute("select url from webhook_endpoints order by url")
    assert [row["url"] for row in urls] == ["https://a.example/", "https://run.example/b"]
    assert await place.rows("artifacts") == await place.rows("run_outputs") == await place.rows("audit_log") == 1
    assert await place.rows("webhook_secrets") == 2, "that of the endpoint, and that of all runs"
    async with place.catalog.transaction() as connection:
        await registry.rotate(
            connection,
            box,
            (await place.execute("select secret_id from webhook_endpoints where endpoint_id = %s", endpoint))[0][
                "secret_id"
            ],
        )
    assert sum((await place.trim(prefect_missing="none")).counted.removed.values()) == 0


async def test_a_retried_delivery_keeps_its_event(place: Place) -> None:
    await place.endpoint()
    event_id = await place.event(None, "export_completed")
    await place.execute("update webhook_deliveries set settled_at = %s where event_id = %s", NOW, event_id)
    assert (await place.trim()).counted.kept["webhook_events"] == {"recent_delivery": 1}


async def test_what_does_not_fit_into_the_time_is_left_to_the_next_run(place: Place) -> None:
    run = await place.old_run()
    done = await place.trim(max_seconds=0)
    assert (done.as_json()["complete"], await place.left(run)) == (False, [True])
    assert (await place.trim()).as_json()["complete"]


async def test_the_flow_leaves_a_table_and_notifies_no_consumer(place: Place) -> None:
    await place.old_run()
    state = await trim_history(return_state=True)
    assert state.is_completed()
    assert "1 records removed" in str(state.message)
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    found = await place.client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    )
    assert [one.key for one in found] == ["trimmed-history"]
    assert '"what": "flow runs", "outcome": "removed", "count": "1"' in str(found[0].data)
    assert await place.rows("webhook_events") == 0
    assert sum((await database_sizes(place.catalog)).values()) > 0


_PROGRAM = """
import asyncio
from blocks.settings import current_settings
from flows.history import trim
asyncio.run(trim(current_settings()))
"""


async def test_a_trim_that_is_killed_is_finished_by_the_next_one(place: Place, prefect_server: str) -> None:
    await place.endpoint()
    runs = [await place.old_run() for _ in range(12)]
    for run in runs:
        await place.event(run.id, "task_completed")
        for _ in range(2):
            await place.client.create_artifact(ArtifactCreate(key="some-key", type="table", data=1, flow_run_id=run.id))
    kept = await place.run(Running(timestamp=OLD))
    ids = [run.id for run in runs]
    these = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=ids))
    environment = {**os.environ, **prefect_variables(prefect_server)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, env=environment)
    try:
        # Somewhere among the artifacts, which are deleted one by one.
        while len(await place.client.read_artifacts(artifact_filter=these)) == 2 * len(runs):
            pass
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    done = await place.trim()
    assert done.as_json()["complete"]
    assert not any(await place.left(*runs))
    assert await place.left(kept) == [True]
    assert await place.client.read_artifacts(artifact_filter=these) == []
    assert await place.rows("webhook_events") == await place.rows("webhook_deliveries") == 0
