"""Assignments: one worker has one at a time, a lost one goes on with another, and what was done stays done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from blocks.assignments import (
    CHANNEL,
    MAX_ATTEMPTS,
    Assignment,
    ClaimTokens,
    NewAssignment,
    NewJob,
    assignments_of_run,
    assignments_of_worker,
    claim,
    create_assignment,
    end_assignment,
    get_assignment,
    give_back,
    jobs_of_assignment,
    jobs_of_run,
    lose,
    renew,
    report_error,
    report_result,
)
from blocks.catalog import Catalog
from blocks.errors import AssignmentLost, AssignmentNotFound, InvalidOptions, LinkExpired, LinkInvalid, WorkerRefused
from blocks.history.rows import Counted, Deadline, read_cutoffs, trim_rows
from blocks.links import LinkKeys
from blocks.postgres import connect_async
from tests.delivery.outbox_place import until

RUN = uuid4()
LABELS = ["gpu", "slow"]


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    """A catalogue with two workers."""
    async with Catalog.open(database_url) as opened:
        async with opened.connection() as connection:
            for name in ("one", "two"):
                await connection.execute(
                    "insert into workers (name, recipient, labels, enrolled_by) values (%s, %s, %s, 'a test')",
                    (name, f"age1{name}", LABELS),
                )
        yield opened


async def make(catalog: Catalog, *, run_id: UUID = RUN, label: str = "gpu", jobs: int = 2, **given: Any) -> Assignment:
    new = NewAssignment(
        run_id=run_id,
        stage=3,
        stage_name="chunker",
        stage_version="4",
        label=label,
        lasts=given.get("lasts", timedelta(hours=1)),
        jobs=[
            NewJob(
                stage_key=f"key-{number}",
                document={"name": f"{number}.txt\x00"},
                options={"n": number},
                inputs={"source": uuid4()},
            )
            for number in range(jobs)
        ],
    )
    async with catalog.transaction() as connection:
        return await create_assignment(connection, new)


async def take(catalog: Catalog, assignment: Assignment, worker: str = "one") -> Assignment:
    async with catalog.transaction() as connection:
        return await claim(connection, assignment.assignment_id, worker=worker, labels=LABELS, remote_run_id=uuid4())


async def read(catalog: Catalog, assignment: Assignment) -> Assignment:
    async with catalog.connection() as connection:
        return await get_assignment(connection, assignment.assignment_id)


async def end_lease(catalog: Catalog, assignment: Assignment) -> None:
    """The worker was not heard of for longer than its lease."""
    async with catalog.connection() as connection:
        await connection.execute(
            "update assignments set claimed_until = clock_timestamp() - interval '1 ms' where assignment_id = %s",
            (assignment.assignment_id,),
        )


async def report(catalog: Catalog, assignment: Assignment, ordinal: int, worker: str = "one", **given: Any) -> None:
    async with catalog.transaction() as connection:
        if "error" in given:
            await report_error(connection, assignment.assignment_id, ordinal, worker=worker, error=given["error"])
        else:
            await report_result(connection, assignment.assignment_id, ordinal, worker=worker, result={"seconds": 1.5})


async def test_a_new_assignment_waits_with_its_jobs(catalog: Catalog) -> None:
    made = await make(catalog)
    assert (made.state, made.worker, made.attempts, made.is_open) == ("waiting", None, 0, True)
    async with catalog.connection() as connection:
        jobs = await jobs_of_assignment(connection, made.assignment_id)
    assert [(job.ordinal, job.state, job.stage_key, job.options) for job in jobs] == [
        (0, "waiting", "key-0", {"n": 0}),
        (1, "waiting", "key-1", {"n": 1}),
    ]
    assert jobs[0].document == {"name": "0.txt"}
    UUID(jobs[0].inputs["source"])


async def test_one_worker_has_it_and_the_same_one_may_claim_again(catalog: Catalog) -> None:
    made = await make(catalog)
    first = await take(catalog, made)
    assert (first.state, first.worker, first.attempts) == ("claimed", "one", 1)
    again = await take(catalog, made)
    assert again.attempts == 1
    assert again.claimed_until is not None
    assert first.claimed_until is not None
    assert again.claimed_until > first.claimed_until
    with pytest.raises(AssignmentLost, match="another worker"):
        await take(catalog, made, "two")
    async with catalog.connection() as connection:
        assert [one.assignment_id for one in await assignments_of_worker(connection, "one")] == [made.assignment_id]


async def test_of_many_workers_one_gets_it(catalog: Catalog) -> None:
    made = await make(catalog)
    found = await asyncio.gather(*(take(catalog, made, name) for name in ("one", "two") * 3), return_exceptions=True)
    winners = {one.worker for one in found if isinstance(one, Assignment)}
    assert len(winners) == 1
    assert {type(one) for one in found} == {Assignment, AssignmentLost}


async def test_a_label_that_is_not_the_workers_is_refused(catalog: Catalog) -> None:
    made = await make(catalog, label="other")
    with pytest.raises(WorkerRefused, match="label other"):
        await take(catalog, made)
    assert (await read(catalog, made)).state == "waiting"


async def test_one_that_is_over_or_expired_is_claimed_by_none(catalog: Catalog) -> None:
    expired = await make(catalog, lasts=timedelta(seconds=-1))
    with pytest.raises(AssignmentLost, match="is over"):
        await take(catalog, expired)
    cancelled = await make(catalog)
    async with catalog.connection() as connection:
        assert await end_assignment(connection, cancelled.assignment_id, "cancelled", error="the run was cancelled")
        assert not await end_assignment(connection, cancelled.assignment_id, "failed", error="later")
    with pytest.raises(AssignmentLost, match="is over"):
        await take(catalog, cancelled)
    assert (await read(catalog, cancelled)).error == "the run was cancelled"
    with pytest.raises(AssignmentNotFound):
        await take(catalog, Assignment(**{**vars(cancelled), "assignment_id": "asg_" + "0" * 16}))


async def test_a_lost_one_goes_to_another_worker_and_what_was_done_stays_done(catalog: Catalog) -> None:
    made = await make(catalog)
    await take(catalog, made)
    await report(catalog, made, 0)
    async with catalog.connection() as connection:
        assert not await lose(connection, made.assignment_id, error="early")
    await end_lease(catalog, made)
    assert (await read(catalog, made)).is_lost
    async with catalog.connection() as connection:
        assert await lose(connection, made.assignment_id, error="worker one was not heard of")
    assert (await read(catalog, made)).error == "worker one was not heard of"
    with pytest.raises(AssignmentLost):
        await report(catalog, made, 1)
    with pytest.raises(AssignmentLost):
        async with catalog.connection() as connection:
            await renew(connection, made.assignment_id, worker="one")
    assert (await take(catalog, made, "two")).attempts == 2
    with pytest.raises(AssignmentLost):
        await report(catalog, made, 1)
    await report(catalog, made, 1, "two")
    over = await read(catalog, made)
    assert (over.state, over.worker, over.error) == ("completed", "two", None)
    async with catalog.connection() as connection:
        assert [job.state for job in await jobs_of_assignment(connection, made.assignment_id)] == ["completed"] * 2


async def test_a_worker_that_is_late_but_not_lost_goes_on(catalog: Catalog) -> None:
    made = await make(catalog)
    await take(catalog, made)
    await end_lease(catalog, made)
    async with catalog.connection() as connection:
        assert not (await renew(connection, made.assignment_id, worker="one")).is_lost
        with pytest.raises(AssignmentLost):
            await renew(connection, made.assignment_id, worker="two")


async def test_another_worker_takes_over_when_the_lease_ends_whether_or_not_the_run_has_looked(
    catalog: Catalog,
) -> None:
    made = await make(catalog)
    await take(catalog, made)
    await end_lease(catalog, made)
    found = await take(catalog, made, "two")
    assert (found.worker, found.attempts) == ("two", 2)


async def test_what_was_lost_three_times_is_given_to_no_further_worker(catalog: Catalog) -> None:
    made = await make(catalog)
    for attempt in range(MAX_ATTEMPTS):
        assert (await take(catalog, made, ("one", "two")[attempt % 2])).attempts == attempt + 1
        await end_lease(catalog, made)
    with pytest.raises(AssignmentLost, match="lost 3 times"):
        await take(catalog, made, "two")


async def test_a_revoked_workers_assignment_waits_again(catalog: Catalog) -> None:
    made = await make(catalog)
    await take(catalog, made)
    async with catalog.connection() as connection:
        assert not await give_back(connection, made.assignment_id, worker="two", error="no")
        assert await give_back(connection, made.assignment_id, worker="one", error="worker one was revoked")
    assert (await read(catalog, made)).state == "waiting"
    assert (await take(catalog, made, "two")).worker == "two"


async def test_results_and_errors_are_reported_once(catalog: Catalog) -> None:
    made = await make(catalog)
    with pytest.raises(AssignmentLost):
        await report(catalog, made, 0)  # unclaimed
    await take(catalog, made)
    with pytest.raises(InvalidOptions, match="has no job 7"):
        await report(catalog, made, 7)
    await report(catalog, made, 0, error={"type": "NoText", "message": "there is no text in it"})
    await report(catalog, made, 0)  # comes late, changes nothing
    await report(catalog, made, 1)
    await report(catalog, made, 1)
    async with catalog.connection() as connection:
        jobs = await jobs_of_assignment(connection, made.assignment_id)
    assert jobs[0].error == {"type": "NoText", "message": "there is no text in it"}
    assert jobs[1].result == {"seconds": 1.5}
    assert (await read(catalog, made)).state == "completed"


async def test_a_run_finds_its_open_jobs_again(catalog: Catalog) -> None:
    run_id = uuid4()
    made, other = await make(catalog, run_id=run_id), await make(catalog, run_id=uuid4())
    async with catalog.connection() as connection:
        wanted = {"stage_name": "chunker", "label": "gpu", "stage_keys": ["key-1", "key-9"]}
        found = await jobs_of_run(connection, run_id=run_id, **wanted)
        assert [(job.assignment_id, job.ordinal) for job in found] == [(made.assignment_id, 1)]
        assert [one.assignment_id for one in await assignments_of_run(connection, run_id)] == [made.assignment_id]
        await end_assignment(connection, made.assignment_id, "cancelled", error="over")
        assert not await jobs_of_run(connection, run_id=run_id, **wanted)
        assert not await assignments_of_run(connection, run_id)
        assert (await get_assignment(connection, other.assignment_id)).state == "waiting"


async def test_each_change_is_notified(catalog: Catalog, database_url: str) -> None:
    heard: list[str] = []
    async with await connect_async(database_url, autocommit=True) as listening:
        await listening.execute(f"listen {CHANNEL}".encode())

        async def notified(count: int) -> None:
            async def arrived() -> bool:
                async for one in listening.notifies(timeout=0.1):
                    heard.append(one.payload)
                return len(heard) == count

            await until(arrived, f"{count} notifications")

        made = await make(catalog)
        await take(catalog, made)
        await report(catalog, made, 0)
        await notified(2)
        await end_lease(catalog, made)
        async with catalog.connection() as connection:
            await lose(connection, made.assignment_id, error="lost")
            await end_assignment(connection, made.assignment_id, "cancelled", error="over")
        await notified(4)
    assert set(heard) == {made.assignment_id}


async def test_the_history_forgets_what_is_over(catalog: Catalog) -> None:
    ended, recent, left = await make(catalog), await make(catalog), await make(catalog)
    async with catalog.connection() as connection:
        for one in (ended, recent):
            await end_assignment(connection, one.assignment_id, "cancelled", error="over")
        await connection.execute(
            "update assignments set ended_at = ended_at - interval '40 d' where assignment_id = %s",
            (ended.assignment_id,),
        )
    month = timedelta(days=30)
    cutoffs, counted = await read_cutoffs(catalog, history=month, audit=month), Counted()
    await trim_rows(catalog, cutoffs, counted, Deadline(3600), dry_run=False)
    assert counted.removed["assignments"] == 1
    async with catalog.connection() as connection:
        assert await jobs_of_assignment(connection, ended.assignment_id) == []
    assert {(await read(catalog, one)).state for one in (recent, left)} == {"cancelled", "waiting"}


def test_a_token_is_for_one_assignment_and_one_label(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    times = [now]
    tokens = ClaimTokens(LinkKeys(tmp_path / "keys", clock=lambda: now), clock=lambda: times[0])
    made = _assignment(expires_at=now + timedelta(hours=1))
    token = tokens.issue(made)
    assert tokens.check(token, assignment_id=made.assignment_id, label="gpu").subject == made.assignment_id
    with pytest.raises(LinkInvalid):
        tokens.check(token, assignment_id=made.assignment_id, label="slow")
    with pytest.raises(LinkInvalid):
        tokens.check(token, assignment_id="asg_" + "1" * 16, label="gpu")
    times[0] = now + timedelta(hours=1, minutes=1)
    with pytest.raises(LinkExpired):
        tokens.check(token, assignment_id=made.assignment_id, label="gpu")


def _assignment(**given: Any) -> Assignment:
    nothing = dict.fromkeys(Assignment.__dataclass_fields__)
    return Assignment(**{**nothing, "assignment_id": "asg_" + "0" * 16, "label": "gpu", **given})
