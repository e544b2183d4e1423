"""Remote stages with real worker processes, which have nothing but a key and a gateway: also killed and lying ones."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

from blocks.age import X25519Identity, parse_recipient
from blocks.errors import WaybillError
from blocks.hand_over import Declared, upload
from blocks.hand_over.session import WorkerSession
from blocks.links import note_gateway
from blocks.settings import Settings, current_settings
from blocks.storage import open_backend
from tasks.remote.desk import Desk, JobOffer
from tasks.remote.scratch import scratch_folder
from tests.delivery.outbox_place import until
from tests.gateway import Gateway, running_gateway
from tests.gateway.remote_worker import OPERATOR, enrolled
from tests.integration.conftest import Workspace
from tests.integration.remote_place import LABEL, RemotePlace, process, register, remote_runs_of
from tests.integration.test_remote_stages import nothing_is_left, outputs
from tests.other_clock import variables_of_clock
from tests.stack_driver import plain_environment
from waybill.services.workers import revoke_worker

HOSTILE_ON = {"hostile": LABEL}
SECONDS_OF_AN_HOUR = 3600


class Machines:
    """A home with its gateway, and machines of remote workers with homes of their own."""

    def __init__(self, place: RemotePlace, gateway: Gateway, folder: Path) -> None:
        self.place = place
        self.gateway = gateway
        self.folder = folder
        self.sessions: dict[str, WorkerSession] = {}
        self.processes: list[asyncio.subprocess.Process] = []

    def home(self, name: str) -> Path:
        return self.folder / name

    async def enrol(self, *names: str) -> None:
        for name in names:
            self.sessions[name] = await enrolled(self.gateway, self.home(name), LABEL, name=name)

    async def token(self, assignment_id: str) -> str:
        """The token of the latest run that Prefect has for the workers."""
        found: list[str] = []

        async def there_is() -> bool:
            found[:] = [run.parameters["ticket"]["token"] for run in await remote_runs_of(assignment_id)]
            return bool(found)

        await until(there_is, "Prefect has a run for the workers")
        return found[-1]

    async def start(self, name: str, assignment_id: str, **environment: str) -> asyncio.subprocess.Process:
        """The process of worker *name* on an assignment."""
        given = {"WAYBILL_EXTRA_STAGES": "tests.stages.hostile:HOSTILE", "WAYBILL_WORKERS": "2"}
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.remote.stage_worker", str(self.home(name)), assignment_id,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={
                **plain_environment(),
                **given,
                **environment,
                "PYTHONPATH": ":".join([environment.get("PYTHONPATH", ""), str(Path.cwd())]).strip(":"),
            },
        )  # fmt: skip
        self.processes.append(started)
        assert started.stdin is not None
        started.stdin.write((await self.token(assignment_id)).encode())
        started.stdin.close()
        return started

    async def work(self, name: str, assignment_id: str, **environment: str) -> str:
        """Let worker *name* do an assignment; what it said."""
        started = await self.start(name, assignment_id, **environment)
        said = (await started.communicate())[0].decode()
        assert started.returncode == 0, said
        assert await self.token(assignment_id) not in said
        return said

    async def until_in_the_middle(self, name: str) -> None:
        async def runs() -> bool:
            return (self.home(name) / "attempts").exists()

        await until(runs, f"the stage runs on worker {name}")

    def scratch(self, name: str) -> list[Path]:
        return [path for path in (self.home(name) / "scratch").rglob("*") if path.is_file()]

    def desk(self, name: str, assignment_id: str) -> Desk:
        return Desk(self.sessions[name], assignment_id)


@pytest.fixture
async def machines(
    workspace: Workspace, settings: Settings, client: PrefectClient, prefect_server: str, tmp_path: Path
) -> AsyncIterator[Machines]:
    await register(client, settings)
    async with RemotePlace.open(settings) as place:
        keys, backend = place.custody.keys, open_backend(settings.resolved_storage_url)
        opening = running_gateway(
            workspace.database_url, settings.home, keys=keys, backend=backend, prefect_api=prefect_server
        )
        async with opening as gateway:
            note_gateway(settings.home, gateway.url)
            machines = Machines(place, gateway, tmp_path)
            await machines.enrol("one", "two")
            try:
                yield machines
            finally:
                for started in machines.processes:
                    with suppress(ProcessLookupError):
                        started.kill()
                    await started.wait()


async def test_workers_do_the_stage_and_keep_nothing(workspace: Workspace, machines: Machines) -> None:
    files = [workspace.write(f"{name}.txt", f"{name} text") for name in ("a", "b", "c")]
    files.append(workspace.write("bad.txt", "raise"))
    said: list[str] = []

    async def worker() -> None:
        said.append(await machines.work("one", await machines.place.waiting()))

    report = await process(*files, run_on=HOSTILE_ON, meanwhile=worker)
    by_name = {document["source"].rpartition("/")[2]: document for document in report["documents"]}
    assert by_name["bad.txt"]["error_type"] == "StageFailed"
    assert [one["state"] for name, one in by_name.items() if name != "bad.txt"] == ["completed"] * 3
    found = await outputs(machines.place)
    contents = [await machines.place.custody.read(await machines.place.custody.get(row["file_id"])) for row in found]
    assert contents == [b"A TEXT", b"B TEXT", b"C TEXT"]
    assert {row["report"]["worker"] for row in found} == {"one"}
    assert "reported 4" in said[0]
    assert machines.scratch("one") == []
    await nothing_is_left(machines.place)


@pytest.fixture
def unencrypted(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home stores files as they are."""
    del workspace
    monkeypatch.setenv("WAYBILL_ENCRYPT", "false")
    current_settings.cache_clear()


