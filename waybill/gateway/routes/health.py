"""``GET /health``: the process answers. ``GET /ready``: so does everything it needs. Neither needs a key."""

from __future__ import annotations

import asyncio
from typing import Literal, cast

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from waybill.gateway.errors import RETRY_AFTER_SECONDS, json_response
from waybill.gateway.readiness import DependencyCheck, DispatcherState, Readiness

router = APIRouter(tags=["operation"])


class HealthAnswer(BaseModel):
    """The gateway answers."""

    status: Literal["ok"]


class ReadyChecks(BaseModel):
    """The gateway's dependencies. `prefect` is "not configured", and not needed, without PREFECT_API_URL."""

    database: DependencyCheck
    storage: DependencyCheck
    prefect: DependencyCheck


class ReadyAnswer(BaseModel):
    """Whether a load balancer should send requests here."""

    status: Literal["ready", "not ready"]
    checks: ReadyChecks
    skipped: dict[str, int] = Field(
        description="Records that cannot be read and were left out within the last hour, by kind; a warning only.",
        examples=[{"run": 1}],
    )
    dispatcher: DispatcherState = Field(
        description="Whether a dispatcher is connected to the database; without one webhooks wait. A warning only.",
    )


@router.get("/health", response_model=HealthAnswer)
async def health() -> Response:
    """Report that the gateway's process answers, without checking anything else."""
    return json_response({"status": "ok"})


@router.get(
    "/ready",
    response_model=ReadyAnswer,
    responses={503: {"model": ReadyAnswer, "description": "A dependency does not answer"}},
)
async def ready(request: Request) -> Response:
    """Report whether the next upload will work: the database, the storage and Prefect take it."""
    readiness = cast("Readiness", request.app.state.readiness)
    checks, skipped, dispatcher = await asyncio.gather(
        readiness.for_uploads(), readiness.skipped(), readiness.dispatcher()
    )
    is_ready = all(check.status != "problem" for check in checks.values())
    return json_response(
        {
            "status": "ready" if is_ready else "not ready",
            "checks": {name: check.model_dump() for name, check in checks.items()},
            "skipped": skipped,
            "dispatcher": dispatcher,
        },
        200 if is_ready else 503,
        headers={} if is_ready else {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
