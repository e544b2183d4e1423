"""Prefect's real worker on a machine that reaches Prefect through the gateway alone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

import blocks.runs.prefect_api
from tests.delivery.outbox_place import until
from tests.remote.door_place import DoorPlace, pid_of_server, running_door
from tests.stack_driver import PATIENCE_SECONDS, eventually, plain_environment
from waybill.worker.worker_processes import START_VARIABLE

# By what a process that Prefect's worker has started is known here.
MARK = "WAYBILL_TEST_OF_REMOTE_WORKER"


@pytest.fixture(scope="module")
async def place(prefect_server: str) -> AsyncIterator[DoorPlace]:
    async with running_door(prefect_server) as place:
        yield place


def processes_of(mark: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


async def test_a_run_of_its_label_completes_and_no_other_is_given_out(
    place: DoorPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-caller")
    other = await place.new_run(place.other_queue)
    foreign = await place.new_run(deployment=place.other_deployment_id)
    async with place.working(tmp_path / "worker"):
        run = await place.new_run()
        state = await place.wait_for_state(run)
        assert state["type"] == "COMPLETED", (tmp_path / "worker" / "worker.log").read_text()[-3000:]
        later = await place.new_run()
        await place.wait_for_state(later)
        # Log lines and events are sent and stored in batches.
        await until(lambda: place.has_logged(run, "variables: "), "the log of the run is there")
        await until(lambda: place.has_event(run, "prefect.flow-run.heartbeat"), "the heartbeats of the run are stored")
    assert (await place.run(run))["labels"]["prefect.worker.name"] == place.worker.name
    log = await place.log_of(run)
    (variables,) = [line for line in log if line.startswith("variables: ")]
    assert f"{START_VARIABLE}=" in variables
    assert "a-secret-of-the-caller" not in variables
    for secret in ("waybill:of-the-servers-that-tests-share", *place.sessions.workers):
        assert secret not in variables, "the worker has Prefect's credential, or its own session, in its environment"
    for never in (other, foreign):
        assert (await place.run(never))["state"]["type"] == "SCHEDULED"
    artifacts = await place.prefect.post("/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [run]}}})
    assert [(one["type"], one["data"], one["description"]) for one in artifacts.json()] == [("progress", 100.0, "done")]


async def test_a_run_that_is_cancelled_ends(place: DoorPlace, tmp_path: Path) -> None:
    async with place.working(tmp_path / "worker"):
        run = await place.waiting_run(tmp_path / "never")
        await place.prefect.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLING"}})
        assert (await place.wait_for_state(run))["type"] == "CANCELLED"


async def test_the_runs_of_a_worker_that_is_ended_report_it_and_nothing_is_left(
    place: DoorPlace, tmp_path: Path
) -> None:
    async with place.working(tmp_path / "worker", environment={MARK: str(tmp_path)}) as ending:
        run = await place.waiting_run(tmp_path / "never")
        assert processes_of(str(tmp_path))
        ending.set()
    assert processes_of(str(tmp_path)) == []
    assert (await place.run(run))["state"]["type"] == "CRASHED"


async def test_a_worker_that_is_killed_is_started_again_without_its_old_runs(place: DoorPlace, tmp_path: Path) -> None:
    async with place.working(tmp_path / "worker", environment={MARK: str(tmp_path)}):
        lost = await place.waiting_run(tmp_path / "never")
        (worker,) = [one for one in processes_of(str(tmp_path)) if "waybill.worker.prefect_program" in one.cmdline()]
        worker.kill()
        assert (await place.wait_for_state(lost))["type"] == "CRASHED"
        assert (await place.wait_for_state(await place.new_run()))["type"] == "COMPLETED"
    assert processes_of(str(tmp_path)) == []


async def test_a_run_waits_for_prefect_that_stands_still(
    place: DoorPlace, prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = tmp_path / "go-on"
    async with place.working(tmp_path / "worker"), place.client() as door:
        run = await place.waiting_run(go_on)
        server = pid_of_server(prefect_server)
        # While it stands still, and no longer: a server that works may take more than that for an answer.
        with monkeypatch.context() as hasty:
            hasty.setattr(blocks.runs.prefect_api, "_ANSWER_SECONDS", 0.5)
            os.kill(server, signal.SIGSTOP)
            try:
                go_on.touch()
                refused = await door.get(f"/flow_runs/{run}")
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "PrefectUnavailable"
            finally:
                os.kill(server, signal.SIGCONT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await place.wait_for_state(run))["type"] == "COMPLETED"
        assert (await door.get(f"/flow_runs/{run}")).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_no_process_is_left_by_a_worker_that_was_ended_or_killed(
    place: DoorPlace, tmp_path: Path, number: signal.Signals
) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.remote.worker_program",
        place.gateway, place.sessions.open(place.worker), place.worker.name, place.queue, str(tmp_path),
        env={**plain_environment(), MARK: str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    try:
        run = await place.waiting_run(tmp_path / "never")
        # The program, Prefect's worker and the flow run.
        assert len(processes_of(str(tmp_path))) >= 3
    finally:
        program.send_signal(number)
        code = await program.wait()
    await asyncio.to_thread(eventually, lambda: not processes_of(str(tmp_path)), "nothing of the worker is left")
    if number == signal.SIGTERM:
        assert code == 0
        assert (await place.run(run))["state"]["type"] == "CRASHED"
