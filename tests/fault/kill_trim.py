"""Trims of the history that are killed by SIGKILL, at a named point or at a random moment; the next one converges.

Run as a program, this is the long form: every point, and random moments.

    python -m tests.fault.kill_trim [--runs 60] [--kills 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from prefect import get_client, task
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running

from blocks.catalog import Catalog
from blocks.settings import Settings
from blocks.settings.parsing import Secret
from blocks.webhooks import registration as registry
from blocks.webhooks.secrets import SecretBox
from tests.fault import killed_command
from tests.integration.history_place import NOW, OLD, Place, foreign
from tests.stack_driver import PREFECT_AUTH, prefect_variables

_MODULE = "tests.fault.kill_trim"

POINTS = ("artifacts", "runs", "deliveries", "events", "tables", "endpoints")
"""Where the process kills itself, in the order in which it comes to them. Before the commit: ``deliveries``."""


# The process that is killed -------------------------------------------------------------------------------------------


def _die_at(point: str) -> None:
    from blocks.history import rows, runs

    if point == "artifacts":
        killed_command.die_after(runs.RunTrimmer, "_delete_artifact", 3)
    elif point == "runs":
        killed_command.die_after(runs.RunTrimmer, "_delete")
    elif point == "deliveries":
        killed_command.die_after(rows, "_delete_events")
    elif point == "events":
        killed_command.die_after(rows, "_trim_events")
    elif point == "tables":
        killed_command.die_after(rows, "_trim_table", 2)
    elif point == "endpoints":
        killed_command.die_after(rows, "_trim_endpoints")


# What kills it, and looks ---------------------------------------------------------------------------------------------


@task(name="stage")
async def _stage() -> None:
    """The task run that a subflow run belongs to."""


class Past:
    """Runs that ended long ago, and runs from that time that have not ended, with all that belongs to both."""

    def __init__(self, url: str, prefect: str, home: Path) -> None:
        self._url, self._prefect = url, prefect
        self._settings = Settings(home=home, database_url=Secret(url))
        self._environment = {
            "WAYBILL_HOME": str(home),
            "WAYBILL_DATABASE_URL": url,
            **prefect_variables(prefect),
        }
        self._old: list[FlowRun] = []
        self._alive: list[FlowRun] = []
        self._unfinished: list[Any] = []

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[Place]:
        with temporary_settings({PREFECT_API_URL: self._prefect, PREFECT_API_AUTH_STRING: PREFECT_AUTH}):
            async with Catalog.open(self._url) as catalog, get_client() as client:
                yield Place(client, catalog, self._settings)

    def fill(self, *, runs: int, alive: int) -> None:
        asyncio.run(self._fill(runs, alive))
        self._unfinished = self._of_unfinished()

    async def _fill(self, runs: int, alive: int) -> None:
        async with self._place() as place:
            month = timedelta(days=30)
            await place.execute("update webhook_history_read set began_at = %s, read_until = %s", OLD - month, NOW)
            await place.endpoint()
            for number in range(runs):
                run = await place.old_run()
                self._old.append(run)
                if number % 3 == 0:
                    self._old.append(await self._child_of(place, run))
                await self._belongings(place, run, "task_completed")
            for _ in range(alive):
                run = await place.run(Running(timestamp=OLD))
                self._alive.append(run)
                await self._belongings(place, run, "task_started")
            for table in ("webhook_runs", "webhook_runs_read"):
                column = {"webhook_runs": "recorded_at", "webhook_runs_read": "read_at"}[table]
                await place.execute(f"update {table} set {column} = %s", OLD)  # type: ignore[arg-type] # noqa: S608
            await place.execute("update webhook_endpoints set created_at = %s where origin = 'run'", OLD)

    async def _child_of(self, place: Place, run: FlowRun) -> FlowRun:
        made = await place.client.create_task_run(
            _stage, flow_run_id=run.id, dynamic_key=str(uuid4()), state=Completed()
        )
        return await place.run(Running(timestamp=OLD), Completed(timestamp=OLD), of=foreign, task=made.id)

    async def _belongings(self, place: Place, run: FlowRun, kind: str) -> None:
        """Two artifacts, an event with its delivery, and an address of its own."""
        for _ in range(2):
            await place.client.create_artifact(ArtifactCreate(key="some-key", type="table", data=1, flow_run_id=run.id))
        await place.event(run.id, kind)
        async with place.catalog.transaction() as connection:
            url = f"https://run.example/{run.id}"
            await registry.set_run_webhook(connection, SecretBox.of(self._settings), run_id=run.id, url=url)

    def kill_at(self, point: str) -> None:
        killed_command.kill_at(_MODULE, point, self._environment)
        self.check_unfinished()

    def kill_after(self, seconds: float) -> None:
        killed_command.kill_after(_MODULE, seconds, self._environment)
        self.check_unfinished()

    def finish(self) -> dict[str, Any]:
        found = json.loads(killed_command.finish(_MODULE, self._environment))
        assert found["complete"], found
        return found

    def check_unfinished(self) -> None:
        """Nothing of a run that is not over is gone."""
        assert self._of_unfinished() == self._unfinished

    def check(self) -> None:
        """Nothing of the old runs is left, and everything of the others is."""
        self.check_unfinished()
        assert [len(rows) for rows in self._belonging_to(self._old)] == [0] * 6

    def _of_unfinished(self) -> list[Any]:
        found = self._belonging_to(self._alive)
        assert all(found)
        return found

    def _belonging_to(self, runs: Sequence[FlowRun]) -> list[Any]:
        """The ids of all rows that belong to *runs*, in both databases."""
        ids = [run.id for run in runs]
        database = Place(None, None, self._settings).prefect_database(self._alive[0].id)  # type: ignore[arg-type]
        return [
            *_columns(
                database,
                ids,
                "select id from flow_run where id = any(%s)",
                "select id from flow_run_state where flow_run_id = any(%s)",
                "select id from artifact where flow_run_id = any(%s)",
            ),
            *_columns(
                self._url,
                ids,
                "select event_id from webhook_events where task_id = any(%s)",
                "select delivery_id from webhook_deliveries d join webhook_events using (event_id)"
                " where task_id = any(%s)",
                "select endpoint_id from webhook_runs r join webhook_endpoints using (endpoint_id)"
                " where run_id = any(%s)",
            ),
        ]

    def end(self) -> None:
        """Leave nothing on the server."""
        asyncio.run(self._end())

    async def _end(self) -> None:
        async with self._place() as place:
            for run in self._alive:
                await place.client.delete_flow_run(run.id)


def _columns(url: str, ids: list[UUID], *statements: str) -> list[list[Any]]:
    with psycopg.connect(url) as connection:
        return [
            sorted(row[0] for row in connection.execute(statement.encode(), [ids]).fetchall())
            for statement in statements
        ]


def long_form(new_past: Callable[[], Past], kills: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    moments: list[str | float] = [*POINTS, *(chance.uniform(0, 2.0) for _ in range(kills))]
    for moment in moments:
        past = new_past()
        past.kill_at(moment) if isinstance(moment, str) else past.kill_after(moment)
        past.finish()
        past.check()
        assert past.finish()["removed"] == {}, "a further one finds nothing"
        past.end()
        print(f"killed at {moment if isinstance(moment, str) else f'{moment:.3f} s'}, then whole", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        _die_at(arguments.child)
        killed_command.run_child("trim", "--json")
    from tests.shared_servers import open_run, shared_postgres, shared_prefect

    with open_run() as run, tempfile.TemporaryDirectory(prefix="waybill-kill-trim-") as folder:
        postgres, prefect = shared_postgres(run), shared_prefect(run)
        with postgres.database() as url:

            def new_past() -> Past:
                past = Past(url, prefect, Path(folder))
                past.fill(runs=arguments.runs, alive=4)
                return past

            long_form(new_past, arguments.kills)


if __name__ == "__main__":
    main()
