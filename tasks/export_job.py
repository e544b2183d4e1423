"""Run one export job, in a flow, a command or the gateway: claim it, write the file, keep it, record the result.

Row, event and artifact commit together. A file becomes visible whole or not at all; a job that fails leaves none, and
its error holds no secret. After a transient error the job begins again, from its first row. A process that is killed
leaves a claim that expires, and the next look fails its job (`blocks.exports.expiry`).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from blocks.age import Recipient, parse_recipient, seal
from blocks.catalog import Artifact, Connection, Draft, Stored
from blocks.custody import Custody
from blocks.errors import ExportStopped, TooLarge, WaybillError
from blocks.exports import (
    Claim,
    ExportJob,
    ExportRequest,
    Result,
    claim_job,
    complete,
    end_job,
    get_job,
    release,
    renew,
    set_path,
)
from blocks.exports.events import completed_event, failed_event
from blocks.exports.expiry import remove_leftovers, scratch_of
from blocks.exports.place import ExportPlace
from blocks.exports.query_role import session_name
from blocks.exports.request import STORAGE
from blocks.naming import export_name
from blocks.redaction import without_password, without_signature
from blocks.runtime.threads import StopCheck, in_thread, to_its_end
from blocks.runtime.write_errors import is_disk_full, write_error, write_errors
from blocks.settings import Settings
from blocks.storage import CHUNK_BYTES
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import add_events
from tasks.export_input import fetch_input
from tasks.export_progress import OnProgress, Progress, reported
from tasks.export_retries import retried
from tasks.export_source import OpenSource, open_source

if TYPE_CHECKING:
    from tasks.export import Written

_LOG = logging.getLogger("waybill.exports")

_MAX_ERROR_CHARS = 1000
# A sealed export is a file of the age format, whatever is in it.
_SEALED_TYPE = "application/octet-stream"
_SEALED_SUFFIX = "age"
# Of a file that is not written yet.
_UNKNOWN_SHA256 = "0" * 64


OpenRuns = Callable[[], Any]
"""Returns a coroutine that opens the source of the table `runs`, which only Prefect knows."""


@dataclass(frozen=True, kw_only=True)
class ExportTools:
    """What a job is run with. *open_runs* is None where there is no Prefect server."""

    custody: Custody
    settings: Settings
    open_runs: OpenRuns | None = None

    @property
    def keep_failed(self) -> Any:
        return self.settings.retention.period("failed")


async def run_export(
    job_id: str,
    tools: ExportTools,
    *,
    request: ExportRequest | None = None,
    run_id: UUID | None = None,
    on_progress: OnProgress | None = None,
    wait_seconds: float | None = None,
) -> ExportJob:
    """Run a recorded job to its end and return it, also a failed one.

    *request* is what was asked for, if the row does not hold all of it (a database URL). *run_id* takes over a job that
    an earlier process of the same run has begun. After *wait_seconds* the job is given back, and waits again. A job
    that another process works on, or that has ended, is returned as it is. Raises `ExportNotFound`, and
    `CatalogUnavailable` when nothing can be recorded; a cancellation of the caller cancels the job.
    """
    catalog = tools.custody.catalog
    async with catalog.connection() as connection:
        job = await get_job(connection, job_id)
        claim = await claim_job(connection, job_id, run_id=run_id)
    if claim is None:
        return job
    progress = Progress()
    work = _Work(tools, request or ExportRequest.of_row(vars(job)), job, claim, progress, run_id)
    limit = asyncio.timeout(wait_seconds)
    try:
        async with limit:
            await retried(lambda: work.attempt(on_progress), name=f"export={job_id}", is_ended=progress.stop.is_set)
    except asyncio.CancelledError:
        progress.end("the export was interrupted")
        with suppress(WaybillError):
            await to_its_end(_end(work, "cancelled", progress.reason))
        raise
    except Exception as error:  # noqa: BLE001 - every failure is recorded with its job
        if limit.expired():
            await to_its_end(_give_back(work))
        else:
            if not isinstance(error, WaybillError):
                _LOG.exception("export=%s failed", job_id)
            # A query that is ended because its time is over says only that its connection was lost.
            await to_its_end(_end(work, "failed", progress.reason or _reason(error)))
    async with catalog.connection() as connection:
        return await get_job(connection, job_id)


class _Work:
    """The work of one process on a job."""

    def __init__(
        self,
        tools: ExportTools,
        request: ExportRequest,
        job: ExportJob,
        claim: Claim,
        progress: Progress,
        run_id: UUID | None,
    ) -> None:
        self.tools, self.request, self.job = tools, request, job
        self.claim, self.progress, self.run_id = claim, progress, run_id
        self.catalog = tools.custody.catalog
        self.scratch = scratch_of(tools.settings, job.job_id)
        # Where files may be that are not in custody: of an earlier process, and of earlier attempts.
        self.left = {claim.left} if claim.left is not None else set[str]()
        self.path: str | None = None
        self.begun = False
        self._caller_check: StopCheck = lambda: None

    async def attempt(self, on_progress: OnProgress | None) -> None:
        """Write the file and keep it, from the beginning. Raises what went wrong; then nothing is visible."""
        if self.begun:
            await self._begin_again()
        self.begun = True
        is_query, settings = self.request.query is not None, self.tools.settings
        async with reported(
            self.progress, self.claim, self.catalog, settings, is_query=is_query, on_progress=on_progress
        ):
            await self._run()

    async def _begin_again(self) -> None:
        self.progress.begin_again()
        async with self.catalog.connection() as connection:
            # The answer to a commit may have been lost: such a job is complete, and its file stays.
            if not await renew(connection, self.claim, rows=0):
                raise ExportStopped("the export was cancelled")

    async def _run(self) -> None:
        from tasks.export import extension

        recipients = self._recipients()
        for left in self.left or {None}:
            await asyncio.to_thread(remove_leftovers, self.tools.settings, self.job.job_id, left)
        self.left.clear()
        with write_errors(self.scratch):
            self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            place = ExportPlace.of(self.tools.settings)
            ending = extension(self.request.format, self.request.compression)
            ending = f"{ending}.{_SEALED_SUFFIX}" if recipients else ending
            at = await self.catalog.now()
            name = export_name(self.request.export_type, self.job.job_id, at, ending)
            written = await self._write(self.scratch / name)
            self.path = place.locate(name) if place is not None else None
            if self.path is not None:
                self.left.add(self.path)
            async with self.catalog.connection() as connection:
                if not await set_path(connection, self.claim, filename=name, path=self.path):
                    raise ExportStopped("the export was cancelled")
            chunks = _FileChunks(self.scratch / name, recipients, self.progress)
            if place is None:
                await self._keep_in_custody(name, chunks, written)
            else:
                await self._keep_in_place(place, name, chunks, written)
        finally:
            await asyncio.to_thread(shutil.rmtree, self.scratch, True)

    async def _write(self, target: Path) -> Written:
        source = await self._open()
        self.progress.rows_expected = source.rows_expected
        try:
            return await in_thread(lambda check: self._write_in_thread(source, target, check))
        finally:
            await asyncio.to_thread(source.records.close)

    def _write_in_thread(self, source: OpenSource, target: Path, check: StopCheck) -> Written:
        from tasks.export import write_export

        most = self.tools.settings.export_max_rows

        def on_rows(rows: int) -> None:
            self.progress.rows = rows
            if rows > most:
                raise TooLarge(f"the export has more than {most:,} rows (WAYBILL_EXPORT_MAX_ROWS); narrow it down")

        if source.rows_expected is not None and source.rows_expected > most:
            raise TooLarge(
                f"the export has {source.rows_expected:,} rows, and {most:,} are allowed (WAYBILL_EXPORT_MAX_ROWS); "
                "narrow it down with a query"
            )

        try:
            return write_export(
                source.records,
                target,
                format=self.request.format,
                compression=self.request.compression,
                safe_formulas=self.request.safe_formulas,
                rows_expected=source.rows_expected,
                on_rows=on_rows,
                check=self._checked_by(check),
            )
        except OSError as exc:
            if is_disk_full(exc):
                raise write_error(target.parent, exc) from exc
            raise

    async def _open(self) -> OpenSource:
        custody, settings = self.tools.custody, self.tools.settings
        if self.request.is_table and self.request.export_type == "runs":
            if self.tools.open_runs is None:
                raise ExportStopped("runs are exported from Prefect, and no Prefect server is configured")
            return OpenSource(await self.tools.open_runs())
        copy = None
        if self.request.input is not None:
            copy = await fetch_input(self.request.input, self.scratch, custody=custody, settings=settings)
        session = session_name(self.job.job_id)
        opened: list[OpenSource] = []

        def open_it(check: StopCheck) -> None:
            opened.append(open_source(self.request, settings, copy, self._checked_by(check), session=session))

        try:
            await in_thread(open_it)
        except BaseException:
            for source in opened:  # by the time that its caller was cancelled
                await asyncio.to_thread(source.records.close)
            raise
        return opened[0]

    def _checked_by(self, check: StopCheck) -> StopCheck:
        """Have `_stop_check` check for this caller from now on, and return it: threads take turns with one source."""
        self._caller_check = check
        return self._stop_check

    def _stop_check(self) -> None:
        self._caller_check()
        self.progress.check()

    async def _keep_in_custody(self, name: str, chunks: _FileChunks, written: Written) -> None:
        async def make_available(artifact: Artifact) -> Artifact:
            async with self.tools.custody.catalog.transaction() as connection:
                made = await self.tools.custody.catalog.make_available(connection, artifact)
                result = Result(
                    filename=name,
                    file_id=made.file_id,
                    size=made.size,
                    sha256=made.sha256,
                    rows=written.rows,
                    notes=list(written.notes),
                    expires_at=made.expires_at,
                )
                await self._complete(connection, result, made)
                return made

        draft = self._draft(name, written)

        async def describe(stored: Stored) -> Draft:
            return replace(draft, document_sha256=stored.sha256)  # no document is behind it: its own, as for uploads

        (reservation,) = await self.tools.custody.reserve([draft])
        await self.tools.custody.fill(reservation, iter(chunks), draft=describe, make_available=make_available)

    async def _keep_in_place(self, place: ExportPlace, name: str, chunks: _FileChunks, written: Written) -> None:
        blob = await in_thread(lambda _: place.publish(name, chunks))
        result = Result(
            filename=name,
            file_id=None,
            size=blob.size,
            sha256=blob.sha256,
            rows=written.rows,
            notes=list(written.notes),
            expires_at=None,
        )
        async with self.catalog.transaction() as connection:
            await self._complete(connection, result, None)

    async def _complete(self, connection: Connection, result: Result, artifact: Artifact | None) -> None:
        """Record the result with its event, in the caller's transaction. Raises `ExportStopped` if it was cancelled."""
        if await complete(connection, self.claim, result) is None:
            raise ExportStopped("the export was cancelled")
        job = await get_job(connection, self.job.job_id)
        links = EventLinks.of(self.tools.settings)
        event = completed_event(job, artifact, links, job.ended_at or job.created_at)
        await add_events(connection, [event], links.to_payload)

    def _draft(self, name: str, written: Written) -> Draft:
        from tasks.export import media_type

        form = media_type(self.request.format, self.request.compression)
        return Draft(
            kind="export",
            filename=name,
            source_file=f"export:{self.request.export_type}",
            document_sha256=_UNKNOWN_SHA256,
            media_type=_SEALED_TYPE if self.request.encrypt_for else form,
            keep_for=self.job.keep_for,
            run_id=self.run_id,
            metadata={"job_id": self.job.job_id, "export_type": self.request.export_type, "rows": written.rows},
        )

    def _recipients(self) -> list[Recipient]:
        found: list[Recipient] = []
        for text in self.request.encrypt_for:
            if text != STORAGE:
                found.append(parse_recipient(text))
                continue
            key = self.tools.custody.keys.recipient_to_store_for()
            if key is None:
                raise ExportStopped("there is no storage key to encrypt for: WAYBILL_ENCRYPT is off")
            found.append(key)
        return found


