"""Stages on remote workers, seen from the run at home: what it gives away and takes back, also when one is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ParameterTypeError

from blocks.assignments import MAX_ATTEMPTS, NewAssignment, NewJob, create_assignment, give_back, renew
from blocks.errors import AssignmentLost, InvalidOptions
from blocks.runs.ownership import read_owner
from blocks.runs.remote_stages import REMOTE_POOL
from blocks.settings import Settings
from tasks.contract import DocumentInfo
from tasks.job import Job
from tasks.remote.report import document_json
from tasks.remote.run_on import RunOn
from tasks.remote.runner import open_remote_runners
from tests.delivery.outbox_place import until
from tests.integration.conftest import Workspace
from tests.integration.remote_place import (
    LABEL,
    RemotePlace,
    output_draft,
    process,
    register,
    remote_runs_of,
)
from tests.stack_driver import PATIENCE_SECONDS
from tests.stages.hostile import HOSTILE

HOSTILE_ON = {"hostile": LABEL}


@pytest.fixture
async def place(settings: Settings, client: PrefectClient) -> AsyncIterator[RemotePlace]:
    await register(client, settings)
    async with RemotePlace.open(settings, "one", "two", "three") as opened:
        yield opened


async def outputs(place: RemotePlace) -> list[dict[str, Any]]:
    return await place.execute(
        "select filename, report, metadata, file_id from artifacts where kind = 'stage_output' and state = 'available'"
        " order by filename"
    )


async def nothing_is_left(place: RemotePlace) -> None:
    """No open assignment or transfer, and no file of a transfer."""
    assert await place.execute("select * from assignments where state in ('waiting', 'claimed')") == []
    assert await place.execute("select * from transfers where state in ('pending', 'in_progress')") == []
    assert await place.execute("select * from artifacts where kind = 'transfer' and state = 'available'") == []


async def test_the_deployment_has_nothing_of_this_machine_and_may_be_registered_again(
    place: RemotePlace, client: PrefectClient
) -> None:
    await register(client, place.settings)
    owner = await read_owner(place.settings)
    found = await client.read_deployment_by_name(f"run-stage/remote-{owner.home}")
    assert (found.entrypoint, found.path, found.pull_steps) == ("flows.remote.run_stage", None, [])
    assert (found.work_pool_name, found.global_concurrency_limit) == (REMOTE_POOL, None)
    assert set((found.parameter_openapi_schema or {})["properties"]) == {"ticket"}
    pool = await client.read_work_pool(REMOTE_POOL)
    assert pool.type == "process"
    assert pool.base_job_template["job_configuration"]


async def test_a_stage_runs_where_it_was_asked_to_and_its_output_is_like_any_other(
    workspace: Workspace, place: RemotePlace
) -> None:
    files = [workspace.write(f"{name}.txt", f"{name} text") for name in ("a", "b", "c")]
    seen: list[str] = []

    async def worker() -> None:
        assignment_id = await place.waiting()
        claimed = await place.claim(assignment_id)
        seen.append(assignment_id)
        assert claimed.assignment.stage_version == "1"
        for job in claimed.jobs:
            assert set(job.inputs) == {"source"}
            await place.deliver(claimed, job, (await place.input_of(job)).upper(), warnings=["a warning"])

    report = await process(*files, run_on=HOSTILE_ON, meanwhile=worker)
    assert report["state"] == "completed"
    assert [document["artifacts"][-1].get("worker") for document in report["documents"]] == ["one"] * 3
    found = await outputs(place)
    assert [row["filename"] for row in found] == ["a.hostile.txt", "b.hostile.txt", "c.hostile.txt"]
    assert {row["report"]["worker"] for row in found} == {"one"}
    assert found[0]["report"]["warnings"] == ["a warning"]
    assert found[0]["report"]["inputs"] == ["source"]
    assert found[0]["metadata"] == {"letters": 6, "warnings": ["a warning"]}
    assert report["warning_summary"] == "3 warnings: a warning (3 times)"
    assert await place.custody.read(await place.custody.get(found[0]["file_id"])) == b"A TEXT"
    (run,) = await remote_runs_of(seen[0])
    assert run.work_queue_name == LABEL
    assert run.name == "hostile a.txt and 2 more"
    assert run.parameters["ticket"]["token"] not in run.name
    await nothing_is_left(place)
    # The same again: reused, as for any stage, and no worker is asked.
    again = await process(*files, run_on=HOSTILE_ON)
    assert all(one["reused"] for document in again["documents"] for one in document["artifacts"])
    assert len(await place.assignments()) == 1


async def test_the_error_of_a_document_is_its_own(workspace: Workspace, place: RemotePlace) -> None:
    files = [workspace.write("good.txt", "good"), workspace.write("bad.txt", "bad")]

    async def worker() -> None:
        claimed = await place.claim(await place.waiting())
        for job in claimed.jobs:
            if job.document["name"] == "bad.txt":
                await place.fail(claimed, job, "NoText", "there is no text in bad.txt")
            else:
                await place.deliver(claimed, job, b"GOOD")

    report = await process(*files, run_on=HOSTILE_ON, meanwhile=worker)
    by_name = {document["source"].rpartition("/")[2]: document for document in report["documents"]}
    assert by_name["good.txt"]["state"] == "completed"
    assert by_name["bad.txt"]["error"] == "hostile: there is no text in bad.txt"
    assert by_name["bad.txt"]["error_type"] == "NoText"
    await nothing_is_left(place)


async def test_a_worker_that_never_comes_fails_the_document_by_name_or_it_is_done_at_home(
    workspace: Workspace, place: RemotePlace
) -> None:
    file = workspace.write("a.txt", "text")
    report = await process(file, run_on={"hostile": {"label": LABEL, "wait": "1s"}})
    (document,) = report["documents"]
    assert document["error_type"] == "RemoteFailed"
    unclaimed = (
        "on workers with the label gpu: no worker has claimed it within 1s; 'waybill worker list' shows who is there"
    )
    assert document["error"] == f"hostile: {unclaimed}"
    await nothing_is_left(place)
    (row,) = await place.assignments()
    (run,) = await remote_runs_of(row["assignment_id"])
    assert run.state is not None and run.state.name == "Cancelled"
    report = await process(file, run_on={"hostile": {"label": LABEL, "wait": "1s", "otherwise": "home"}})
    assert report["state"] == "completed"
    (output,) = await outputs(place)
    assert "worker" not in output["report"]
    assert output["report"]["warnings"] == [f"run at home: {unclaimed}"]
    await nothing_is_left(place)


async def test_a_worker_that_is_lost_is_replaced_and_what_it_had_done_stays_done(
    workspace: Workspace, place: RemotePlace
) -> None:
    files = [workspace.write(f"{name}.txt", name) for name in ("a", "b")]

    async def workers() -> None:
        assignment_id = await place.waiting()
        first = await place.claim(assignment_id)
        await place.deliver(first, first.jobs[0], b"FIRST")
        await place.end_lease(assignment_id)
        assert await place.waiting(attempts=1) == assignment_id
        assert (await place.read(assignment_id)).error == "worker one was not heard of for 1m"
        second = await place.claim(assignment_id, "two")
        (left,) = [job for job in second.jobs if job.state == "waiting"]
        await place.deliver(second, left, b"SECOND")

    report = await process(*files, run_on=HOSTILE_ON, meanwhile=workers)
    assert report["state"] == "completed"
    assert sorted(row["report"]["worker"] for row in await outputs(place)) == ["one", "two"]
    (row,) = await place.assignments()
    assert len(await remote_runs_of(row["assignment_id"])) == 2
    await nothing_is_left(place)


async def test_a_revoked_worker_is_replaced_at_once(workspace: Workspace, place: RemotePlace) -> None:
    async def workers() -> None:
        assignment_id = await place.waiting()
        await place.claim(assignment_id)
        async with place.custody.catalog.connection() as connection:
            await give_back(connection, assignment_id, worker="one", error="worker one was revoked")
        second = await place.claim(await place.waiting(attempts=1), "two")
        await place.deliver(second, second.jobs[0], b"TEXT")

    report = await process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON, meanwhile=workers)
    assert report["state"] == "completed"
    (output,) = await outputs(place)
    assert output["report"]["worker"] == "two"


async def test_what_three_workers_have_lost_fails_by_name(workspace: Workspace, place: RemotePlace) -> None:
    async def workers() -> None:
        for attempt, name in enumerate(("one", "two", "three")):
            assignment_id = await place.waiting(attempts=attempt)
            await place.claim(assignment_id, name)
            await place.end_lease(assignment_id)

    report = await process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON, meanwhile=workers)
    (document,) = report["documents"]
    assert document["error"] == (
        f"hostile: on workers with the label gpu: {MAX_ATTEMPTS} attempts were lost, the last one because "
        "worker three was not heard of for 1m"
    )
    await nothing_is_left(place)


async def test_an_output_that_is_not_the_reported_one_is_not_taken(workspace: Workspace, place: RemotePlace) -> None:
    files = [workspace.write(f"{name}.txt", name) for name in ("hash", "size", "form")]

    async def worker() -> None:
        claimed = await place.claim(await place.waiting())
        wrong: dict[str, dict[str, Any]] = {
            "hash.txt": {"sha256": "0" * 64}, "size.txt": {"size": 7}, "form.txt": {"seconds": "long"},
        }  # fmt: skip
        for job in claimed.jobs:
            await place.deliver(claimed, job, b"OUTPUT", **wrong[job.document["name"]])

    report = await process(*files, run_on=HOSTILE_ON, meanwhile=worker)
    assert {document["error_type"] for document in report["documents"]} == {"RemoteFailed"}
    errors = sorted(document["error"] for document in report["documents"])
    assert errors == [
        "hostile: worker one reported a result that cannot be read",
        "hostile: worker one sent another output than it reported",
        "hostile: worker one sent another output than it reported",
    ]
    assert await outputs(place) == []
    await nothing_is_left(place)


async def test_a_run_that_ends_without_a_claim_is_followed_by_another_and_the_third_is_the_last(
    workspace: Workspace, place: RemotePlace, client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.states import Crashed

    monkeypatch.setattr("tasks.remote.following.POLL_SECONDS", 0.1)

    async def crashing_workers() -> None:
        assignment_id = await place.waiting()
        crashed: set[Any] = set()
        while len(crashed) < 3:
            for run in await remote_runs_of(assignment_id):
                if run.id not in crashed:
                    await client.set_flow_run_state(run.id, Crashed(message="no disk"), force=True)
                    crashed.add(run.id)

    report = await process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON, meanwhile=crashing_workers)
    (document,) = report["documents"]
    assert document["error"] == (
        "hostile: on workers with the label gpu: the run on a worker ended as Crashed without a claim"
    )
    await nothing_is_left(place)


async def test_a_lost_connection_for_notifications_is_opened_again(
    workspace: Workspace, place: RemotePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After a while it asks something else than to listen.
    monkeypatch.setattr("tasks.remote.watch._SILENCE_SECONDS", PATIENCE_SECONDS)
    listening = "from pg_stat_activity where datname = current_database() and query like 'listen%%'"

    async def worker() -> None:
        claimed = await place.claim(await place.waiting())

        async def listens() -> bool:
            return await place.execute(f"select pid {listening}") != []

        await until(listens, "the run listens")
        (former,) = await place.execute(f"select pid, pg_terminate_backend(pid) {listening}")

        async def is_another() -> bool:
            return former["pid"] not in {row["pid"] for row in await place.execute(f"select pid {listening}")} != set()

        await until(is_another, "the run listens again")
        await place.deliver(claimed, claimed.jobs[0], b"TEXT")

    report = await process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON, meanwhile=worker)
    assert report["state"] == "completed"
    await nothing_is_left(place)


async def test_a_cancelled_run_takes_back_what_it_has_given_away(workspace: Workspace, place: RemotePlace) -> None:
    run = asyncio.ensure_future(process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON))
    claimed = await place.claim(await place.waiting())
    run.cancel()
    await asyncio.wait([run])
    found = await place.read(claimed.assignment.assignment_id)
    assert (found.state, found.error) == ("cancelled", "the run was cancelled")
    with pytest.raises(AssignmentLost):
        async with place.custody.catalog.connection() as connection:
            await renew(connection, found.assignment_id, worker="one")
    await nothing_is_left(place)


async def test_a_run_that_was_killed_goes_on_with_its_assignment(
    workspace: Workspace, place: RemotePlace, tmp_path: Path
) -> None:
    """The rows are those of a killed run; the one that is started again asks for the same and for one more."""
    artifact = await place.custody.take(output_draft(), b"text")
    jobs = [
        Job(
            stage_name=HOSTILE.name,
            stage_key=key,
            document=DocumentInfo(
                name=f"{key}.txt", sha256=artifact.sha256, size_bytes=4, media_type="text/plain", source=f"{key}.txt"
            ),
            files={},
            options={},
            target=tmp_path / key,
            inputs={"source": artifact.file_id},
        )
        for key in ("arrived", "waits", "new")
    ]
    run_id = uuid4()
    new = NewAssignment(
        run_id=run_id,
        stage=HOSTILE.number,
        stage_name=HOSTILE.name,
        stage_version=HOSTILE.version,
        label=LABEL,
        lasts=timedelta(hours=1),
        jobs=[
            NewJob(stage_key=job.stage_key, document=document_json(job.document), options={}, inputs=job.inputs)
            for job in jobs[:2]
        ],
    )
    async with place.custody.catalog.transaction() as connection:
        known = await create_assignment(connection, new)
    claimed = await place.claim(known.assignment_id)
    await place.deliver(claimed, claimed.jobs[0], b"ARRIVED")
    del workspace
    opening = open_remote_runners(
        place.settings,
        place.custody,
        run_id=run_id,
        stages=[HOSTILE],
        places={HOSTILE.name: RunOn.model_validate({"label": LABEL})},
    )
    async with opening as runners:
        results = [asyncio.ensure_future(runners[HOSTILE.name].run(job)) for job in jobs]
        fresh = await place.claim(await place.waiting(), "two")
        assert [job.stage_key for job in fresh.jobs] == ["new"]
        await place.deliver(fresh, fresh.jobs[0], b"NEW")
        await place.deliver(claimed, claimed.jobs[1], b"WAITS")
        assert [(await result).worker for result in results] == ["one", "one", "two"]
    assert [job.target.read_bytes() for job in jobs] == [b"ARRIVED", b"WAITS", b"NEW"]
    assert len(await place.assignments()) == 2


async def test_a_stage_that_needs_this_home_is_refused_by_name(workspace: Workspace, place: RemotePlace) -> None:
    file = workspace.write("a.txt", "text")
    for run_on, said in (
        ({"ingestor": LABEL}, "run_on: ingestor needs the catalogue"),
        ({"nonsense": LABEL}, "run_on names the stage 'nonsense'"),
        ({"hostile": "No Label"}, "wrong at hostile.label"),
        ({"hostile": {"label": LABEL, "wait": "soon"}}, "not a length of time"),
    ):
        with pytest.raises((InvalidOptions, ParameterTypeError)) as refused:
            await process(file, run_on=run_on)
        assert said in str(refused.value)
    assert await place.assignments() == []


async def test_the_time_limit_of_a_run_holds_at_home_and_is_given_to_workers(
    workspace: Workspace, place: RemotePlace
) -> None:
    limits: list[timedelta | None] = []

    async def worker() -> None:
        claimed = await place.claim(await place.waiting())
        limits.append(claimed.assignment.time_limit)
        for job in claimed.jobs:
            await place.deliver(claimed, job, b"THERE")

    there = await process(workspace.write("a.txt", "a text"), run_on=HOSTILE_ON, time_limit="90s", meanwhile=worker)
    assert there["state"] == "completed"
    assert limits == [timedelta(seconds=90)]
    here = await process(workspace.write("b.txt", "spin for ever"), run_on={}, time_limit="1s")
    (document,) = here["documents"]
    assert document["error_type"] == "StageTimedOut"
    assert "used more than 1 s of processor time" in document["error"]
    assert "--time-limit" in document["error"]
