"""Forget a document: every file, passage, fact, event, log line and page that has its text or its name.

Owns the order. One transaction makes the document unreadable, takes it out of the catalogue's rows, and records what
has still to be looked for; then its bytes go, then what Prefect, the logs and scratch folders have of it; then the
files of the database are rewritten; last, the record loses the names and becomes a certificate. Every step may be the
last one of this process: the next call for the same document goes on, by that record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson

from blocks.access import Actor, record
from blocks.catalog import Connection
from blocks.custody import Custody
from blocks.errors import ArtifactNotFound, ArtifactPinned, DocumentInUse
from blocks.forgetting import statements
from blocks.forgetting.certificate import NOT_REACHED, Certificate
from blocks.forgetting.document import KnownDocument, look_up, names_of, refuse, traces_of
from blocks.forgetting.home_files import overwrite_names, remove_scratch
from blocks.forgetting.prefect_history import PrefectHistory, PrefectOutcome
from blocks.forgetting.rewriting import Rewritten, rewrite_tables
from blocks.forgetting.rows import ROWS_OF, Forgetting, begin, others_of_runs, under_way
from blocks.forgetting.text_columns import Subject, find_names, ids_text
from blocks.postgres import execute, fetch_all, fetch_row, single_connection
from blocks.runs.run_lock import run_locks
from blocks.settings import Settings
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, add_events, computed_event_id

DOCUMENT_FORGOTTEN = "document_forgotten"

# The tables that a forgetting changes, in addition to those in which it found a name.
_TOUCHED = frozenset({
    "artifacts", "assignment_jobs", "audit_log", "export_jobs", "idempotent_requests", "indexed_chunks",
    "indexed_documents", "indexed_entities", "indexed_facts", "indexed_keywords", "run_outputs", "transfers",
    "webhook_attempts", "webhook_deliveries", "webhook_events",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What a forgetting would do. *begun*: a killed process has begun it, and the names are gone already."""

    known: KnownDocument
    begun: bool
    refused: str | None

    def as_json(self) -> dict[str, Any]:
        return {**self.known.as_json(), "dry_run": True, "begun": self.begun, "refused": self.refused}