class _FileChunks:
    """The bytes of a file, sealed for *recipients* if there are any."""

    def __init__(self, path: Path, recipients: Sequence[Recipient], progress: Progress) -> None:
        self._path, self._recipients, self._progress = path, recipients, progress

    def __iter__(self) -> Any:
        plain = self._plain()
        return iter(seal(plain, self._recipients)) if self._recipients else plain

    def _plain(self) -> Iterable[bytes]:
        with self._path.open("rb") as stream:
            while piece := stream.read(CHUNK_BYTES):
                self._progress.check()
                yield piece


async def _give_back(work: _Work) -> None:
    await asyncio.to_thread(remove_leftovers, work.tools.settings, work.job.job_id, work.path)
    async with work.catalog.connection() as connection:
        await release(connection, work.claim)


async def _end(work: _Work, state: str, reason: str) -> None:
    """Record that the job failed or was cancelled, with its event; nothing of it stays."""
    async with work.catalog.transaction() as connection:
        ended = await end_job(
            connection,
            work.claim,
            state=state,
            error=reason,
            keep_failed=work.tools.keep_failed,
            rows=work.progress.rows,
            rows_expected=work.progress.rows_expected,
        )
        job = await get_job(connection, work.job.job_id)
        if ended and state == "failed":
            event = failed_event(job, job.ended_at or job.created_at)
            await add_events(connection, [event], EventLinks.of(work.tools.settings).to_payload)
    # Of a commit whose answer was lost, the file stays.
    path = None if job.state == "completed" and job.path == work.path else work.path
    with suppress(WaybillError):  # the next look removes it
        await asyncio.to_thread(remove_leftovers, work.tools.settings, work.job.job_id, path)


def _reason(error: Exception) -> str:
    """Return why an export failed, without credentials. Of an unexpected error only its type: it may quote a value."""
    text = error.message if isinstance(error, WaybillError) else f"an unexpected {type(error).__name__}"
    return without_signature(without_password(text))[:_MAX_ERROR_CHARS]
