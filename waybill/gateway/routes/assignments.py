"""``/assignments``: what remote workers do with the jobs of a run: claim, renew, report, give back.

Every path needs the session of a worker; a claim needs the token of its assignment too, from the run of Prefect that
the worker was given.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blocks.links.tokens import MAX_TOKEN_CHARS
from tasks.remote.report import Failure, Result
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.errors import SAFE_HEADERS, json_response
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.http.params import Text
from waybill.gateway.openapi import errors
from waybill.gateway.resources import Resources
from waybill.gateway.routes.transfers import PreparedTransfer
from waybill.gateway.worker_access import SessionWorker
from waybill.services.assignments import (
    AssignmentDesk,
    claim_assignment,
    renew_assignment,
    report_job,
    return_assignment,
)


class _ReportRoute(JsonRoute):
    """Bodies as large as the metadata of a file may be, with its warnings."""

    most_bytes = 2 * 1024 * 1024


router = APIRouter(prefix="/api/v1/assignments", tags=["assignments"], route_class=_ReportRoute)

AssignmentId = Annotated[
    str, Path(max_length=40, description="Id of the assignment.", examples=["asg_0123456789abcdef"])
]
Ordinal = Annotated[int, Path(ge=0, le=10_000, description="Number of the job in the assignment.")]


class Claim(BaseModel):
    """What a worker claims an assignment with."""

    model_config = ConfigDict(extra="forbid")

    ticket: Text = Field(max_length=MAX_TOKEN_CHARS, description="The token of the run that the worker was given")
    remote_run_id: UUID | None = Field(default=None, description="That run of Prefect")


class JobInput(PreparedTransfer):
    """One input of a job: a download, encrypted for the worker."""

    name: str = Field(examples=["source"], description="The name under which the stage reads it")


class ClaimedJob(BaseModel):
    """One document: what to run, on which inputs, and the upload for its output."""

    ordinal: int
    stage_key: str
    document: dict[str, Any]
    options: dict[str, Any]
    inputs: list[JobInput]
    upload: PreparedTransfer


class ClaimedAssignment(BaseModel):
    """An assignment that is the worker's now, for as long as it renews it."""

    assignment_id: str = Field(examples=["asg_0123456789abcdef"])
    stage: str = Field(examples=["chunker"])
    stage_version: str = Field(examples=["1"])
    lease_seconds: float = Field(examples=[60.0])
    time_limit_seconds: float | None = Field(
        examples=[600.0], description="Processor time for one document, if the run sets it"
    )
    jobs: list[ClaimedJob] = Field(description="Those that are not over yet")


class RenewedAssignment(BaseModel):
    """The worker keeps it for another lease."""

    assignment_id: str
    lease_seconds: float


class JobReport(BaseModel):
    """The result of a job, whose output has been uploaded, or its error."""

    model_config = ConfigDict(extra="forbid")

    result: Result | None = None
    error: Failure | None = None

    @model_validator(mode="after")
    def _is_one(self) -> JobReport:
        if (self.result is None) == (self.error is None):
            raise ValueError("give either a result or an error")
        return self


class GivenBack(BaseModel):
    """Why a worker cannot finish an assignment."""

    model_config = ConfigDict(extra="forbid")

    why: Text = Field(max_length=500, examples=["the worker is stopping"])


@router.post(
    "/{assignment_id}/claim", responses=errors(*BODY_STATUSES, 404, 409, 410), response_model=ClaimedAssignment
)
async def claim(
    worker: SessionWorker, resources: GatewayResources, assignment_id: AssignmentId, given: Claim
) -> Response:
    """Claim an assignment. Once more by the same worker: the same answer. 409 while another worker has it."""
    found = await claim_assignment(
        _desk(resources),
        assignment_id,
        ticket=given.ticket,
        remote_run_id=given.remote_run_id,
        by=worker,
        worker=worker.name,
    )
    return json_response(found)


@router.post("/{assignment_id}/renew", responses=errors(409), response_model=RenewedAssignment)
async def renew(worker: SessionWorker, resources: GatewayResources, assignment_id: AssignmentId) -> Response:
    """Keep an assignment for another lease. 409 when it is lost, or over."""
    return json_response(await renew_assignment(resources.custody, assignment_id, worker=worker.name))


@router.post("/{assignment_id}/jobs/{ordinal}", status_code=204, responses=errors(*BODY_STATUSES, 404, 409))
async def report(
    worker: SessionWorker, resources: GatewayResources, assignment_id: AssignmentId, ordinal: Ordinal, given: JobReport
) -> Response:
    """Report the result or the error of a job. 409 when its output is not there, or the assignment is lost."""
    await report_job(
        resources.custody,
        assignment_id,
        ordinal,
        worker=worker.name,
        result=given.result.model_dump() if given.result else None,
        error=given.error.model_dump() if given.error else None,
    )
    return Response(status_code=204, headers=SAFE_HEADERS)


@router.post("/{assignment_id}/return", status_code=204, responses=errors(*BODY_STATUSES))
async def give_back(
    worker: SessionWorker, resources: GatewayResources, assignment_id: AssignmentId, given: GivenBack
) -> Response:
    """Give back an assignment that the worker cannot finish, so that another one may claim it at once."""
    await return_assignment(resources.custody, assignment_id, worker=worker.name, why=given.why)
    return Response(status_code=204, headers=SAFE_HEADERS)


def _desk(resources: Resources) -> AssignmentDesk:
    return AssignmentDesk(
        custody=resources.custody,
        claim_tokens=resources.claim_tokens,
        transfer_tokens=resources.transfer_tokens,
        base_url=resources.links.base_url,
    )
