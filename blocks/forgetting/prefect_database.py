"""Prefect's own database: found on the server of the catalogue, and freed of a document.

Prefect's API changes neither states nor logs nor events, and deletes a run only with the history of its other
documents. So where its database is on the catalogue's server, as with the local stack, the rows are changed there
(ADR 0024). A database is used only if the Prefect server at hand is known to keep its flows in it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from psycopg.conninfo import make_conninfo

from blocks.errors import WaybillError
from blocks.forgetting import prefect_statements as statements
from blocks.forgetting.names import Names
from blocks.forgetting.text_columns import Subject, find_names, ids_in, ids_text, redact_tables
from blocks.forgetting.traces import Traces
from blocks.naming import MARKDOWN_SIGNS
from blocks.postgres import Connection, Row, fetch_all, fetch_row, single_connection

# Written by people, for what they want: a schedule that names a source goes on to process it. Reported, not changed.
WRITTEN_BY_PEOPLE = frozenset({
    "automation", "block_document", "block_schema", "block_type", "concurrency_limit", "concurrency_limit_v2",
    "deployment", "deployment_schedule", "deployment_version", "saved_search", "variable", "work_pool", "work_queue",
})  # fmt: skip
_NOT_LOOKED_AT = frozenset({"alembic_version", "csrf_token", "configuration"})
# Rows of tasks that have ended are written within this, on a busy machine too; and how often they are looked for.
_RECORDED_SECONDS, _PAUSE_SECONDS = 30.0, 1.0
_MOST_PASSES = 4
_PAGE_ROWS = 1000

_EMPTIED = "(removed with a forgotten document)"


@dataclass(frozen=True, kw_only=True)
class Others:
    """What a run delivered of a document that stays."""

    source: str
    files: int
    bytes: int


async def find_database(database_url: str, home: Path, flow_ids: Sequence[UUID] | None) -> str | None:
    """Return the URL of Prefect's database on the catalogue's server, if it is there and may be used.

    *flow_ids* are some flows of the Prefect server at hand, which its database has and no other one. None: no server is
    at hand; then it is the database that the local stack makes for this catalogue.
    """
    async with single_connection(database_url) as connection:
        names = [str(row["name"]) for row in await fetch_all(connection, statements.CANDIDATES, {})]
        here = await fetch_row(connection, statements.HOME_CLUSTER, {})
    if flow_ids is None:
        is_homes = here["directory"] is not None and await asyncio.to_thread(_is_in, home, here["directory"])
        wanted = "prefect" if is_homes and here["name"] == "waybill" else f"{here['name']}_prefect"
        return make_conninfo(database_url, dbname=wanted) if wanted in names else None
    for name in names:
        url = make_conninfo(database_url, dbname=name)
        try:
            async with single_connection(url) as connection:
                if (await fetch_row(connection, statements.HAS_FLOW, {"flow_ids": list(flow_ids)}))["found"]:
                    return url
        except WaybillError:
            continue  # no database of Prefect's, or one that is not ours to read
    return None


def _is_in(home: Path, data_directory: str) -> bool:
    """Return whether a cluster is that of *home*."""
    return Path(data_directory).resolve() == (home / "postgres").resolve()


async def runs_under_way(
    database_url: str, run_ids: Sequence[UUID], patterns: Sequence[str], catalogue: str
) -> dict[UUID, str]:
    """Return runs of a document that are not over, with their states. *catalogue* is the id of its catalogue."""
    async with single_connection(database_url) as connection:
        values = {"run_ids": list(run_ids), "patterns": list(patterns), "catalogue": catalogue}
        return {row["id"]: row["state"] for row in await fetch_all(connection, statements.UNDER_WAY, values)}


@dataclass(kw_only=True)
class PrefectDatabase:
    """Frees one Prefect database of one document of the catalogue with the id *catalogue*.

    *others*: what else its runs delivered, for the pages that go.
    """

    connection: Connection
    catalogue: str
    names: Names
    traces: Traces
    run_ids: Sequence[UUID]
    others: Mapping[UUID, Sequence[Others]]

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str, **given: Any) -> AsyncGenerator[PrefectDatabase]:
        """Connect for the length of the block; each statement commits."""
        async with single_connection(database_url) as connection:
            yield cls(connection=connection, **given)

    async def redact(self) -> Counter[str]:
        """Take names and text of the document out; return how many rows were changed or removed, by table.

        A run that has just ended is waited for: its last records come after it.
        """
        changed: Counter[str] = Counter()
        lately = await self._recorded()
        for _ in range(_MOST_PASSES):
            done = await self._once()
            changed += done
            if not lately or not done:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        return changed

    async def left(self) -> Counter[str]:
        """Return how many rows of each table still have a name that is the document's alone."""
        subject = await self._subject()
        return await find_names(self.connection, subject, without=_NOT_LOOKED_AT, stays=self._is_foreign)

    async def _recorded(self) -> bool:
        """Wait for the records of runs that have just ended; return whether there are such."""
        values = {"run_ids": list(self.run_ids)}
        for _ in range(int(_RECORDED_SECONDS / _PAUSE_SECONDS)):
            found = await fetch_row(self.connection, statements.NOT_RECORDED, values)
            if not found["waits"]:
                return bool(found["ended_lately"])
            await asyncio.sleep(_PAUSE_SECONDS)
        return True

    async def _subject(self) -> Subject:
        values = await self._values()
        return Subject(names=self.names, ids=ids_text([*values["run_ids"], *values["task_ids"]]))

    async def _values(self) -> Row:
        return await fetch_row(self.connection, statements.RUNS_AND_TASKS, {"run_ids": list(self.run_ids)})

    async def _once(self) -> Counter[str]:
        values = await self._values()
        resources = [f"prefect.flow-run.{one}" for one in values["run_ids"]]
        resources += [f"prefect.task-run.{one}" for one in values["task_ids"]]
        about = {**values, "resources": resources, "instead": _EMPTIED}
        changed = await self._pages(values)
        for table, find, remove in (
            ("log", statements.LOGS, statements.REMOVE_LOGS),
            ("flow_run_state", statements.FLOW_RUN_STATES, statements.EMPTY_FLOW_RUN_STATES),
            ("task_run_state", statements.TASK_RUN_STATES, statements.EMPTY_TASK_RUN_STATES),
            ("event_resources", statements.EVENT_RESOURCES, statements.EMPTY_EVENT_RESOURCES),
            ("events", statements.EVENTS, statements.EMPTY_EVENTS),
            ("flow_run_input", statements.INPUTS, statements.REMOVE_INPUTS),
        ):
            changed[table] += await self._empty(find, remove, about)
        subject = Subject(names=self.names, ids=ids_text([*values["run_ids"], *values["task_ids"]]))
        without = WRITTEN_BY_PEOPLE | _NOT_LOOKED_AT
        return +(changed + await redact_tables(self.connection, subject, without=without, stays=self._stays))

    async def _stays(self, table: str, row: Row) -> bool:
        """Return whether *row* is of another catalogue, or a run planned ahead: without its source it would fail."""
        planned = table == "flow_run" and bool(row.get("auto_scheduled")) and row.get("state_type") == "SCHEDULED"
        return planned or await self._is_foreign(table, row)

    async def _is_foreign(self, _table: str, row: Row) -> bool:
        values = {"ids": sorted(ids_in(row)), "catalogue": self.catalogue}
        return bool((await fetch_row(self.connection, statements.IS_FOREIGN, values))["found"])

    async def _empty(self, find: str, remove: str, values: Mapping[str, Any]) -> int:
        """Remove or empty the rows that have text of the document."""
        after, changed = UUID(int=0), 0
        while True:
            page = await fetch_all(self.connection, find, {**values, "after": after, "limit": _PAGE_ROWS})
            found = [row["id"] for row in page if self.traces.are_in(str(row["text"]))]
            if found:
                changed += (await self.connection.execute(cast("Any", remove), {**values, "ids": found})).rowcount
            if len(page) < _PAGE_ROWS:
                return changed
            after = page[-1]["id"]

    async def _pages(self, values: Row) -> Counter[str]:
        """Replace the pages of the runs that show the document, and leave it out of their tables."""
        changed: Counter[str] = Counter()
        for table in statements.ARTIFACT_TABLES:
            for row in await fetch_all(self.connection, statements.ARTIFACTS[table], values):
                data = self._data(row)
                shown = str(row["description"] or "")
                description = _EMPTIED if self._is_of(shown) else row["description"]
                if data == row["data"] and description == row["description"]:
                    continue
                new = {"id": row["id"], "data": json.dumps(data), "description": description}
                await self.connection.execute(cast("Any", statements.PUT_ARTIFACT[table]), new)
                changed[table] += 1
        return changed

    def _data(self, row: Row) -> Any:
        data = row["data"]
        if row["type"] == "table":
            rows, is_text = _table(data)
            kept = [one for one in rows if not self._is_of(json.dumps(one, ensure_ascii=False))]
            if len(kept) == len(rows):
                return data
            return json.dumps(kept) if is_text else kept
        if not self._is_of(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)):
            return data
        return self._page(row["flow_run_id"]) if row["type"] == "markdown" else None

    def _is_of(self, text: str) -> bool:
        return self.names.occur_in(text, about=True) or self.traces.are_in(text)

    def _page(self, run_id: UUID | None) -> str:
        """Return a page in the place of one that showed the document."""
        lines = ["# A document of this run has been forgotten", "", "This page showed it, and was replaced."]
        if others := self.others.get(run_id, ()) if run_id is not None else ():
            lines += ["", "| other documents | files | bytes |", "|---|---|---|"]
            lines += [f"| {_cell(one.source)} | {one.files:,} | {one.bytes:,} |" for one in others]
        return "\n".join(lines)


def _table(data: Any) -> tuple[list[Any], bool]:
    """Return the rows of a table artifact, which Prefect's client stores as JSON in a string."""
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except ValueError:
            return [data], True
        return (cast("list[Any]", data), True) if isinstance(data, list) else ([data], True)
    return (cast("list[Any]", data), False) if isinstance(data, list) else ([data], False)


def _cell(text: str) -> str:
    return " ".join(text.split()).translate(MARKDOWN_SIGNS)
