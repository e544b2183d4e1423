"""``waybill process`` beside a running ``waybill up`` of its home: the run is left to `up`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stack_driver import (
    PATIENCE_SECONDS,
    end_everything,
    eventually,
    plain_environment,
    prefect_login,
    unused_port,
)

pytestmark = pytest.mark.xdist_group("process-by-up")

NOTICE = "this command processes the documents itself"


class Home:
    """A home, its `up`, and commands in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ui_port = unused_port()
        self.documents = home.parent / "documents"
        self.documents.mkdir()
        (self.documents / "one.md").write_text("# One\n\nThe bridge was built in 1931 and is 214 metres long.\n")
        (self.documents / "two.md").write_text("# Two\n\nThe tower was built in 1903 and is 90 metres high.\n")

    @property
    def environment(self) -> dict[str, str]:
        return {
            **plain_environment(),
            "WAYBILL_HOME": str(self.home),
            "WAYBILL_EXTRA_STAGES": "tests.stages.hostile:HOSTILE",
            # Commands are started in other folders too.
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "COLUMNS": "200",
        }

    @contextmanager
    def up(self) -> Iterator[subprocess.Popen[bytes]]:
        """`waybill up` of the home, which is stopped at the end if it still runs."""
        log = self.home.parent / "up.log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                [sys.executable, "-m", "waybill", "up", "--port", str(unused_port()), "--ui-port", str(self.ui_port)],
                env=self.environment,
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                eventually(
                    lambda: process.poll() is not None or "Ctrl-C" in log.read_text(), "it is up", 3 * PATIENCE_SECONDS
                )
                assert process.poll() is None, log.read_text()
                yield process
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(PATIENCE_SECONDS)

    def start(self, *arguments: str, cwd: Path | None = None, **added: str) -> subprocess.Popen[str]:
        """A command, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "waybill", *arguments],
            env={**self.environment, **added},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, expect: int = 0, cwd: Path | None = None, **added: str) -> tuple[str, str]:
        """Output and messages of a command."""
        with self.start(*arguments, cwd=cwd, **added) as process:
            output, messages = process.communicate(timeout=3 * PATIENCE_SECONDS)
        assert process.returncode == expect, f"exit {process.returncode}\n{output}\n{messages}"
        return output, messages

    def prefect(self, path: str, body: dict[str, Any] | None = None) -> Any:
        method = "GET" if body is None else "POST"
        address = f"http://127.0.0.1:{self.ui_port}/api/{path}"
        login = prefect_login(self.home)
        answer = httpx.request(method, address, json=body, auth=login, timeout=PATIENCE_SECONDS)
        return answer.raise_for_status().json()

    def runs(self) -> list[dict[str, Any]]:
        """Runs that process documents, newest first."""
        these = {"flows": {"name": {"any_": ["process-documents"]}}, "sort": "EXPECTED_START_TIME_DESC"}
        return self.prefect("flow_runs/filter", these)

    def lingering(self, name: str) -> Path:
        """A document whose stage 6 waits until `let_go`."""
        path = self.documents / name
        path.write_text(f"linger {name}")
        return path

    def lingers(self, name: str) -> bool:
        attempts = self.home / "attempts"
        return attempts.exists() and name in attempts.read_text()

    def let_go(self) -> None:
        (self.home / "go").touch()

    def hold(self) -> None:
        (self.home / "go").unlink(missing_ok=True)


@contextmanager
def new_home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="waybill-by-up-"))
    yield Home(folder / "home")
    left = end_everything(folder / "home")
    shutil.rmtree(folder)
    assert left == []


@pytest.fixture(scope="module")
def served() -> Iterator[Home]:
    with new_home() as home, home.up():
        yield home


def without_what_differs(report: dict[str, Any]) -> dict[str, Any]:
    """A report of two runs of the same documents: all but the run, and how long it took."""
    documents = [
        {**document, "artifacts": [{**one, "seconds": None} for one in document["artifacts"]]}
        for document in report["documents"]
    ]
    return {**report, "run_id": None, "seconds": None, "documents": documents}


def test_the_report_is_that_of_a_run_in_the_command_itself(served: Home) -> None:
    sources = [str(served.documents / "one.md"), str(served.documents / "two.md")]
    served.run("process", *sources, "--json")
    by_up, messages = served.run("process", *sources, "--json")
    assert messages == ""
    itself, messages = served.run("process", *sources, "--json", WAYBILL_STAGE_TIMEOUT_SECONDS="119")
    assert NOTICE in messages and "its settings differ: stage_timeout_seconds" in messages

    first, second = json.loads(by_up), json.loads(itself)
    assert without_what_differs(first) == without_what_differs(second)
    assert all(artifact["reused"] for document in first["documents"] for artifact in document["artifacts"])
    by_id = {run["id"]: run for run in served.runs()}
    assert by_id[first["run_id"]]["deployment_id"] is not None
    assert by_id[second["run_id"]]["deployment_id"] is None


def test_what_people_read_is_the_same_and_relative_paths_are_those_of_the_command(served: Home) -> None:
    output, _ = served.run("process", "one.md", "--stages", "1-2", cwd=served.documents)
    assert "1 of 1 document completed" in output and "one.md" in output
    assert json.loads(served.run("files", "list", "--run", served.runs()[0]["id"], "--json")[0])["files"]


def test_the_command_imports_neither_prefect_nor_a_stage(served: Home) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "waybill", "process", str(served.documents / "one.md")]
    done = subprocess.run(command, env=served.environment, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "waybill.commands.process_by_up" in imported
    heavy = {"prefect", "fastapi", "sqlalchemy", "psycopg", "pydantic", "flows", "tasks.registry"}
    assert heavy & imported == set()


def test_documents_that_fail_and_runs_that_end_with_an_error_are_reported_alike(served: Home) -> None:
    empty = served.documents / "empty.md"
    empty.touch()
    nothing = served.documents / "nothing"
    nothing.mkdir()
    for arguments, code in (
        (["process", str(empty), str(served.documents / "one.md")], 1),
        (["process", str(nothing)], 2),
        (["process", f"waybill:{'0' * 8}-0000-4000-8000-{'0' * 12}"], 1),
    ):
        by_up, _ = served.run(*arguments, "--json", expect=code)
        itself, _ = served.run(*arguments, "--json", expect=code, WAYBILL_STAGE_TIMEOUT_SECONDS="119")
        answers = [json.loads(by_up), json.loads(itself)]
        if "documents" in answers[0]:
            answers = [without_what_differs(answer) for answer in answers]
        assert answers[0] == answers[1]


def test_a_command_whose_settings_or_environment_differ_does_not_leave_its_run_to_up(
    served: Home, tmp_path: Path
) -> None:
    elsewhere = str(tmp_path / "storage")
    one, three = str(served.documents / "one.md"), served.documents / "three.md"
    three.write_text("# Three\n")
    _, messages = served.run("process", str(three), "--stages", "1", WAYBILL_STORAGE_URL=elsewhere)
    assert "storage_url" in messages and NOTICE in messages
    assert list(Path(elsewhere).iterdir())
    file_url = (served.documents / "two.md").as_uri()
    _, messages = served.run("process", file_url, "--stages", "1", AWS_ACCESS_KEY_ID="other")
    assert "drivers of sources find credentials" in messages
    # A local file needs no credential.
    assert served.run("process", one, "--stages", "1", AWS_ACCESS_KEY_ID="other")[1] == ""


def test_an_interruption_cancels_the_run_and_waits_for_it(served: Home) -> None:
    document = served.lingering("interrupted.md")
    with served.start("process", str(document), "--stages", "6") as command:
        eventually(lambda: served.lingers("interrupted.md"), "the stage runs")
        command.send_signal(signal.SIGINT)
        _, messages = command.communicate(timeout=3 * PATIENCE_SECONDS)
    assert command.returncode == 130
    assert "interrupted" in messages and "Traceback" not in messages
    assert served.runs()[0]["state"]["type"] == "CANCELLED"


def test_a_command_that_is_killed_leaves_its_run_going(served: Home) -> None:
    document = served.lingering("killed.md")
    with served.start("process", str(document), "--stages", "6") as command:
        eventually(lambda: served.lingers("killed.md"), "the stage runs")
        command.kill()
    run_id = served.runs()[0]["id"]
    served.let_go()
    eventually(lambda: served.prefect(f"flow_runs/{run_id}")["state"]["type"] == "COMPLETED", "the run is done")
    served.hold()
    # What the killed command had waited with is gone.
    served.run("process", str(served.documents / "one.md"), "--stages", "1")
    assert list((served.home / "expected").iterdir()) == []


def test_a_run_goes_on_when_up_is_back() -> None:
    with new_home() as home:
        document = home.lingering("resumed.md")
        with home.up() as up, home.start("process", str(document), "--stages", "6") as command:
            eventually(lambda: home.lingers("resumed.md"), "the stage runs")
            run_id = home.runs()[0]["id"]
            up.kill()
            _, messages = command.communicate(timeout=3 * PATIENCE_SECONDS)
            assert command.returncode == 1
            assert f"'waybill up' has ended, and run {run_id} with it" in messages and "Traceback" not in messages
        home.let_go()
        with home.up():
            eventually(lambda: home.prefect(f"flow_runs/{run_id}")["state"]["type"] == "COMPLETED", "the run is done")
