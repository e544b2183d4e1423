"""Access of remote workers: their sessions, whether they are revoked, and how often they may ask.

Owns the order of the checks: the form and the signature of the session, the worker's row, its rate. The row is read for
every request, so a revoked worker is refused from the next request on. Rate limits hold for one gateway process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from blocks.access import Actor
from blocks.catalog import Catalog
from blocks.errors import LinkExpired, LinkInvalid, WorkerRefused
from blocks.links import LinkKeys
from blocks.links.tokens import claimed
from blocks.workers import Worker, require_active, touch_worker, worker_not_found
from blocks.workers.sessions import SCOPE, check_session, seal_session
from waybill.gateway.access import (
    REFUSALS_RECORDED_PER_MINUTE,
    WRONG_KEYS_PER_MINUTE,
    bearer_of,
    client_address,
    not_authenticated,
    too_many_requests,
)
from waybill.gateway.errors import HttpError
from waybill.gateway.http.rate_limit import RateLimit
from waybill.gateway.lookups import Lookups
from waybill.gateway.request_log import request_id

# Of one address: a session lasts for a quarter of an hour, and behind a proxy all workers may have one address.
_SESSIONS_PER_MINUTE = 600


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity(Actor):
    """The authenticated worker of a request. Its row was read for this request."""

    name: str
    labels: tuple[str, ...]

    @property
    def namespace(self) -> str:
        """The holder of this worker's places, as `Caller.namespace` is of a key's."""
        return self.actor


class WorkerGate:
    """Authenticates sessions of workers, makes them, and limits rates (*requests_per_minute* of one worker)."""

    def __init__(
        self,
        catalog: Catalog,
        lookups: Lookups,
        keys: LinkKeys,
        *,
        requests_per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._lookups = lookups
        self._keys = keys
        self._requests_per_minute = requests_per_minute
        self._requests = RateLimit(clock)
        self._anonymous = RateLimit(clock)
        self._refusals = RateLimit(clock)

    async def admit(self, request: Request) -> WorkerIdentity:
        """Return the worker whose session the request has.

        Raises `HttpError` (401 without a session or with an invalid one, 410 with one that is over, 429),
        `WorkerRefused` for a revoked or removed worker, `CatalogUnavailable`.
        """
        token = bearer_of(request)
        if token is None:
            raise not_authenticated("this path needs the session of a worker: 'Authorization: Bearer ...'")
        try:
            name = await asyncio.to_thread(check_session, token, self._keys)
        except LinkExpired as exc:
            raise HttpError(410, "SessionExpired", "this session has expired; ask for a new one") from exc
        except LinkInvalid as exc:
            raise self._wrong_session(request) from exc
        worker = await self._lookups.worker(name)
        identity = self._identity(request, name, worker)
        if worker is None:
            raise WorkerRefused(f"there is no worker {name} any more; enrol the machine again")
        await self._require_active(worker, identity, request)
        if wait_seconds := self._requests.take(name, self._requests_per_minute):
            raise too_many_requests(wait_seconds)
        if not worker.seen_lately:
            async with self._catalog.transaction() as connection:
                await touch_worker(connection, name, address=identity.client)
        return identity

    async def sealed_session(self, request: Request, name: str) -> bytes:
        """Return a new session of a worker, sealed for its key.

        Raises `HttpError` (429), `WorkerNotFound`, `WorkerRefused`, `InvalidSettings`, `CatalogUnavailable`.
        """
        if wait_seconds := self._anonymous.take(f"session {client_address(request)}", _SESSIONS_PER_MINUTE):
            raise too_many_requests(wait_seconds)
        worker = await self._lookups.worker(name)
        if worker is None:
            raise worker_not_found(name)
        await self._require_active(worker, self._identity(request, name, worker), request)
        return await asyncio.to_thread(seal_session, worker, self._keys)

    def limit_enrolments(self, request: Request) -> None:
        """Raise `HttpError` (429) for an address that has tried to enrol too often."""
        if wait_seconds := self._anonymous.take(f"enrol {client_address(request)}", WRONG_KEYS_PER_MINUTE):
            raise too_many_requests(wait_seconds)

    async def record_refusal(self, by: Actor, why: str) -> None:
        """Record in the audit log that a worker, or an enrolment, was refused."""
        if not self._refusals.take(by.client or "", REFUSALS_RECORDED_PER_MINUTE):
            await self._lookups.record(by.entry("worker_refused", detail={"why": why}))

    async def _require_active(self, worker: Worker, identity: WorkerIdentity, request: Request) -> None:
        try:
            require_active(worker)
        except WorkerRefused:
            await self.record_refusal(identity, f"revoked: {request.url.path}")
            raise

    def _identity(self, request: Request, name: str, worker: Worker | None) -> WorkerIdentity:
        request.state.actor = actor = f"worker:{name}"
        return WorkerIdentity(
            actor=actor,
            client=client_address(request),
            request_id=request_id.get(),
            name=name,
            labels=worker.labels if worker else (),
        )

    def _wrong_session(self, request: Request) -> HttpError:
        if wait_seconds := self._anonymous.take(f"wrong {client_address(request)}", WRONG_KEYS_PER_MINUTE):
            return too_many_requests(wait_seconds)
        return HttpError(
            401,
            "SessionInvalid",
            "this is not a valid session of a worker: it was not signed here, was altered, or the signing keys were "
            "replaced; ask for a new one",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )


def has_session(request: Request) -> bool:
    """Return whether the credential of *request* claims to be a worker's session; nothing of it has been checked.

    For paths that take other credentials too: what to check the credential as.
    """
    token = bearer_of(request)
    said = claimed(token) if token is not None else None
    return said is not None and said.scope == SCOPE


# Refuses nothing itself: it only adds the scheme to the OpenAPI document. `WorkerGate` authenticates.
WORKER_SESSION = HTTPBearer(
    auto_error=False,
    scheme_name="workerSession",
    bearerFormat="JWT",
    description="The session of a worker, opened with its key: `POST /api/v1/workers/{name}/session`.",
)


async def _worker(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(WORKER_SESSION)]
) -> WorkerIdentity:
    gate = cast("WorkerGate", request.app.state.resources.worker_gate)
    return await gate.admit(request)


SessionWorker = Annotated[WorkerIdentity, Depends(_worker)]
"""The worker whose session the request has."""