async def test_inputs_are_encrypted_for_the_worker_also_where_the_storage_is_not(
    workspace: Workspace, unencrypted: None, machines: Machines
) -> None:
    del unencrypted
    assert machines.place.custody.keys.encrypted_for is None

    async def worker() -> None:
        await machines.work("one", await machines.place.waiting())
        (sent,) = await machines.place.execute("select * from transfers where direction = 'download'")
        assert sent["recipient"] == machines.sessions["one"].identity.recipient.text

    report = await process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON, meanwhile=worker)
    assert report["state"] == "completed", report
    (output,) = await outputs(machines.place)
    assert await machines.place.custody.read(await machines.place.custody.get(output["file_id"])) == b"TEXT"


async def test_a_killed_worker_is_replaced_and_its_next_start_removes_what_it_has_left(
    workspace: Workspace, machines: Machines
) -> None:
    (machines.home("two") / "go").touch()

    async def workers() -> None:
        assignment_id = await machines.place.waiting()
        first = await machines.start("one", assignment_id)
        await machines.until_in_the_middle("one")
        first.kill()
        await first.wait()
        assert machines.scratch("one"), "it has left decrypted content"
        await machines.place.end_lease(assignment_id)
        await machines.place.waiting(attempts=1)
        await machines.work("two", assignment_id)

    report = await process(workspace.write("a.txt", "linger"), run_on=HOSTILE_ON, meanwhile=workers)
    assert report["state"] == "completed", report
    (output,) = await outputs(machines.place)
    assert output["report"]["worker"] == "two"
    async with scratch_folder(machines.home("one")):
        assert machines.scratch("one") == []
    await nothing_is_left(machines.place)


async def test_a_worker_that_is_revoked_in_the_middle_stops_and_another_one_takes_over(
    workspace: Workspace, machines: Machines
) -> None:
    (machines.home("two") / "go").touch()

    async def workers() -> None:
        assignment_id = await machines.place.waiting()
        first = await machines.start("one", assignment_id)
        await machines.until_in_the_middle("one")
        async with machines.place.custody.catalog.transaction() as connection:
            await revoke_worker(connection, "one", by=OPERATOR)
        await machines.place.waiting(attempts=1)
        await machines.work("two", assignment_id)
        said = (await first.communicate())[0].decode()
        assert first.returncode != 0
        assert "WorkerRefused: the worker one is revoked" in said

    report = await process(workspace.write("a.txt", "linger"), run_on=HOSTILE_ON, meanwhile=workers)
    assert report["state"] == "completed", report
    (output,) = await outputs(machines.place)
    assert output["report"]["worker"] == "two"
    assert machines.scratch("one") == []
    await nothing_is_left(machines.place)


