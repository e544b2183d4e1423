"""A client for Waybill's HTTP API that needs only httpx: copy this file into any program.

    with Client("http://127.0.0.1:8000", api_key) as waybill:
        run = waybill.ingest("report.pdf", stages="1-3", idempotency_key="order-4711")
        waybill.wait(run["task_id"])
        for file in waybill.files_by_source("report.pdf"):
            waybill.download(file["file_id"], file["filename"])

Methods return the API's JSON objects unchanged; errors of the API raise `ApiError`. Requests that are safe to repeat
are retried when the connection fails or the API is temporarily unavailable, for up to `patience_seconds` after the
first failure. A download that makes progress starts that time over.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx

Answer = dict[str, Any]
T = TypeVar("T")

# Temporary conditions: too many requests, a dependency of the API that is down, and an earlier try of the same request
# that is still being processed, perhaps by a gateway that was killed.
_TEMPORARY = frozenset({429, 503})
_IN_PROGRESS = "RequestUnderWay"
# httpx's errors of the network and of the server. Its other errors are mistakes of the caller.
_FAILURES = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0
_ENDED = frozenset({"completed", "failed", "cancelled", "crashed"})


class ApiError(Exception):
    """An error response. `code` is for programs; `retry_after` is in seconds, if the API sent it."""

    def __init__(self, status: int, code: str, message: str, detail: Mapping[str, Any], retry_after: float | None):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message
        self.detail, self.retry_after = dict(detail), retry_after


class Damaged(Exception):
    """A download whose sha256 is not that of the catalogue; its file was deleted."""


class Client:
    """One gateway, with one API key. Not thread-safe."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        # A key read from a file ends with a newline.
        headers = {"Authorization": f"Bearer {api_key.strip()}"} if api_key else {}
        self._http = httpx.Client(
            base_url=f"{base_url.rstrip('/')}/api/v1", headers=headers, timeout=timeout_seconds, transport=transport
        )
        self._patience_seconds = patience_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # Runs -------------------------------------------------------------------------------------------------------------

    def ingest(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        file_id: str | None = None,
        stages: str | None = None,
        options: Mapping[str, Any] | None = None,
        webhook_url: str | None = None,
        keep_for: str | None = None,
        time_limit: str | None = None,
        source_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Upload the file at *path*, or name one in custody, and start a run on it: ``{"task_id", "status_url", ...}``.

        Retries use the same `Idempotency-Key`, by default a random one, so that there is only one run.
        """
        if (path is None) == (file_id is None):
            raise ValueError("give either the path of a file or the file_id of one in custody")
        fields = _fields(
            file_id=file_id,
            stages=stages,
            options=options,
            webhook_url=webhook_url,
            keep_for=keep_for,
            time_limit=time_limit,
            source_type=source_type,
            metadata=metadata,
        )
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._retried(lambda: self._send_form("/ingest/file", path, fields, headers))

    def start(
        self,
        sources: str | Iterable[str] = (),
        *,
        list_path: str | os.PathLike[str] | None = None,
        spread: str | None = None,
        stages: str | None = None,
        options: Mapping[str, Any] | None = None,
        reuse: bool | None = None,
        webhook_url: str | None = None,
        keep_for: str | None = None,
        time_limit: str | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Start a run on *sources*, and on those of the file at *list_path*, which has one on each line.

        *spread* is a work pool of Prefect whose workers process them. Returns ``{"task_id", "sources", "list_source",
        ...}``; *list_source* stands for the list in further runs. Retried as `ingest`.
        """
        fields = _fields(
            sources="\n".join([sources] if isinstance(sources, str) else sources) or None,
            spread=spread,
            stages=stages,
            options=options,
            reuse=None if reuse is None else str(reuse).lower(),
            webhook_url=webhook_url,
            keep_for=keep_for,
            time_limit=time_limit,
        )
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._retried(lambda: self._send_form("/runs", list_path, fields, headers))

    def status(self, task_id: str) -> Answer:
        """Return the state and progress of a run."""
        return self._get(f"/status/{task_id}")

    def history(self, task_id: str) -> Iterator[Answer]:
        """Yield the history of a run, newest first."""
        return self._pages(f"/status/{task_id}/history", "history")

    def recent_events(self, hours: float = 24) -> list[Answer]:
        """Return recent events of all runs, newest first."""
        return cast("list[Answer]", self._get("/status/events/recent", hours=hours)["events"])

    def runs(self, **filters: Any) -> Iterator[Answer]:
        """Yield runs, newest first; *filters* are `state`, one or a list, and `flow`."""
        return self._pages("/runs", "runs", **filters)

    def cancel(self, task_id: str) -> Answer:
        """Cancel a run: ``{"task_id", "status", ...}``. Its state is *cancelling* until its process has ended."""
        return self._retried(lambda: self._answer(self._http.post(f"/runs/{task_id}/cancel")))

    def watch(self, source: str, *, every: str = "5m", **wanted: Any) -> Answer:
        """Watch a folder, glob or URL of the gateway's machine; *wanted* are `stages`, `options`, `keep_for` and such.

        Needs `admin`. Watching a place again changes its schedule.
        """
        body = {"source": source, "every": every, **wanted}
        return self._retried(lambda: self._answer(self._http.post("/watches", json=body)))

    def watches(self) -> list[Answer]:
        """Return the watched places."""
        return cast("list[Answer]", self._get("/watches")["watches"])

    def unwatch(self, watch_id: str) -> Answer:
        """Remove a watch; needs `admin`."""
        return self._answer(self._http.delete(f"/watches/{watch_id}"))

    def wait(self, task_id: str, *, timeout_seconds: float = 600.0, every_seconds: float = 0.5) -> Answer:
        """Poll a run until it has ended, and return its status. Raises `TimeoutError`."""
        until = time.monotonic() + timeout_seconds
        while (status := self.status(task_id))["status"] not in _ENDED:
            if time.monotonic() > until:
                raise TimeoutError(f"run {task_id} is still {status['status']} after {timeout_seconds:.0f} s")
            time.sleep(every_seconds)
        return status

    # Files ------------------------------------------------------------------------------------------------------------

    def upload(
        self,
        path: str | os.PathLike[str],
        *,
        keep_for: str | None = None,
        source_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Store a file without processing it.

        Retries use the same `Idempotency-Key`, by default a random one, so that it is stored once.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        fields = _fields(keep_for=keep_for, source_type=source_type, metadata=metadata)
        return self._retried(lambda: self._send_form("/files/upload", path, fields, headers))

    def files_by_source(self, source_file: str) -> Iterator[Answer]:
        """Yield every file of this source: its path, URL or name."""
        return self._pages("/files/list/by-source", "files", source_file=source_file)

    def files_by_stage(self, stage: int) -> Iterator[Answer]:
        """Yield every output of a stage."""
        return self._pages("/files/list/by-stage", "files", stage=stage)

    def metadata(self, file_id: str) -> Answer:
        """Return the catalogue entry of a file."""
        return self._get(f"/files/metadata/{file_id}")

    def download(self, file_id: str, target: str | os.PathLike[str]) -> Path:
        """Download a file to the path *target*, resuming if it breaks off. The file appears complete and verified.

        Raises `Damaged` when the sha256 is not that of the catalogue.
        """
        final = Path(target)
        if final.is_dir():
            raise IsADirectoryError(f"{final} is a folder; give the path of the new file")
        entry = self.metadata(file_id)
        partial = final.with_name(f"{final.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            with partial.open("wb") as into:
                self._retried(
                    lambda: self._fetch_rest(file_id, entry, into), progress=lambda: into.seek(0, os.SEEK_END)
                )
            with partial.open("rb") as written:
                found = hashlib.file_digest(written, "sha256").hexdigest()
            if found != entry["sha256"]:
                raise Damaged(f"expected sha256 {entry['sha256']} and got {found}")
            return partial.replace(final)
        finally:
            partial.unlink(missing_ok=True)

    def share(self, file_id: str, expires_in: str = "1h") -> Answer:
        """Create a link that needs no API key: ``{"url", "expires_at", ...}``."""
        return self._answer(self._http.post(f"/files/{file_id}/share", json={"expires_in": expires_in}))

    def pin(self, file_id: str, note: str | None = None) -> Answer:
        """Keep a file beyond its expiry."""
        return self._retried(lambda: self._answer(self._http.post(f"/files/{file_id}/pin", json={"note": note})))

    def unpin(self, file_id: str) -> Answer:
        """Let a pinned file expire again."""
        return self._retried(lambda: self._answer(self._http.post(f"/files/{file_id}/unpin")))

    def hold(self, file_id: str, note: str | None = None) -> Answer:
        """Put a file under a legal hold; needs `admin`."""
        return self._retried(lambda: self._answer(self._http.post(f"/files/{file_id}/hold", json={"note": note})))

    def release(self, file_id: str) -> Answer:
        """Lift the legal hold of a file; needs `admin`."""
        return self._retried(lambda: self._answer(self._http.post(f"/files/{file_id}/release")))

    def extend(self, file_id: str, keep_for: str | None = None, *, until: str | None = None) -> Answer:
        """Let a file stay for *keep_for* from now, such as ``90d``, or *until* a time; never for less than it would."""
        body = {"for": keep_for} if keep_for is not None else {"until": until}
        return self._retried(lambda: self._answer(self._http.post(f"/files/{file_id}/extend", json=body)))

    def delete(self, file_id: str) -> Answer:
        """Delete a file."""
        return self._answer(self._http.delete(f"/files/{file_id}"))

    # Exports ----------------------------------------------------------------------------------------------------------

    def export(self, export_type: str, *, idempotency_key: str | None = None, **wanted: Any) -> Answer:
        """Start an export and return its job; *wanted* are `format`, `compression`, `query`, `keep_for` and such.

        Retries use the same `Idempotency-Key`, by default a random one, so that there is only one job.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        body = {"export_type": export_type, **wanted}
        return self._retried(lambda: self._answer(self._http.post("/exports", json=body, headers=headers)))

    def export_job(self, job_id: str) -> Answer:
        """Return an export job: its state, rows and file."""
        return self._get(f"/exports/{job_id}")

    def exports(self, **filters: Any) -> Iterator[Answer]:
        """Yield export jobs, newest first; *filters* are `state` and `export_type`."""
        return self._pages("/exports", "exports", **filters)

    def wait_for_export(self, job_id: str, *, timeout_seconds: float = 600.0, every_seconds: float = 0.5) -> Answer:
        """Poll an export until it is over, and return its job. Raises `TimeoutError`."""
        until = time.monotonic() + timeout_seconds
        while (job := self.export_job(job_id))["state"] in {"pending", "running"}:
            if time.monotonic() > until:
                raise TimeoutError(f"export {job_id} is still {job['state']} after {timeout_seconds:.0f} s")
            time.sleep(every_seconds)
        return job

    def remove_export(self, job_id: str) -> Answer:
        """Cancel an export that is under way, or delete the file of one that is done."""
        return self._answer(self._http.delete(f"/exports/{job_id}"))

    # Retention --------------------------------------------------------------------------------------------------------

    def clean_up(
        self, *, max_age_hours: float | None = None, plan_id: str | None = None, dry_run: bool = False
    ) -> Answer:
        """Remove files whose time is over, or exactly the files of a plan; report what went and what stayed and why.

        A *dry_run* makes the plan. Needs `admin`.
        """
        given = {"max_age_hours": max_age_hours, "plan_id": plan_id, "dry_run": dry_run}
        parameters = {name: value for name, value in given.items() if value is not None}
        # However many files there are, the connection shows that the gateway lives.
        return self._retried(lambda: self._answer(self._http.delete("/files/cleanup", params=parameters, timeout=None)))

    def forget(self, sha256: str, *, force: bool = False, dry_run: bool = False) -> Answer:
        """Forget a document, and return the certificate of what went. With *force*, pinned files go too.

        A *dry_run* returns what would go. Needs `admin`. The same call goes on with what a killed gateway has begun.
        """
        given = {"force": force, "dry_run": dry_run}
        return self._retried(
            lambda: self._answer(self._http.delete(f"/documents/{sha256}", params=given, timeout=None))
        )

    def retention_plans(self) -> list[Answer]:
        """Return the newest plans of the retention."""
        return list(self._get("/retention/plans")["plans"])

    def statistics(self) -> Answer:
        """Return counts and bytes of what is stored, and what goes next."""
        return self._get("/stats")

    # Webhooks ---------------------------------------------------------------------------------------------------------

    def add_endpoint(self, url: str, events: list[str] | None = None) -> Answer:
        """Register a webhook endpoint. Only this response has its secret."""
        return self._answer(self._http.post("/webhooks/endpoints", json={"url": url, "events": events}))

    def endpoints(self) -> list[Answer]:
        """Return the webhook endpoints."""
        return cast("list[Answer]", self._get("/webhooks/endpoints")["endpoints"])

    def deliveries(self, **filters: Any) -> Iterator[Answer]:
        """Yield webhook deliveries, newest first; *filters* are `endpoint_id`, `state` and `task_id`."""
        return self._pages("/webhooks/deliveries", "deliveries", **filters)

    def replay(self, delivery_id: str) -> Answer:
        """Send a delivery again."""
        return self._answer(self._http.post(f"/webhooks/deliveries/{delivery_id}/replay"))

    def test_endpoint(self, endpoint_id: str) -> Answer:
        """Send a test event."""
        return self._answer(self._http.post("/webhooks/test", json={"endpoint_id": endpoint_id}))

    # Search -----------------------------------------------------------------------------------------------------------

    def search(self, question: str, *, k: int = 10, show_all: bool = False, **filters: Any) -> Answer:
        """Return the *k* best passages: ``{"results", "nothing_close", "threshold", ...}``.

        There are none if nothing is close to the question, unless *show_all*. *filters* are `source`, `type`,
        `language`, `run_id`, `since` and `until`.
        """
        return self._get("/search", q=question, k=k, all=show_all, **filters)

    def documents(self, **filters: Any) -> Iterator[Answer]:
        """Yield the documents of the search index, the last ingested first; *filters* are those of `search`."""
        return self._pages("/documents", "documents", **filters)

    def document(self, sha256: str) -> Answer:
        """Return what is known of a document, by the SHA-256 of its content."""
        return self._get(f"/documents/{sha256}")

    def chunks(self, sha256: str) -> Iterator[Answer]:
        """Yield the passages of a document in the order of its text."""
        return self._pages(f"/documents/{sha256}/chunks", "chunks")

    def facts(self, sha256: str) -> Iterator[Answer]:
        """Yield the facts of a document, the best first."""
        return self._pages(f"/documents/{sha256}/facts", "facts")

    def entities(self, sha256: str) -> Iterator[Answer]:
        """Yield the entities of a document, the most frequent first."""
        return self._pages(f"/documents/{sha256}/entities", "entities")

    def keywords(self, sha256: str) -> Iterator[Answer]:
        """Yield the key phrases of a document, the best first."""
        return self._pages(f"/documents/{sha256}/keywords", "keywords")

    # ------------------------------------------------------------------------------------------------------------------

    def _get(self, path: str, **parameters: Any) -> Answer:
        return self._retried(lambda: self._answer(self._http.get(path, params=parameters)))

    def _pages(self, path: str, name: str, **parameters: Any) -> Iterator[Answer]:
        after: dict[str, Any] = {}
        while True:
            page = self._get(path, **parameters, **after)
            yield from page[name]
            if page.get("next") is None:
                return
            after = {"after": page["next"]}

    def _send_form(
        self, path: str, file: str | os.PathLike[str] | None, fields: Mapping[str, str], headers: Mapping[str, str]
    ) -> Answer:
        # Fields first: a wrong one is refused before the file is sent. None as the file name makes a plain field.
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in fields.items()]
        if file is None:
            return self._answer(self._http.post(path, files=parts, headers=headers))
        with Path(file).open("rb") as content:
            parts.append(("file", (Path(file).name, content)))
            return self._answer(self._http.post(path, files=parts, headers=headers))

    def _fetch_rest(self, file_id: str, entry: Answer, into: Any) -> None:
        begun = into.seek(0, os.SEEK_END)
        # With If-Range the server sends the rest only if the content is the same, and otherwise all of it.
        headers = {"Range": f"bytes={begun}-", "If-Range": f'"{entry["sha256"]}"'} if begun else {}
        if begun and begun == entry["size"]:
            return
        with self._http.stream("GET", f"/files/download/{file_id}", headers=headers, follow_redirects=True) as answer:
            if answer.is_error:
                answer.read()
                self._answer(answer)
            if answer.status_code != 206 and begun:
                into.seek(0)
                into.truncate()
            for piece in answer.iter_bytes():
                into.write(piece)

    def _retried(self, attempt: Callable[[], T], *, progress: Callable[[], int] = lambda: 0) -> T:
        """Return the result of *attempt*, retried. *progress* is a number that grows when an attempt got further."""
        until, pause, furthest = float("inf"), _FIRST_PAUSE_SECONDS, 0
        while True:
            try:
                return attempt()
            except (*_FAILURES, ApiError) as error:
                if isinstance(error, ApiError) and error.status not in _TEMPORARY and error.code != _IN_PROGRESS:
                    raise
                if until == float("inf") or progress() > furthest:
                    furthest, pause = progress(), _FIRST_PAUSE_SECONDS
                    until = time.monotonic() + self._patience_seconds
                wait = (error.retry_after if isinstance(error, ApiError) else None) or pause
                if time.monotonic() + wait > until:
                    raise
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    @staticmethod
    def _answer(response: httpx.Response) -> Answer:
        if response.is_success:
            return cast("Answer", response.json())
        after = response.headers.get("retry-after", "")
        try:
            error = response.json()["error"]
            code, message, detail = str(error["code"]), str(error["message"]), error["detail"]
        except (ValueError, KeyError, TypeError):  # a proxy has answered
            code, message, detail = "NoAnswerOfWaybill", response.reason_phrase, dict[str, Any]()
        raise ApiError(response.status_code, code, message, detail, float(after) if after.isdecimal() else None)


def _fields(**given: Any) -> dict[str, str]:
    """Return form fields, with mappings as JSON and without those that are None."""
    return {
        name: json.dumps(value) if isinstance(value, Mapping) else str(value)
        for name, value in given.items()
        if value is not None
    }
