"""``GET /health``: the process answers. ``GET /ready``: so does everything that it needs. Neither wants a key."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from waybill.gateway.errors import json_answer
from waybill.gateway.readiness import Condition, Readiness

router = APIRouter(tags=["operation"])


class HealthAnswer(BaseModel):
    """The gateway answers."""

    status: Literal["ok"]


class DependencyCheck(BaseModel):
    """What a look at one dependency has shown."""

    status: Condition
    milliseconds: float = Field(ge=0, description="How long it took to answer.", examples=[1.3])
    problem: str | None = Field(description="What is wrong, for people.", examples=[None])


class ReadyChecks(BaseModel):
    """What the gateway needs. `prefect` is not needed where none is configured."""

    database: DependencyCheck
    storage: DependencyCheck
    prefect: DependencyCheck


class ReadyAnswer(BaseModel):
    """Whether requests are worth sending here."""

    status: Literal["ready", "not ready"]
    checks: ReadyChecks


async def readiness_of(request: Request) -> Readiness:
    """What looks after the application's dependencies."""
    return cast("Readiness", request.app.state.readiness)


Dependencies = Annotated[Readiness, Depends(readiness_of)]


@router.head("/health", include_in_schema=False)
@router.get("/health", response_model=HealthAnswer)
async def health() -> Response:
    """Whether the gateway answers; it asks nobody else."""
    return json_answer({"status": "ok"})


@router.head("/ready", include_in_schema=False)
@router.get(
    "/ready",
    response_model=ReadyAnswer,
    responses={503: {"model": ReadyAnswer, "description": "Something that is needed does not answer"}},
)
async def ready(readiness: Dependencies) -> Response:
    """Whether database, storage and Prefect answer, each by its name."""
    checks = await readiness.checks()
    is_ready = all(check.status != "problem" for check in checks.values())
    return json_answer(
        {
            "status": "ready" if is_ready else "not ready",
            "checks": {name: asdict(check) for name, check in checks.items()},
        },
        200 if is_ready else 503,
    )