async def test_a_cancelled_run_stops_its_worker(workspace: Workspace, machines: Machines) -> None:
    run = asyncio.ensure_future(process(workspace.write("a.txt", "linger"), run_on=HOSTILE_ON))
    started = await machines.start("one", await machines.place.waiting())
    await machines.until_in_the_middle("one")
    run.cancel()
    await asyncio.wait([run])
    said = (await started.communicate())[0].decode()
    assert "AssignmentLost" in said
    assert machines.scratch("one") == []
    await nothing_is_left(machines.place)


async def test_a_worker_that_comes_twice_or_late_is_refused(workspace: Workspace, machines: Machines) -> None:
    (machines.home("one") / "go").touch()

    async def workers() -> None:
        assignment_id = await machines.place.waiting()
        await machines.desk("one", assignment_id).claim(await machines.token(assignment_id), None)
        # Nobody renews its lease of a minute, and a busy machine takes longer for the other process.
        await machines.place.execute("update assignments set claimed_until = claimed_until + interval '1 hour'")
        other = await machines.start("two", assignment_id)
        said = (await other.communicate())[0].decode()
        assert other.returncode != 0
        assert "AssignmentLost" in said
        assert "another worker" in said
        # The same worker once more, as Prefect starts it again.
        await machines.work("one", assignment_id)
        late = await machines.start("two", assignment_id)
        assert "AssignmentLost" in (await late.communicate())[0].decode()

    report = await process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON, meanwhile=workers)
    assert report["state"] == "completed", report
    await nothing_is_left(machines.place)


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_worker_whose_clock_is_off_by_an_hour_works_like_any_other(
    workspace: Workspace, machines: Machines, hours: int, tmp_path: Path
) -> None:
    clock = variables_of_clock(tmp_path, hours * SECONDS_OF_AN_HOUR)

    async def worker() -> None:
        await machines.work("one", await machines.place.waiting(), **clock)

    report = await process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON, meanwhile=worker)
    assert report["state"] == "completed", report
    (output,) = await outputs(machines.place)
    assert output["report"]["worker"] == "one"
    await nothing_is_left(machines.place)


@pytest.mark.parametrize("lie", ["wrong hash", "wrong size", "another file", "another key", "nothing"])
async def test_a_worker_that_lies_about_its_output_loses_it_to_one_that_does_not(
    workspace: Workspace, machines: Machines, lie: str, tmp_path: Path
) -> None:
    async def workers() -> None:
        assignment_id = await machines.place.waiting()
        desk = machines.desk("one", assignment_id)
        offer = await desk.claim(await machines.token(assignment_id), None)
        await deceive(desk, offer.jobs[0], lie, tmp_path / "lie")
        await machines.place.end_lease(assignment_id)  # where the gateway has not given it away at once
        await machines.place.waiting(attempts=1)
        await machines.work("two", assignment_id)

    report = await process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON, meanwhile=workers)
    assert report["state"] == "completed", report
    (output,) = await outputs(machines.place)
    assert output["report"]["worker"] == "two"
    await nothing_is_left(machines.place)


async def deceive(desk: Desk, job: JobOffer, lie: str, path: Path) -> None:
    """Send another output than is declared and reported; the gateway refuses one or the other."""
    path.write_bytes(b"TEXT")  # noqa: ASYNC240 - a test's own
    hashed = "8f" * 32
    truth = {"content_size": 4, "content_sha256": None}
    declared: Mapping[str, Any] = {
        "wrong hash": {**truth, "content_sha256": hashed},
        "wrong size": {**truth, "content_size": 5},
    }.get(lie, truth)
    key = job.upload.recipient or ""
    recipient = X25519Identity.generate().recipient if lie == "another key" else parse_recipient(key)
    with suppress(WaybillError):
        if lie != "nothing":
            await upload(
                desk.url(job.upload), job.upload.token, path, recipients=[recipient], declared=Declared(**declared)
            )
    result = {"seconds": 1.0, "peak_memory_bytes": 1, "metadata": {}, "warnings": [], "sha256": hashed, "size": 4}
    with pytest.raises(WaybillError):
        await desk.report(0, result=result)