@dataclass(frozen=True, kw_only=True)
class Forgetter:
    """Forgets documents of one catalogue, its storage, and the Prefect server at hand."""

    custody: Custody
    settings: Settings
    by: Actor
    run_id: UUID | None = None
    """The run of Prefect that does it, whose parameters may name the document."""

    async def look(self, sha256: str) -> Foreseen:
        """Return what `forget` would do; changes nothing."""
        async with self.custody.catalog.transaction() as connection:
            known = await look_up(connection, sha256)
            begun = await under_way(connection, sha256) is not None
        try:
            if not begun:
                await self._may_be(known, force=False)
        except (ArtifactPinned, DocumentInUse) as error:
            return Foreseen(known=known, begun=begun, refused=error.message)
        return Foreseen(known=known, begun=begun, refused=None)

    async def forget(self, sha256: str, *, force: bool = False) -> Certificate:
        """Forget the document, or go on with what a killed process has begun; return the certificate.

        With *force*, pinned files go too. Raises `ArtifactHeld`, `ArtifactPinned`, `DocumentInUse`, and what catalogue,
        storage and Prefect raise in an outage: the same call then goes on.
        """
        async with self._alone(sha256):
            forgetting = await self._begin(sha256, force=force)
            await self._delete_bytes(forgetting)
            history = await PrefectHistory.find(self.settings)
            async with self.custody.catalog.connection() as connection:
                others = await others_of_runs(connection, forgetting)
            prefect = await history.free(forgetting, others, own_run=self.run_id)
            found = await asyncio.to_thread(self._free_home, forgetting)
            await self._add_counts(forgetting, found)
            rewritten = await self._rewrite(forgetting, prefect)
            certificate = await self._finish(forgetting, prefect, rewritten)
            await rewrite_tables(self.settings.required_database_url, ["forgettings"])
        return certificate

    @asynccontextmanager
    async def _alone(self, sha256: str) -> AsyncGenerator[None]:
        """Keep other processes from the same document. The lock of a process that was killed is free."""
        async with single_connection(self.settings.required_database_url) as connection:
            if not (await fetch_row(connection, statements.LOCK, {"sha256": sha256}))["mine"]:
                raise DocumentInUse("another process is forgetting this document")
            yield

    async def _may_be(self, known: KnownDocument, *, force: bool) -> None:
        """Raise what keeps the document from being forgotten now."""
        async with self.custody.catalog.connection() as connection:
            await refuse(connection, known, force=force)
            names = await names_of(connection, known)
        history = await PrefectHistory.find(self.settings)
        running = await history.under_way(known.run_ids, names.patterns(about=False))
        locks = run_locks(self.settings.home)
        # A run of this home whose process is gone is not under way, whatever Prefect says.
        alive = sorted(
            {one for one in running if locks.get(one) is not False} | {one for one in known.run_ids if locks.get(one)}
        )
        alive = [one for one in alive if one != self.run_id]
        if alive:
            raise DocumentInUse(
                f"a run is under way with the document ({alive[0]}); wait for its end, or cancel it", run_id=alive[0]
            )

    async def _begin(self, sha256: str, *, force: bool) -> Forgetting:
        async with self.custody.catalog.connection() as connection:
            begun = await under_way(connection, sha256)
            if begun is not None:
                return begun
            known = await look_up(connection, sha256)
        await self._may_be(known, force=force)
        traces = await traces_of(self.custody, known)
        links = EventLinks.of(self.settings)
        async with self.custody.catalog.transaction() as connection:
            await fetch_all(connection, statements.LOCK_FILES, {"contents": known.contents})
            known = await look_up(connection, sha256)
            await refuse(connection, known, force=force)
            names = await names_of(connection, known)
            return await begin(connection, uuid4(), known, names=names, traces=traces, by=self.by.actor, links=links)

    async def _delete_bytes(self, forgetting: Forgetting) -> None:
        async with self.custody.catalog.connection() as connection:
            rows = await fetch_all(connection, statements.UNFINISHED, {"contents": forgetting.contents})
        for row in rows:
            with suppress(ArtifactNotFound):  # another process has finished it
                await self.custody.remove(row["file_id"])

    def _free_home(self, forgetting: Forgetting) -> dict[str, int]:
        home = self.settings.home
        return {
            "log_names": overwrite_names(home, forgetting.names),
            "scratch_folders": remove_scratch(self.settings.scratch, home, forgetting.run_ids),
        }

    async def _add_counts(self, forgetting: Forgetting, found: dict[str, int]) -> None:
        values = {"forgetting_id": forgetting.forgetting_id, "counts": orjson.dumps(found).decode()}
        async with self.custody.catalog.connection() as connection:
            await execute(connection, statements.ADD_COUNTS, values)

    async def _rewrite(self, forgetting: Forgetting, prefect: PrefectOutcome) -> Rewritten:
        redacted = {name.removeprefix(ROWS_OF) for name in forgetting.counts if name.startswith(ROWS_OF)}
        done = await rewrite_tables(self.settings.required_database_url, _TOUCHED | redacted)
        if prefect.database_url is not None and prefect.changed:
            its = await rewrite_tables(prefect.database_url, prefect.changed.keys())
            done.tables += [f"prefect.{name}" for name in its.tables]
            done.not_rewritten |= {f"prefect.{name}": why for name, why in its.not_rewritten.items()}
        return done

    async def _finish(self, forgetting: Forgetting, prefect: PrefectOutcome, rewritten: Rewritten) -> Certificate:
        """Write the certificate, with its event and its audit entry, and let the names go: all or nothing."""
        async with self.custody.catalog.transaction() as connection:
            now: datetime = (await fetch_row(connection, statements.NOW, {}))["now"]
            current = await under_way(connection, forgetting.sha256) or forgetting
            exports = await fetch_all(connection, statements.EXPORTS, {"contents": forgetting.contents})
            certificate = Certificate(
                sha256=forgetting.sha256,
                began_at=forgetting.began_at,
                forgotten_at=now,
                by=self.by.actor,
                counts={name: int(count) for name, count in current.counts.items() if count},
                prefect=prefect.changed,
                prefect_by=prefect.how,
                rewritten=rewritten.tables,
                not_rewritten=rewritten.not_rewritten,
                exports=[str(row["job_id"]) for row in exports],
                left={**await self._left(connection, forgetting), **prefect.left},
                not_reached=[*NOT_REACHED, *prefect.not_reached],
            )
            detail = certificate.as_json()
            await add_events(connection, [self._event(forgetting, certificate, now)], EventLinks(None).to_payload)
            await record(connection, self.by.entry("forget", run_id=self.run_id, detail=detail))
            values = {"forgetting_id": forgetting.forgetting_id, "certificate": orjson.dumps(detail).decode()}
            await execute(connection, statements.FINISH, values)
        return certificate

    async def _left(self, connection: Connection, forgetting: Forgetting) -> dict[str, int]:
        """Return the rows of the catalogue that still have a name of the document, by table."""
        ids = ids_text([*forgetting.file_ids, *forgetting.run_ids])
        found = await find_names(connection, Subject(names=forgetting.names, ids=ids), without={"forgettings"})
        return dict(found)

    def _event(self, forgetting: Forgetting, certificate: Certificate, at: datetime) -> Event:
        return Event(
            event_id=computed_event_id(DOCUMENT_FORGOTTEN, forgetting.forgetting_id),
            event_type=DOCUMENT_FORGOTTEN,
            task_id=self.run_id,
            source_file=None,
            occurred_at=at,
            data={"sha256": forgetting.sha256, "removed": dict(certificate.counts), "left": dict(certificate.left)},
        )
