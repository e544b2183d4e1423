"""One catalogue and one Prefect server, with things in both that happened days ago."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Pending, Running
from psycopg.conninfo import make_conninfo

from blocks.catalog import Catalog
from blocks.settings import Settings
from blocks.webhooks import registration as registry
from blocks.webhooks.outbox import Event, add_events, computed_event_id, history
from blocks.webhooks.secrets import SecretBox
from flows.history import Trimmed, trim
from tests.integration.prefect_runs import stand_in

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
        with psycopg.connect(self.prefect_database(run_id)) as connection:
            age = NOW - moment
            connection.execute(
                "update flow_run set start_time = start_time - %(age)s, end_time = end_time - %(age)s,"
                " expected_start_time = expected_start_time - %(age)s where id = %(id)s",
                {"age": age, "id": run_id},
            )
            connection.execute(
                'update flow_run_state set "timestamp" = "timestamp" - %s where flow_run_id = %s', [age, run_id]
            )

    def prefect_database(self, run_id: UUID) -> str:
        """The database of the Prefect server, which has this run."""
        if self._prefect is None:
            self._prefect = _database_with(self.settings.required_database_url, run_id)
        return self._prefect

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
