"""A run at home and the place where it meets remote workers: the work pool, the assignments, and what a worker does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State

from blocks.assignments import (
    Assignment,
    AssignmentJob,
    claim,
    get_assignment,
    jobs_of_assignment,
    report_error,
    report_result,
    set_upload,
)
from blocks.catalog import Draft
from blocks.custody import Custody
from blocks.open_custody import open_custody
from blocks.runs.ownership import read_owner
from blocks.settings import Settings
from blocks.transfers import NewTransfer, create_transfer, end_transfer
from flows.process import process_documents
from tasks.remote import runner
from tests.delivery.outbox_place import until
from tests.stack_driver import PATIENCE_SECONDS
from waybill.stack.deployments import project_directory, read_deployments
from waybill.stack.remote_deployment import register_remote

LABEL = "gpu"


async def register(client: PrefectClient, settings: Settings) -> None:
    """What `waybill up` registers for remote stages, under a name of this home's own."""
    (deployment,) = [one for one in read_deployments(project_directory()) if one.is_remote]
    owner = await read_owner(settings)
    await register_remote(client, deployment, owner, name=f"remote-{owner.home}")


@dataclass(frozen=True)
class Claimed:
    """An assignment as a worker has it."""

    assignment: Assignment
    jobs: list[AssignmentJob]


@dataclass(frozen=True)
class RemotePlace:
    """The custody of the home, seen from the workers' side: a worker here does by hand what the gateway does for it."""

    settings: Settings
    custody: Custody

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *workers: str) -> AsyncGenerator[RemotePlace]:
        """With *workers* that have the label `LABEL`."""
        async with open_custody(settings) as custody:
            place = cls(settings, custody)
            for name in workers:
                await place.execute(
                    "insert into workers (name, recipient, labels, enrolled_by) values (%s, %s, %s, 'a test')",
                    name, f"age1{name}", [LABEL],
                )  # fmt: skip
            yield place

    async def execute(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        async with self.custody.catalog.connection() as connection:
            cursor = await connection.execute(statement.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    async def assignments(self) -> list[dict[str, Any]]:
        return await self.execute("select * from assignments order by created_at")

    async def waiting(self, *, attempts: int = 0) -> str:
        """The id of an assignment that waits after that many attempts, as soon as there is one."""
        found: list[str] = []

        async def there_is() -> bool:
            found[:] = [
                row["assignment_id"]
                for row in await self.assignments()
                if row["state"] == "waiting" and row["attempts"] == attempts
            ]
            return bool(found)

        await until(there_is, "an assignment waits")
        return found[0]

    async def claim(self, assignment_id: str, worker: str = "one") -> Claimed:
        async with self.custody.catalog.transaction() as connection:
            assignment = await claim(connection, assignment_id, worker=worker, labels=[LABEL], remote_run_id=uuid4())
            return Claimed(assignment, await jobs_of_assignment(connection, assignment_id))

    async def read(self, assignment_id: str) -> Assignment:
        async with self.custody.catalog.connection() as connection:
            return await get_assignment(connection, assignment_id)

    async def deliver(self, claimed: Claimed, job: AssignmentJob, content: bytes, **result: Any) -> UUID:
        """Upload *content* as the output of a job and report it; the id of the file."""
        worker = claimed.assignment.worker or ""
        async with self.custody.catalog.transaction() as connection:
            transfer = await create_transfer(
                connection,
                NewTransfer(
                    direction="upload",
                    filename="output",
                    media_type="text/plain",
                    sealed_for="storage",
                    lasts=timedelta(hours=1),
                    requested_by=f"worker:{worker}",
                    worker=worker,
                    assignment_id=job.assignment_id,
                    run_id=claimed.assignment.run_id,
                ),
            )
            await set_upload(connection, job.assignment_id, job.ordinal, transfer.transfer_id)
        artifact = await self.custody.take(output_draft(), content)
        reported = {
            "seconds": 1.5,
            "peak_memory_bytes": 1000,
            "metadata": {"letters": len(content)},
            "warnings": [],
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        async with self.custody.catalog.transaction() as connection:
            await end_transfer(connection, transfer.transfer_id, "completed", file_id=artifact.file_id)
            await report_result(
                connection, job.assignment_id, job.ordinal, worker=worker, result={**reported, **result}
            )
        return artifact.file_id

    async def fail(self, claimed: Claimed, job: AssignmentJob, kind: str, message: str) -> None:
        async with self.custody.catalog.transaction() as connection:
            error = {"type": kind, "message": message}
            worker = claimed.assignment.worker or ""
            await report_error(connection, job.assignment_id, job.ordinal, worker=worker, error=error)

    async def input_of(self, job: AssignmentJob, name: str = "source") -> bytes:
        return await self.custody.read(await self.custody.get(UUID(job.inputs[name])))

    async def end_lease(self, assignment_id: str) -> None:
        """The worker was not heard of for longer than its lease; the run looks at once."""
        await self.execute(
            "update assignments set claimed_until = clock_timestamp() - interval '1 ms'"
            " where assignment_id = %s and state = 'claimed'",
            assignment_id,
        )
        await self.execute("select pg_notify('waybill_assignments', %s)", assignment_id)


def output_draft() -> Draft:
    return Draft(
        kind="transfer",
        filename="output",
        source_file="output",
        document_sha256="0" * 64,
        media_type="text/plain",
        keep_for=timedelta(hours=1),
    )


async def remote_runs_of(assignment_id: str) -> list[FlowRun]:
    """The runs that ask workers to claim an assignment, the first one first."""
    async with get_client() as client:
        runs = await client.read_flow_runs(limit=200)
    ours = [run for run in runs if (run.parameters.get("ticket") or {}).get("assignment_id") == assignment_id]
    return sorted(ours, key=lambda run: run.created or run.expected_start_time)  # type: ignore[return-value, arg-type]


Act = Callable[[], Awaitable[None]]


async def process(
    *sources: object, run_on: dict[str, Any], stages: list[int] | None = None, meanwhile: Act | None = None, **more: Any
) -> dict[str, Any]:
    """Run the flow while *meanwhile* acts as its workers; its report. All *sources* are one assignment."""
    with pytest.MonkeyPatch.context() as patch:
        # However far apart a busy machine has them ask.
        patch.setattr(runner, "MAX_JOBS", len(sources))
        patch.setattr(runner, "GATHER_SECONDS", PATIENCE_SECONDS)
        run = process_documents(
            sources=[str(source) for source in sources], stages=stages or [6], run_on=run_on, return_state=True, **more
        )
        flow = asyncio.ensure_future(cast("Awaitable[State[Any]]", run))
        acting = asyncio.ensure_future(meanwhile()) if meanwhile is not None else None
        try:
            await asyncio.wait([flow, acting] if acting else [flow], return_when=asyncio.FIRST_EXCEPTION)
            if acting is not None and acting.done():
                acting.result()
            report = await (await flow).aresult(raise_on_failure=False)
        finally:
            left = [one for one in (flow, acting) if one is not None and not one.done()]
            for one in left:
                one.cancel()
            if left:
                await asyncio.wait(left)
    if isinstance(report, BaseException):
        raise report
    return cast("dict[str, Any]", report)
