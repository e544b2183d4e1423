"""The local stack under SIGKILL, SIGTERM and damage: the next command works, and in the end nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from tests.stack_driver import (
    PATIENCE_SECONDS,
    StackCommand,
    eventually,
    left_running,
    plain_environment,
    prefect_login,
    processes_of,
    unused_port,
)
from waybill.stack.postgres_socket import socket_directory

_PROJECT = """
name: test
deployments:
  - name: waybill
    entrypoint: flows/waiting.py:waiting
    schedules: [{cron: "0 2 * * *", timezone: UTC}]
    concurrency_limit: {limit: 3, collision_strategy: ENQUEUE}
"""
# Tells by lines in a file which process runs it, and when it is through.
_FLOW = """
import asyncio, os
from pathlib import Path
from prefect import flow

@flow(name="waiting")
async def waiting(marks: str, until: str) -> None:
    with open(marks, "a") as file:
        print("began", os.getpid(), file=file)
    while not Path(until).exists():
        await asyncio.sleep(0.05)
    with open(marks, "a") as file:
        print("done", os.getpid(), file=file)
"""


def postgres_pid(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])


def works(answer: dict[str, Any]) -> bool:
    with psycopg.connect(answer["database_url"]) as connection:
        return connection.execute("select count(*) from artifacts").fetchone() is not None


def use_and_leave(home: Path, *options: str) -> dict[str, Any]:
    """A whole command: start or adopt, use, leave; nothing runs afterwards."""
    with StackCommand(home, *options) as command:
        answer = command.answer()
        assert works(answer)
        assert command.leave() == 0
    assert left_running(home) == []
    return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_command_and_its_servers(home: Path, number: signal.Signals) -> None:
    with StackCommand(home) as command:
        assert works(command.answer())
        code = command.send(number)
    # 128 + n from the unwound block, -2 for the KeyboardInterrupt that Python turns into its signal.
    assert code in {128 + number, -number}
    assert left_running(home) == []


def test_a_forked_worker_that_is_terminated_leaves_the_stack_alone(home: Path) -> None:
    script = """
import multiprocessing, time
from blocks.settings import load_settings
from waybill.stack import running_stack
with running_stack(load_settings(), prefect=False) as stack:
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    time.sleep(0.2)
    worker.terminate()
    worker.join()
    import psycopg
    psycopg.connect(stack.database_url).close()
    print(worker.exitcode)
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "WAYBILL_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert result.stdout.strip() == str(-signal.SIGTERM), result.stderr


def test_postgres_of_a_killed_command_is_adopted_and_stopped_by_the_next(home: Path) -> None:
    with StackCommand(home) as command:
        command.answer()
        pid = postgres_pid(home)
        command.kill()
    assert any(f"{pid} " in line for line in processes_of(home)), "the server outlives its command"
    with StackCommand(home) as command:
        assert command.answer()["started"] == []
        assert postgres_pid(home) == pid
        assert command.leave() == 0
    assert left_running(home) == []


def test_a_kill_at_any_moment_of_the_start_is_survived(directory: Path) -> None:
    home = directory / "home"
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    # The first ones hit the making of the cluster, later ones its start, the migration and the use.
    for _ in range(6):
        with StackCommand(home) as command:
            time.sleep(chance.uniform(0.3, 1.0))
            command.kill()
    use_and_leave(home)


def test_postgres_that_was_killed_is_started_again(home: Path) -> None:
    with StackCommand(home) as first:
        first.answer()
        os.kill(postgres_pid(home), signal.SIGKILL)
        with StackCommand(home) as second:
            answer = second.answer()
            assert answer["started"] == ["postgres"]
            assert works(answer)
            assert first.leave() == 0
            assert works(answer), "the first one leaves what the second one uses"
            assert second.leave() == 0
    assert left_running(home) == []


@pytest.mark.parametrize(
    "content",
    ["", "not a pid\n", f"{os.getpid()}\n/elsewhere\n1\n5432\n/tmp\n\n1 1\nready\n", "999999999\n/elsewhere\n1\n"],
    ids=["empty", "nonsense", "another program's pid", "cut short"],
)
def test_a_stale_or_damaged_pid_file_does_not_stop_postgres_from_starting(home: Path, content: str) -> None:
    use_and_leave(home)
    (home / "postgres" / "postmaster.pid").write_text(content)
    assert use_and_leave(home)["started"] == ["postgres"]


