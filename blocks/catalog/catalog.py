"""Typed calls over `blocks.catalog.queries`, and the connection pool that they use."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

import orjson

from blocks.catalog import queries, statistics_queries
from blocks.catalog.artifact import HOW_TO_REMAKE, MOST_BYTES, Artifact, Kind, ManifestPlace, Reservation, artifact_of
from blocks.catalog.ingestion_counts import without_zeros
from blocks.catalog.json_columns import json_text
from blocks.errors import (
    ArtifactGone,
    ArtifactHeld,
    ArtifactNotFound,
    ArtifactPinned,
    CatalogRefused,
    CatalogUnavailable,
    InvalidOptions,
)
from blocks.postgres import Connection, Row, execute, fetch_all, fetch_optional, fetch_row, postgres_errors
from blocks.postgres.page_cursor import read_row_cursor, write_cursor
from blocks.postgres.pool import LONG_TIMEOUTS, Connections, Pool, Timeouts, open_pool

# Working connections answer within milliseconds and broken ones fail immediately; only an unplugged network is slower.
CHECK_TIMEOUT_SECONDS = 1.0
# Rows of one page of a listing: about a megabyte of JSON.
MAX_PAGE = 1000
# Time to pin a file again that was unpinned by mistake: until the next working day.
UNPIN_GRACE = timedelta(days=1)

# Columns that are known, or read, only once the file is written.
_WRITTEN = (
    "file_id", "kind", "source_file", "document_sha256", "stage", "stage_name", "stage_key", "media_type", "size",
    "sha256", "stored_size", "stored_sha256", "encrypted_for", "header_sha256", "manifest", "created_at", "expires_at",
    "metadata", "report",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a listing, newest first. `next` continues it, `None` at the end."""

    artifacts: list[Artifact]
    next: str | None


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A row that a dead process left between two states."""

    file_id: UUID
    state: str
    locations: list[str]
    manifest: ManifestPlace


class Catalog:
    """Typed access to the artifacts table. Open it with ``async with Catalog.open(url) as catalog``."""

    def __init__(self, pool: Pool) -> None:
        self._connections = Connections(pool)
        # Postgres' time, and our monotonic time of that moment: their difference gives its time without a query.
        self._clock: tuple[datetime, float] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str, timeouts: Timeouts = LONG_TIMEOUTS) -> AsyncGenerator[Self]:
        """Connect to *database_url*; *timeouts* bound every later call. Raises what `open_pool` raises."""
        async with open_pool(database_url, timeouts) as pool:
            yield cls(pool)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Take a connection on which each statement commits by itself: one round trip instead of three."""
        try:
            with postgres_errors("use the catalogue"):
                async with self._connections.working() as connection:
                    yield connection
        except CatalogUnavailable:
            await self._connections.replace_broken(within_seconds=CHECK_TIMEOUT_SECONDS)
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """Take a connection in a transaction: committed at the end of the block, rolled back on any error."""
        async with self.connection() as connection:
            with postgres_errors("use the catalogue"):
                async with connection.transaction():
                    yield connection

    # Writing ----------------------------------------------------------------------------------------------------------

    async def reserve(self, connection: Connection, reservations: Sequence[Reservation]) -> None:
        """Write the `pending` rows that announce blobs (row first), all or none."""
        row = await fetch_row(connection, queries.RESERVE, {"rows": _reservation_rows(reservations)})
        self._clock = (row["now"], time.monotonic())

    async def now(self) -> datetime:
        """Return Postgres' time, counted on from the last reservation: no query, and no use of this machine's clock,
        which may be wrong."""
        if self._clock is None:
            async with self.connection() as connection:
                row = await fetch_row(connection, queries.NOW, {})
            self._clock = (row["now"], time.monotonic())
        then, counted_from = self._clock
        return then + timedelta(seconds=time.monotonic() - counted_from)

    @property
    def clock(self) -> tuple[datetime, float]:
        """Postgres' time, and `time.monotonic` of that moment, of the last reservation or `now`. One must have been.

        The monotonic clock is that of the system, so another process on this machine can count on from it.
        """
        if self._clock is None:
            raise RuntimeError("the catalogue has not been asked for its time yet")
        return self._clock

    async def make_available(self, connection: Connection, artifact: Artifact) -> Artifact:
        """Turn the `pending` row into *artifact* (row last), and record that its run delivered it.

        One statement, so it is atomic on any connection. All but name, run and path are those of *artifact*. Raises
        `ArtifactNotFound` when the row is no longer pending, because a recovery has removed it meanwhile; then the
        statement has written nothing.
        """
        rows = await fetch_all(connection, queries.MAKE_AVAILABLE, {"files": _written_rows([artifact])})
        if not rows:
            raise no_longer_pending(artifact)
        return artifact_of(rows[0])

    async def make_all_available(
        self,
        connection: Connection,
        artifacts: Sequence[Artifact],
        *,
        statement: str = queries.MAKE_ALL_AVAILABLE,
        more_values: Mapping[str, Any] | None = None,
    ) -> dict[UUID, Artifact]:
        """Do the same for many files in one statement. Return those whose rows were still pending, by id.

        *statement* may be another one that is built on `queries.MAKE_AVAILABLE_CTES`, with *more_values*; ADR 0015 says
        why. The rows are not read back: they are what was given, with metadata and report as they are stored.
        """
        rows = await fetch_all(connection, statement, {"files": _written_rows(artifacts), **(more_values or {})})
        made = {row["file_id"] for row in rows}
        return {one.file_id: _as_stored(one) for one in artifacts if one.file_id in made}

    async def lock_state(self, connection: Connection, file_id: UUID) -> str | None:
        """Return the row's state, None without a row, and lock the row until the caller's transaction ends.

        Raises `CatalogUnavailable` when another transaction holds the row for ten seconds.
        """
        await execute(connection, queries.LOCK_TIMEOUT, {})
        row = await fetch_optional(connection, queries.LOCK_STATE, {"file_id": file_id})
        return str(row["state"]) if row else None

    async def forget_pending(self, connection: Connection, *file_ids: UUID) -> None:
        """Remove `pending` rows whose blobs were not stored; any other row is left alone."""
        await execute(connection, queries.FORGET_PENDING, {"file_ids": list(file_ids)})

    async def record_uses(
        self, connection: Connection, *, run_id: UUID, uses: Sequence[tuple[UUID, str]], reused: bool
    ) -> None:
        """Record that a run delivered files, each given by its id and the source it was delivered for. Idempotent."""
        values = {
            "run_id": run_id,
            "file_ids": [file_id for file_id, _ in uses],
            "source_files": [source_file for _, source_file in uses],
            "reused": reused,
        }
        await execute(connection, queries.RECORD_USES, values)

    async def begin_deletion(self, connection: Connection, file_id: UUID) -> Unfinished:
        """Turn a row into a tombstone, and return it with the paths of its bytes. Idempotent.

        Raises `ArtifactPinned`, `ArtifactHeld`, and `ArtifactNotFound` or `ArtifactGone` when there is nothing to
        delete.
        """
        row = await fetch_optional(connection, queries.TOMBSTONE, {"file_id": file_id})
        if row is None:
            artifact = await self.get(connection, file_id)
            if artifact.held_at is not None:
                raise ArtifactHeld(f"file {file_id} is under a legal hold; an administrator lifts it", file_id=file_id)
            raise ArtifactPinned(f"file {file_id} is pinned; unpin it first", file_id=file_id)
        return Unfinished(file_id=file_id, state="deleting", **row)

    async def finish_deletion(self, connection: Connection, file_id: UUID, *, keeps_index: bool = False) -> None:
        """Mark a tombstone as `deleted`, after its blob is gone. Idempotent.

        A document whose last stored file it was leaves the search index, unless *keeps_index*.
        """
        await execute(connection, queries.FINISH_DELETION, {"file_id": file_id})
        if not keeps_index:
            await execute(connection, queries.REMOVE_FROM_INDEX, {"file_ids": [file_id]})

    async def pin(self, connection: Connection, file_id: UUID, *, note: str | None = None) -> Artifact:
        """Keep a file beyond its expiry, until it is unpinned. Idempotent; the last note stands.

        Raises `ArtifactNotFound`, and its subclass `ArtifactGone` for an expired file.
        """
        row = await fetch_optional(connection, queries.PIN, {"file_id": file_id, "note": note})
        if row is None:
            raise await why_not_found(connection, file_id)
        return artifact_of(row)

    async def unpin(self, connection: Connection, file_id: UUID) -> Artifact:
        """Let a file expire again, after `UNPIN_GRACE` at the earliest. Idempotent. Raises `ArtifactNotFound`."""
        values = {"file_id": file_id, "grace_seconds": UNPIN_GRACE.total_seconds()}
        row = await fetch_optional(connection, queries.UNPIN, values)
        return artifact_of(row) if row else await self.get(connection, file_id)

    # Reading ----------------------------------------------------------------------------------------------------------

    async def get(self, connection: Connection, file_id: UUID, *, even_expired: bool = False) -> Artifact:
        """Return the artifact. Raises `ArtifactNotFound` when no such file was stored or it is still being written.

        Raises its subclass `ArtifactGone` when the file has expired (unless *even_expired*) or was deleted.
        """
        statement = queries.GET_STORED if even_expired else queries.GET
        row = await fetch_optional(connection, statement, {"file_id": file_id})
        if row is None:
            raise await why_not_found(connection, file_id)
        return artifact_of(row)

    async def find_readable(self, connection: Connection, file_ids: Sequence[UUID]) -> dict[UUID, Artifact]:
        """Return those of the files that `get` would return, by id."""
        rows = await fetch_all(connection, queries.FIND_READABLE, {"file_ids": list(set(file_ids))})
        return {row["file_id"]: artifact_of(row) for row in rows}

    async def find_reusable(
        self, connection: Connection, stage_keys: Sequence[str], *, of_run: UUID | None = None
    ) -> dict[str, Artifact]:
        """Return the newest reusable output for each of *stage_keys* that has one; with *of_run* only of its own."""
        values = {"stage_keys": list(stage_keys), "of_run": of_run}
        rows = await fetch_all(connection, queries.FIND_REUSABLE, values)
        return {row["stage_key"]: artifact_of(row) for row in rows}

    async def find_uploads(
        self, connection: Connection, pairs: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], Artifact]:
        """Return the newest upload of each of *pairs*, a source and the sha256 of its content, that is stored."""
        values = {"sources": [source for source, _ in pairs], "sha256s": [sha256 for _, sha256 in pairs]}
        rows = await fetch_all(connection, queries.FIND_UPLOADS, values)
        return {(row["source_file"], row["sha256"]): artifact_of(row) for row in rows}

    async def list_artifacts(
        self,
        connection: Connection,
        *,
        source: str | None = None,
        stage: int | None = None,
        run_id: UUID | None = None,
        document_sha256: str | None = None,
        kind: Kind | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """Return one page of available files, newest first. *after* is the `Page.next` of the page before."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidOptions(f"a page holds 1 to {MAX_PAGE} files, not {limit}")
        document = None if document_sha256 is None else _hash_bytes(document_sha256)
        filters: Row = {"source": source, "stage": stage, "run_id": run_id, "document_sha256": document}
        if after is not None:
            filters["after_created_at"], filters["after_file_id"] = read_row_cursor(after)
        given = {name: value for name, value in filters.items() if value is not None}
        # One row more than the page shows whether there is a next one.
        rows = await fetch_all(connection, queries.list_statement(given, kind=kind), {**given, "limit": limit + 1})
        artifacts = [artifact_of(row) for row in rows]
        more = len(artifacts) > limit
        artifacts = artifacts[:limit]
        return Page(
            artifacts=artifacts, next=write_cursor(artifacts[-1].created_at, artifacts[-1].file_id) if more else None
        )

    async def unfinished_of_run(self, connection: Connection, run_id: UUID) -> list[Unfinished]:
        """Return the rows that *run_id* left pending or half deleted. Only for runs that are known to be dead."""
        return [Unfinished(**row) for row in await fetch_all(connection, queries.UNFINISHED_OF_RUN, {"run_id": run_id})]

    async def statistics(
        self,
        connection: Connection,
        statement: str = statistics_queries.STATISTICS,
        values: Mapping[str, Any] | None = None,
    ) -> Row:
        """Return counts, bytes, oldest and newest of available files, in all, by kind and by stage.

        *statement* with its *values* may be another one that groups fewer files.
        """
        groups = await fetch_all(connection, statement, values or {})
        return statistics_of(groups, await fetch_all(connection, statistics_queries.STATES, {}))


def statistics_of(groups: Sequence[Row], states: Sequence[Row]) -> Row:
    """Return the statistics of available files, given in groups that each have one kind and one stage, and *states*."""
    kinds = sorted({str(group["kind"]) for group in groups})
    stages = sorted({int(group["stage"]) for group in groups if group["stage"] is not None})
    return {
        "total": _summarise(groups),
        "by_kind": {kind: _summarise([g for g in groups if g["kind"] == kind]) for kind in kinds},
        "by_stage": {str(stage): _summarise([g for g in groups if g["stage"] == stage]) for stage in stages},
        "by_state": {str(row["state"]): int(row["count"]) for row in states},
    }


def _reservation_rows(reservations: Sequence[Reservation]) -> str:
    """Return the JSON that `queries.RESERVE` reads. Raises `CatalogRefused` for what no row could hold later."""
    rows: list[Row] = []
    for one in reservations:
        columns = one.draft.columns()
        for name in ("metadata", "report"):
            json_text(columns.pop(name), name)
        keep_for_seconds = one.draft.keep_for.total_seconds()
        rows.append(columns | {"file_id": one.file_id, "location": one.location, "keep_for_seconds": keep_for_seconds})
    return _json_rows(rows)


def _written_rows(artifacts: Sequence[Artifact]) -> str:
    """Return the JSON that `queries.MAKE_AVAILABLE_CTES` reads. Raises `CatalogRefused` for what is no plain JSON."""
    rows = [
        {name: getattr(one, name) for name in _WRITTEN}
        | {
            "metadata": orjson.Fragment(json_text(without_zeros(one.stage_name, one.metadata), "metadata")),
            "report": orjson.Fragment(json_text(one.report, "report")),
        }
        for one in artifacts
    ]
    return _json_rows(rows)


def _as_stored(artifact: Artifact) -> Artifact:
    columns = {name: orjson.loads(json_text(getattr(artifact, name), name)) for name in ("metadata", "report")}
    # Nearly always it is what it was: a copy has thirty fields to set.
    if columns["metadata"] == artifact.metadata and columns["report"] == artifact.report:
        return artifact
    return replace(artifact, **columns)


def _hash_bytes(text: str) -> bytes:
    """Return a hash as it is stored; what is none is equal to no hash."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _json_rows(rows: Sequence[Row]) -> str:
    try:
        return orjson.dumps(rows).decode()
    except TypeError as exc:
        raise CatalogRefused("the name or source of a file is not valid Unicode text") from exc


def no_longer_pending(artifact: Artifact) -> ArtifactNotFound:
    """Return the error for a file whose row a recovery has removed before it became available."""
    return ArtifactNotFound(
        f"file {artifact.file_id} is no longer pending; {HOW_TO_REMAKE[artifact.kind]}", file_id=artifact.file_id
    )


async def why_not_found(connection: Connection, file_id: UUID) -> ArtifactNotFound:
    """Return the error for a file that cannot be read: `ArtifactGone` if it existed."""
    row = await fetch_optional(connection, queries.WAS_THERE, {"file_id": file_id})
    if row is None:
        return ArtifactNotFound(
            f"no file {file_id}: it never existed, has expired or was deleted; 'waybill files list' shows all files",
            file_id=file_id,
        )
    if row["state"] == "available":
        return ArtifactGone(
            f"file {file_id} has expired; it is still stored: 'waybill files extend {file_id} --for 90d' makes it "
            "readable again",
            file_id=file_id,
        )
    kind: Kind = row["kind"]
    return ArtifactGone(f"file {file_id} has expired or was deleted; {HOW_TO_REMAKE[kind]}", file_id=file_id)


def _summarise(groups: Sequence[Row]) -> Row:
    oldest = min((g["oldest"] for g in groups), default=None)
    newest = max((g["newest"] for g in groups), default=None)
    return {
        "count": sum(int(g["count"]) for g in groups),
        "bytes": min(MOST_BYTES, sum(int(g["bytes"]) for g in groups)),
        "oldest": oldest.isoformat() if oldest else None,
        "newest": newest.isoformat() if newest else None,
    }
