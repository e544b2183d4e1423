"""A worker's requests about one assignment: claim, renew, report, give back. Repeats what was not answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import AssignmentLost, GatewayRefused, GatewayUnavailable, WaybillError
from blocks.hand_over.answers import response_error
from blocks.hand_over.session import WorkerSession

# As long as the lease: a gateway that is away for longer has given the assignment to another worker.
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 2.0
# Four in a lease.
RENEW_SECONDS = 15.0
# At its end a worker does not wait for a gateway that may be gone.
_FAREWELL_SECONDS = 5.0


class TransferOffer(BaseModel):
    """A transfer that was prepared for this worker. *recipient* is the storage's in an upload; None: not encrypted."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    transfer_id: str = Field(pattern=r"^trf_[0-9a-f]{16}$")
    direction: str
    token: str = Field(repr=False)
    recipient: str | None = None
    content_size: int | None = None
    content_sha256: str | None = None


class InputOffer(TransferOffer):
    """One input of a job."""

    name: str


class JobOffer(BaseModel):
    """One job of an assignment."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    ordinal: int
    stage_key: str
    document: dict[str, Any]
    options: dict[str, Any]
    inputs: Sequence[InputOffer]
    upload: TransferOffer


class AssignmentOffer(BaseModel):
    """An assignment that this worker has claimed, with the jobs that are not over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    stage: str
    stage_version: str
    lease_seconds: float = Field(gt=0)
    time_limit_seconds: float | None = Field(default=None, gt=0)
    jobs: Sequence[JobOffer]


class Desk:
    """The gateway's desk for one assignment. Nothing here reads the clock of this machine, which may be wrong."""

    def __init__(self, session: WorkerSession, assignment_id: str) -> None:
        self._session = session
        self._id = assignment_id

    async def claim(self, token: str, remote_run_id: UUID | None) -> AssignmentOffer:
        """Claim the assignment. Raises `AssignmentLost`, `WorkerRefused`, `LinkExpired`, `GatewayUnavailable` etc."""
        wanted = {"ticket": token, "remote_run_id": str(remote_run_id) if remote_run_id else None}
        found = await self._call("claim", wanted)
        try:
            return AssignmentOffer.model_validate(found)
        except ValidationError as exc:
            raise GatewayRefused("the gateway answers a claim in a form that this worker does not know") from exc

    async def keep(self, lease_seconds: float) -> None:
        """Renew the lease until cancelled. Raises `AssignmentLost`, and what ends a session."""
        pause = min(RENEW_SECONDS, lease_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            await self._call("renew", None)

    async def report(self, ordinal: int, *, result: Mapping[str, Any] | None = None, error: Any = None) -> None:
        """Report a job. Raises `AssignmentLost`, and `TransferConflict` for an output that the gateway refuses."""
        given = {"result": dict(result)} if result is not None else {"error": error}
        await self._call(f"jobs/{ordinal}", given)

    async def give_back(self, why: str) -> None:
        """Let another worker have it at once, if the gateway answers now."""
        with suppress(WaybillError, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._call("return", {"why": why[:500]})

    def url(self, offer: TransferOffer) -> str:
        """Return the URL of a transfer at the gateway that this worker knows, by whatever name the home has it."""
        return self._session.url(f"/transfers/{offer.transfer_id}/{offer.direction}")

    async def new_token(self, offer: TransferOffer) -> str:
        """Return a new token of a transfer."""
        return str((await self._request(f"/transfers/{offer.transfer_id}/token", None))["token"])

    async def _call(self, what: str, body: Any) -> dict[str, Any]:
        return await self._request(f"/assignments/{self._id}/{what}", body)

    async def _request(self, path: str, body: Any) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                response = await self._session.request("POST", path, json=body, timeout_seconds=_PATIENCE_SECONDS)
                break
            except GatewayUnavailable:
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)
        if response.is_success:
            return {} if response.status_code == HTTPStatus.NO_CONTENT else response.json()
        error = response_error(response)
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise AssignmentLost(f"the gateway does not know assignment {self._id}") from error
        raise error