def test_a_home_that_was_deleted_under_a_running_server_is_made_anew(directory: Path) -> None:
    home = directory / "home"
    with StackCommand(home) as command:
        command.answer()
        command.kill()
    shutil.rmtree(home)
    assert use_and_leave(home)["started"] == ["postgres"]


def test_a_socket_directory_that_a_stranger_has_made_is_refused(directory: Path) -> None:
    home = directory / ("x" * 150)
    sockets = socket_directory(home / "postgres")
    sockets.mkdir(mode=0o777)
    try:
        sockets.chmod(0o777)
        with StackCommand(home) as command:
            answer = command.answer()
    finally:
        sockets.rmdir()
    assert answer["error"] == "StackUnavailable"
    assert str(sockets) in answer["message"]
    assert left_running(home) == []


def test_a_directory_that_is_no_cluster_is_named_and_not_touched(directory: Path) -> None:
    home = directory / "home"
    kept = home / "postgres" / "kept.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with StackCommand(home) as command:
        answer = command.answer()
    assert answer["error"] == "StackUnavailable"
    assert str(home / "postgres") in answer["message"]
    assert kept.read_text() == "mine"
    assert left_running(home) == []


def test_prefect_of_a_killed_command_is_adopted_unless_it_is_of_another_version_or_its_record_is_damaged(
    home: Path,
) -> None:
    with StackCommand(home, "--prefect") as command:
        began = command.answer()
        command.kill()
    record = json.loads((home / "stack.json").read_text())["prefect_server"]

    with StackCommand(home, "--prefect") as command:
        adopted = command.answer()
        assert adopted["started"] == []
        assert adopted["prefect_api_url"] == began["prefect_api_url"]
        command.kill()

    del record["version"]  # as the server of an earlier version of Waybill has left it
    (home / "stack.json").write_text(json.dumps({"prefect_server": record}))
    with StackCommand(home, "--prefect") as command:
        assert command.answer()["started"] == ["prefect"]
        assert not any(line.startswith(f"{record['process']['pid']} ") for line in processes_of(home))
        command.kill()
    record = json.loads((home / "stack.json").read_text())["prefect_server"]
    assert record["version"] == metadata.version("prefect")

    (home / "stack.json").write_text('{"prefect_server": {"process": ')
    with StackCommand(home, "--prefect") as command:
        assert command.answer()["started"] == ["prefect"]
        assert not any(line.startswith(f"{record['process']['pid']} ") for line in processes_of(home))

        # A record that names somebody else's process: nobody is signalled, and the server is found by its arguments.
        bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        record["process"]["pid"] = bystander.pid
        (home / "stack.json").write_text(json.dumps({"prefect_server": record}))
        assert command.leave() == 0
        assert bystander.poll() is None
        bystander.kill()
        bystander.wait()
    assert left_running(home) == []


def test_a_command_restarts_its_servers_and_its_run_goes_on(home: Path, tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(6):
        (documents / f"{number}.txt").write_text(f"linger {number}")
    with subprocess.Popen(
        [sys.executable, "-m", "waybill", "process", str(documents), "--stages", "6", "--json"],
        env={**plain_environment(), "WAYBILL_HOME": str(home), "WAYBILL_EXTRA_STAGES": "tests.stages.hostile:HOSTILE"},
        stdout=subprocess.PIPE,
        stderr=(log := (tmp_path / "log.txt").open("w+")),
    ) as command:
        try:
            eventually((home / "attempts").exists, "a document is under way")
            killed = postgres_pid(home)
            os.kill(killed, signal.SIGKILL)
            # On a busy machine the Prefect server may be started again as well, when it has waited too long for this.
            eventually(lambda: back(log.name) >= 1 and postgres_pid(home) != killed, "Postgres is back")
            killed, before = recorded_pid(home / "stack.json", "prefect_server", "process"), back(log.name)
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: back(log.name) > before, "the Prefect server is back")
            assert recorded_pid(home / "stack.json", "prefect_server", "process") != killed
            (home / "go").touch()
            output, _ = command.communicate(timeout=PATIENCE_SECONDS)
        finally:
            command.kill()
    with log:
        assert command.returncode == 0, output[-2000:] + Path(log.name).read_bytes()[-2000:]
    report = json.loads(output)
    assert (report["state"], len(report["documents"])) == ("completed", 6)
    assert left_running(home) == []


