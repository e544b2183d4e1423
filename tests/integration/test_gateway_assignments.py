"""``/assignments`` at a real gateway, as a worker's own client asks: claims, leases, results, and what is refused."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from blocks.assignments import (
    Assignment,
    ClaimTokens,
    NewAssignment,
    NewJob,
    create_assignment,
    end_assignment,
    get_assignment,
    jobs_of_assignment,
)
from blocks.catalog import Draft
from blocks.errors import (
    AssignmentLost,
    CatalogRefused,
    LinkInvalid,
    TransferConflict,
    TransferOver,
    WorkerRefused,
)
from blocks.hand_over import download
from blocks.hand_over.session import WorkerSession
from blocks.transfers import end_transfer, get_transfer, transfers_of_assignment
from tasks.job import JobResult
from tasks.remote.desk import AssignmentOffer, Desk, JobOffer, TransferOffer
from tasks.remote.report import result_of
from tests.gateway import Gateway, error_of, running_gateway
from tests.gateway.place import HOUR
from tests.gateway.remote_worker import OPERATOR, enrolled
from waybill.services.workers import label_worker, revoke_worker

LABEL = "gpu-pool"
API = "/api/v1/assignments"
RESULT: dict[str, Any] = {"seconds": 1.0, "peak_memory_bytes": 1, "metadata": {}, "warnings": []}


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


class Remote:
    """A gateway with two workers, and what a run at home has given away there."""

    def __init__(self, gateway: Gateway, sessions: dict[str, WorkerSession]) -> None:
        self.gateway = gateway
        self.sessions = sessions

    async def give(self, *contents: bytes, label: str = LABEL, lasts: timedelta = HOUR) -> Assignment:
        """An assignment with a job for each of *contents*."""
        files = [await self.gateway.put(content, name=f"{n}.txt") for n, content in enumerate(contents)]
        new = NewAssignment(
            run_id=uuid4(),
            stage=3,
            stage_name="chunker",
            stage_version="1",
            label=label,
            lasts=lasts,
            jobs=[
                NewJob(
                    stage_key=f"{n}" * 64,
                    document={"name": file.filename},
                    options={},
                    inputs={"source": file.file_id},
                )
                for n, file in enumerate(files)
            ],
        )
        async with self.gateway.custody.catalog.transaction() as connection:
            return await create_assignment(connection, new)

    def ticket(self, assignment: Assignment) -> str:
        return ClaimTokens(self.gateway.keys).issue(assignment)

    def desk(self, assignment: Assignment, worker: str = "one") -> Desk:
        return Desk(self.sessions[worker], assignment.assignment_id)

    async def claim(self, assignment: Assignment, worker: str = "one") -> AssignmentOffer:
        return await self.desk(assignment, worker).claim(self.ticket(assignment), uuid4())

    async def arrive(self, offer: JobOffer, content: bytes) -> dict[str, Any]:
        """The output of a job has been uploaded; the result to report."""
        draft = Draft(
            kind="transfer", filename="o", source_file="o", document_sha256="d" * 64, media_type="a/b", keep_for=HOUR
        )
        artifact = await self.gateway.custody.take(draft, content)
        async with self.gateway.custody.catalog.transaction() as connection:
            await end_transfer(
                connection,
                offer.upload.transfer_id,
                "completed",
                file_id=artifact.file_id,
                content_size=artifact.size,
                content_sha256=artifact.sha256,
            )
        return {**RESULT, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}

    async def read(self, assignment: Assignment) -> Assignment:
        async with self.gateway.custody.catalog.connection() as connection:
            return await get_assignment(connection, assignment.assignment_id)

    async def fetch(self, desk: Desk, offer: TransferOffer, target: Path, worker: str = "one") -> bytes:
        identity = self.sessions[worker].identity
        await download(self.gateway.client, desk.url(offer), offer.token, target, identities=[identity])
        return await asyncio.to_thread(target.read_bytes)

    async def end_lease(self, assignment: Assignment) -> None:
        async with self.gateway.custody.catalog.connection() as connection:
            await connection.execute(
                "update assignments set claimed_until = clock_timestamp() - interval '1 ms' where assignment_id = %s",
                (assignment.assignment_id,),
            )


@pytest.fixture
async def remote(gateway: Gateway, tmp_path: Path) -> Remote:
    sessions = {name: await enrolled(gateway, tmp_path / name, LABEL, name=name) for name in ("one", "two")}
    return Remote(gateway, sessions)


async def test_a_claim_gives_a_worker_all_it_needs_and_encrypts_it_for_its_key(remote: Remote, tmp_path: Path) -> None:
    assignment = await remote.give(b"first", b"second")
    desk = remote.desk(assignment)
    offer = await remote.claim(assignment)
    assert (offer.stage, offer.stage_version, offer.lease_seconds) == ("chunker", "1", 60.0)
    assert [job.document for job in offer.jobs] == [{"name": "0.txt"}, {"name": "1.txt"}]
    contents = [await remote.fetch(desk, job.inputs[0], tmp_path / f"input-{job.ordinal}") for job in offer.jobs]
    assert contents == [b"first", b"second"]
    assert offer.jobs[0].upload.recipient == remote.gateway.custody.keys.encrypted_for
    for job in offer.jobs:
        await desk.report(job.ordinal, result=await remote.arrive(job, b"output"))
    assert (await remote.read(assignment)).state == "completed"
    (entry,) = await remote.gateway.audited("assignment_claimed")
    assert (entry["actor"], entry["detail"]["stage"], entry["detail"]["attempt"]) == ("worker:one", "chunker", 1)
    assert remote.ticket(assignment) not in str(entry)


async def test_the_same_worker_gets_the_same_answer_and_another_one_none(remote: Remote, tmp_path: Path) -> None:
    assignment = await remote.give(b"first", b"second")
    offer, again = await remote.claim(assignment), await remote.claim(assignment)

    def ids(one: AssignmentOffer) -> list[list[str]]:
        return [[job.upload.transfer_id, *(each.transfer_id for each in job.inputs)] for job in one.jobs]

    assert ids(offer) == ids(again)
    with pytest.raises(AssignmentLost, match="another worker"):
        await remote.claim(assignment, "two")
    # A job that is over is not given out again, and an input that was fetched can be fetched again.
    desk = remote.desk(assignment)
    await remote.fetch(desk, offer.jobs[1].inputs[0], tmp_path / "once")
    await desk.report(0, error={"type": "NoText", "message": "no text"})
    (left,) = (await remote.claim(assignment)).jobs
    assert left.ordinal == 1
    assert await remote.fetch(desk, left.inputs[0], tmp_path / "twice") == b"second"


async def test_a_lost_assignment_goes_to_another_worker_and_the_first_one_can_do_nothing_more(
    remote: Remote, tmp_path: Path
) -> None:
    assignment = await remote.give(b"content")
    desk = remote.desk(assignment)
    (former,) = (await remote.claim(assignment)).jobs
    await remote.end_lease(assignment)
    (job,) = (await remote.claim(assignment, "two")).jobs
    for refused in (desk._call("renew", None), desk.report(0, result={**RESULT, "sha256": "0" * 64, "size": 1})):
        with pytest.raises(AssignmentLost):
            await refused
    with pytest.raises(TransferOver):
        await remote.fetch(desk, former.inputs[0], tmp_path / "late")
    await desk.give_back("too late")
    assert (await remote.read(assignment)).worker == "two"
    theirs = remote.desk(assignment, "two")
    assert await remote.fetch(theirs, job.inputs[0], tmp_path / "input", "two") == b"content"
    await theirs.report(0, result=await remote.arrive(job, b"output"))
    assert (await remote.read(assignment)).state == "completed"


async def test_what_a_worker_cannot_finish_waits_for_another_one_at_once(remote: Remote) -> None:
    assignment = await remote.give(b"content")
    await remote.claim(assignment)
    await remote.desk(assignment).give_back("it is stopping")
    found = await remote.read(assignment)
    assert (found.state, found.error) == ("waiting", "worker one: it is stopping")


@pytest.mark.parametrize("wrong", ["sha256", "size", "failed"])
async def test_an_output_that_is_not_the_reported_one_costs_the_worker_its_assignment(
    remote: Remote, wrong: str
) -> None:
    assignment = await remote.give(b"content")
    desk = remote.desk(assignment)
    (job,) = (await remote.claim(assignment)).jobs
    reported = {**RESULT, "sha256": "0" * 64, "size": 6}
    if wrong == "failed":
        async with remote.gateway.custody.catalog.transaction() as connection:
            await end_transfer(connection, job.upload.transfer_id, "failed", error="the bytes are another file's")
    else:
        reported = {**await remote.arrive(job, b"output"), wrong: {"sha256": "0" * 64, "size": 7}[wrong]}
    with pytest.raises(TransferConflict):
        await desk.report(0, result=reported)
    found = await remote.read(assignment)
    assert found.state == "waiting"
    assert found.error == (
        "worker one: the output of job 0 was failed: the bytes are another file's"
        if wrong == "failed"
        else "worker one: the output of job 0 is not the one that is reported"
    )


async def test_a_result_without_its_output_is_refused_and_the_worker_may_go_on(remote: Remote) -> None:
    assignment = await remote.give(b"content")
    desk = remote.desk(assignment)
    (job,) = (await remote.claim(assignment)).jobs
    with pytest.raises(TransferConflict, match="has not arrived"):
        await desk.report(0, result={**RESULT, "sha256": "0" * 64, "size": 1})
    await desk.report(0, result=await remote.arrive(job, b"output"))
    assert (await remote.read(assignment)).state == "completed"


async def test_a_damaged_or_missing_input_fails_its_document_alone(remote: Remote) -> None:
    assignment = await remote.give(b"good", b"gone")
    async with remote.gateway.custody.catalog.connection() as connection:
        jobs = await jobs_of_assignment(connection, assignment.assignment_id)
    await remote.gateway.custody.remove(UUID(jobs[1].inputs["source"]))
    (offer,) = (await remote.claim(assignment)).jobs
    assert offer.ordinal == 0
    async with remote.gateway.custody.catalog.connection() as connection:
        jobs = await jobs_of_assignment(connection, assignment.assignment_id)
    assert jobs[1].error is not None
    assert jobs[1].error["type"] == "ArtifactGone"


async def test_a_ticket_is_for_one_assignment_and_needs_a_worker_with_its_label(remote: Remote) -> None:
    assignment, other = await remote.give(b"content"), await remote.give(b"content")
    with pytest.raises(LinkInvalid):
        await remote.desk(assignment).claim(remote.ticket(other), None)
    with pytest.raises(LinkInvalid):
        await remote.desk(assignment).claim("nonsense", None)
    elsewhere = await remote.give(b"content", label="other")
    with pytest.raises(WorkerRefused, match="label other"):
        await remote.claim(elsewhere)
    # Without a session, a ticket is worth nothing.
    answer = await remote.gateway.client.post(
        f"{API}/{assignment.assignment_id}/claim", json={"ticket": remote.ticket(assignment)}
    )
    assert (answer.status_code, error_of(answer)) == (401, "NotAuthenticated")
    key = await remote.gateway.headers()
    answer = await remote.gateway.client.post(
        f"{API}/{assignment.assignment_id}/claim", json={"ticket": remote.ticket(assignment)}, headers=key
    )
    assert answer.status_code == 401
    async with remote.gateway.custody.catalog.transaction() as connection:
        await label_worker(connection, "one", [], by=OPERATOR)
    with pytest.raises(WorkerRefused):
        await remote.claim(assignment)
    assert (await remote.read(assignment)).state == "waiting"


async def test_an_assignment_that_is_over_is_refused(remote: Remote) -> None:
    assignment, expired = await remote.give(b"content"), await remote.give(b"content")
    ticket = remote.ticket(expired)
    async with remote.gateway.custody.catalog.connection() as connection:
        await end_assignment(connection, assignment.assignment_id, "cancelled", error="its run was cancelled")
        await connection.execute(
            "update assignments set expires_at = clock_timestamp() - interval '1 h' where assignment_id = %s",
            (expired.assignment_id,),
        )
    with pytest.raises(AssignmentLost, match="is over"):
        await remote.claim(assignment)
    with pytest.raises(AssignmentLost, match="is over"):
        await remote.desk(expired).claim(ticket, None)
    with pytest.raises(AssignmentLost):
        await remote.desk(Assignment(**{**vars(assignment), "assignment_id": "asg_" + "0" * 16})).claim(ticket, None)


async def test_a_revoked_worker_loses_what_it_has(remote: Remote, tmp_path: Path) -> None:
    assignment = await remote.give(b"content")
    desk = remote.desk(assignment)
    (job,) = (await remote.claim(assignment)).jobs
    async with remote.gateway.custody.catalog.transaction() as connection:
        await revoke_worker(connection, "one", by=OPERATOR)
    with pytest.raises(WorkerRefused):
        await desk._call("renew", None)
    with pytest.raises((TransferOver, LinkInvalid, WorkerRefused)):
        await remote.fetch(desk, job.inputs[0], tmp_path / "input")
    assert (await remote.claim(assignment, "two")).jobs
    async with remote.gateway.custody.catalog.connection() as connection:
        states = {
            (one.worker, one.state) for one in await transfers_of_assignment(connection, assignment.assignment_id)
        }
        assert (await get_transfer(connection, job.upload.transfer_id)).state == "cancelled"
    assert states == {("one", "cancelled"), ("two", "pending")}


async def test_two_workers_that_claim_at_once_are_one_winner_and_one_conflict(remote: Remote) -> None:
    assignment = await remote.give(b"content")
    found = await asyncio.gather(*(remote.claim(assignment, name) for name in ("one", "two")), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["AssignmentLost", "AssignmentOffer"]


async def test_malformed_reports_are_refused(remote: Remote) -> None:
    assignment = await remote.give(b"content")
    await remote.claim(assignment)
    headers = await remote.sessions["one"].headers()

    async def answer(body: Any, ordinal: str = "0") -> httpx.Response:
        url = f"{API}/{assignment.assignment_id}/jobs/{ordinal}"
        return await remote.gateway.client.post(url, json=body, headers=headers)

    good = {**RESULT, "sha256": "0" * 64, "size": 1}
    for body in (
        {},
        {"result": good, "error": {"type": "NoText", "message": ""}},
        {"result": {**good, "sha256": "no hash"}},
        {"result": {**good, "size": -1}},
        {"result": {**good, "metadata": {"a": "x" * 1_100_000}}},
        {"error": {"type": "NoText", "message": "x" * 3000}},
        {"error": {"type": "os.system", "message": "x"}},
    ):
        assert (await answer(body)).status_code == 422, body
    assert (await answer({"error": {"type": "NoText", "message": "x"}}, "5")).status_code == 422
    assert (await answer({"result": {**good, "warnings": ["x" * 900_000] * 3}})).status_code == 413
    assert (await remote.read(assignment)).state == "claimed"
    for path, body in (("renew", None), ("return", {"why": "x"}), ("jobs/0", {"error": {"type": "A", "message": "x"}})):
        url = f"{API}/asg_%00/{path}"
        assert (await remote.gateway.client.post(url, json=body, headers=headers)).status_code == 422, path


async def test_a_result_that_no_catalogue_stores_is_the_documents_error_as_at_home() -> None:
    made = JobResult(seconds=1.0, peak_memory_bytes=1, metadata={"words": "x" * 1_100_000}, warnings=())
    with pytest.raises(CatalogRefused, match="may have 1048576 bytes"):
        result_of(made, sha256="0" * 64, size=1)