async def test_a_worker_with_another_version_of_the_stage_is_refused_by_name(
    workspace: Workspace, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def worker() -> None:
        await machines.work(
            "one", await machines.place.waiting(), WAYBILL_EXTRA_STAGES="tests.remote.newer_hostile:HOSTILE"
        )

    report = await process(workspace.write("a.txt", "text"), run_on=HOSTILE_ON, meanwhile=worker)
    (document,) = report["documents"]
    assert document["error_type"] == "RemoteFailed"
    assert document["error"] == (
        "hostile: worker one has version 2 of hostile, and the run needs 1; install the same version of Waybill"
    )


async def test_a_worker_as_people_start_it_takes_the_jobs_of_a_run(
    workspace: Workspace, machines: Machines, client: PrefectClient
) -> None:
    """Nothing by hand: Prefect's own worker, behind the gateway, starts the flow run-stage."""
    files = [workspace.write(f"{name}.txt", f"{name} text") for name in ("a", "b")]
    log = machines.home("one") / "log"
    with log.open("wb") as output:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "waybill", "worker", "start", "--home", str(machines.home("one")),
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=asyncio.subprocess.STDOUT,
            env={
                **plain_environment(),
                "PYTHONPATH": str(Path.cwd()),
                "WAYBILL_EXTRA_STAGES": "tests.stages.hostile:HOSTILE",
                "WAYBILL_WORKERS": "2",
            },
        )  # fmt: skip
    try:
        report = await process(*files, run_on=HOSTILE_ON)
        assert report["state"] == "completed", (report, log.read_text()[-3000:])
        (assignment,) = await machines.place.assignments()
        (run,) = await remote_runs_of(assignment["assignment_id"])

        async def has_ended() -> bool:
            state = (await client.read_flow_run(run.id)).state
            return state is not None and state.is_final()

        async def has_logged() -> bool:
            return "job 0 is done" in await log_of(client, run.id)

        await until(has_ended, "the remote run has ended")
        await until(has_logged, "its log, which is sent in batches, is there")  # before its process is ended
    finally:
        started.terminate()
        await started.wait()
    ended = await client.read_flow_run(run.id)
    assert ended.state is not None
    assert ended.state.name == "Completed"
    assert (ended.state.message or "").startswith("2 documents, ")
    assert ended.labels["prefect.worker.name"] == "one"
    assert assignment["remote_run_id"] == run.id
    assert {row["report"]["worker"] for row in await outputs(machines.place)} == {"one"}
    lines = await log_of(client, run.id)
    assert "job 0 is done" in lines
    token = run.parameters["ticket"]["token"]
    assert token not in "".join([*lines, log.read_text(), ended.name, ended.state.message or ""])
    assert machines.scratch("one") == []
    await nothing_is_left(machines.place)


async def log_of(client: PrefectClient, run_id: UUID) -> list[str]:
    found = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])))
    return [line.message for line in found]


async def test_stages_in_a_row_read_each_others_outputs(workspace: Workspace, machines: Machines) -> None:
    file = workspace.write("letter.md", "# A letter\n\nThe ferry leaves at five.\n")

    async def workers() -> None:
        first = await machines.place.waiting()
        await machines.work("one", first)
        second = await machines.place.waiting()
        await machines.work("two", second)

    report = await process(
        file,
        stages=[1, 2, 3],
        run_on={"markdown_conversion": LABEL, "chunker": LABEL},
        meanwhile=workers,
    )
    assert report["state"] == "completed", report
    by_name = {row["filename"]: row["report"] for row in await outputs(machines.place)}
    assert {name: made.get("worker") for name, made in by_name.items()} == {
        "letter.md": "one", "letter.opt.md": None, "letter.chunks.json": "two",
    }  # fmt: skip
    assert by_name["letter.chunks.json"]["inputs"] == ["markdown-optimizer"]
    await nothing_is_left(machines.place)