def back(log: str) -> int:
    return Path(log).read_text().count("the servers are back")


class Up:
    """`waybill up` with a project of the test's own."""

    def __init__(self, home: Path, project: Path, port: int) -> None:
        script = (
            "import sys; from pathlib import Path; from blocks.settings import load_settings; "
            "from waybill.stack.up import run_up; "
            f"sys.exit(run_up(load_settings(), port=0, ui_port={port}, project=Path({str(project)!r})))"
        )
        self.output = project / "up.txt"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-c", script],
                env={**os.environ, "WAYBILL_HOME": str(home)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def says(self, words: str) -> None:
        eventually(lambda: words in self.output.read_text(), f"up says {words!r}")


@contextmanager
def running_up(home: Path, project: Path, port: int) -> Iterator[Up]:
    up = Up(home, project, port)
    try:
        up.says("waybill is up")
        yield up
    finally:
        up.process.kill()
        up.process.wait()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "waiting.py").write_text(_FLOW)
    (tmp_path / "prefect.yaml").write_text(_PROJECT)
    return tmp_path


def trigger(home: Path, port: int, marks: Path, until: Path) -> Callable[[], str]:
    """Start a run of the deployment through the API; what is given tells its state."""
    prefect = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/", auth=prefect_login(home), timeout=PATIENCE_SECONDS)
    deployment = prefect.get("deployments/name/waiting/waybill").json()
    body = {"parameters": {"marks": str(marks), "until": str(until)}}
    run = prefect.post(f"deployments/{deployment['id']}/create_flow_run", json=body).json()
    return lambda: prefect.get(f"flow_runs/{run['id']}").json()["state"]["name"]


def test_up_keeps_everything_running_and_interrupted_runs_go_on(home: Path, project: Path, free_port: int) -> None:
    marks, until = project / "marks.txt", project / "until"
    with running_up(home, project, free_port) as up:
        again = Up(home, project, free_port)
        assert again.process.wait(PATIENCE_SECONDS) == 0, "a second up changes nothing"
        up.says("already up")
        state = trigger(home, free_port, marks, until)
        eventually(lambda: began(marks) == 1, "the flow body runs")
        serving = recorded_pid(home / "serve.json")
        up.process.kill()
        os.kill(serving, signal.SIGKILL)
        up.process.wait()
    orphan = int(marks.read_text().split()[1])
    assert is_alive(orphan), "nobody is left who could have ended the run's process"

    up.output.unlink()
    with running_up(home, project, free_port) as up:
        eventually(lambda: began(marks) == 2, "the run goes on in a new process")
        assert not is_alive(orphan), "never two processes for one run"
        os.kill(recorded_pid(home / "stack.json", "prefect_server", "process"), signal.SIGKILL)
        up.says("the servers are back")
        until.touch()
        eventually(lambda: state() == "Completed", "the run is completed, though the server was away")
        assert marks.read_text().count("done") == 1

        os.kill(recorded_pid(home / "serve.json"), signal.SIGKILL)
        up.says("the flow server is back")
        until.unlink()
        trigger(home, free_port, marks, until)
        eventually(lambda: began(marks) == 3, "the next run begins")
        killed = int(marks.read_text().split()[-1])
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: began(marks) == 4, "a run whose process is killed goes on in another one")
        up.process.terminate()
        assert up.process.wait(PATIENCE_SECONDS) == 0
    assert left_running(home) == [], "the run that was under way has ended too"


def recorded_pid(record: Path, *names: str) -> int:
    found = json.loads(record.read_text())
    for name in names:
        found = found[name]
    return found["pid"]


def is_alive(pid: int) -> bool:
    """Whether it still does something; a process that nobody has asked for its exit code does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def began(marks: Path) -> int:
    return marks.read_text().count("began") if marks.exists() else 0


@pytest.fixture
def free_port() -> int:
    return unused_port()
