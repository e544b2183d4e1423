"""``waybill worker`` as people type it: on the server, and on a machine that has nothing but its own folder."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.other_clock import variables_of_clock
from tests.stack_driver import PATIENCE_SECONDS, plain_environment

pytestmark = WITH_UP

# What a machine of a worker need not have, or must not start.
NOT_FOR_WORKERS = (
    "prefect psycopg sqlalchemy alembic fsspec s3fs fastapi pydantic blocks.catalog blocks.storage tasks flows"
)
PROGRAM = """
import sys
from waybill.cli import run
code = run(sys.argv[2:])
print(code, *sorted(set(sys.argv[1].split()) & set(sys.modules)), file=sys.stderr)
"""


BEATS = """
import asyncio, sys, time
from pathlib import Path
import httpx
from blocks.hand_over.session import WorkerSession
from blocks.hand_over.worker_home import WorkerHome

async def run():
    async with httpx.AsyncClient(timeout=60) as client:
        session = WorkerSession(WorkerHome(Path(sys.argv[1])), client)
        for beat in range(3):
            await session.heartbeat(version="1")
            if beat == 1:
                session._session = None  # as after two thirds of its time
    print(time.time(), beat + 1)

asyncio.run(run())
"""


def worker_environment(folder: Path, clock: Mapping[str, str]) -> dict[str, str]:
    """Variables of an account that has *folder* alone, with another *clock*."""
    packages = f"{Path.cwd()}:{clock.get('PYTHONPATH', '')}".rstrip(":")
    return {**plain_environment(), "HOME": str(folder), **clock, "PYTHONPATH": packages}


def on_worker(
    folder: Path, *arguments: str, given: str = "", clock: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Output of a command whose account has *folder* alone; its exit code, and which of these it has imported."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, NOT_FOR_WORKERS, *arguments],
        env=worker_environment(folder, clock or {}),
        cwd=folder, input=given, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr.splitlines()[-1]


def test_a_machine_is_enrolled_listed_labelled_and_revoked(waybill: CommandLine, tmp_path: Path) -> None:
    invited = waybill.run("worker", "invite", "typed-1", "--label", "gpu-pool", "--label", "big", "--expires", "10m")
    code = invited.stdout.strip()
    assert f"waybill worker start {waybill.gateway} CODE" in invited.stderr
    machine = tmp_path / "machine"
    recipient, ended = on_worker(machine, "worker", "keygen")
    assert ended == "0" and recipient.startswith("age1")
    assert on_worker(machine, "worker", "keygen")[1] == "2"
    output, ended = on_worker(machine, "worker", "enroll", waybill.gateway, "-", given=f"{code}\n")
    assert ended == "0" and output == f"typed-1  enrolled at {waybill.gateway}; labels: big, gpu-pool\n"
    # Nothing was started, and nothing else is in the folder.
    assert sorted(str(path.relative_to(machine)) for path in machine.rglob("*")) == [
        ".waybill-worker", ".waybill-worker/config.json", ".waybill-worker/worker-identity",
    ]  # fmt: skip
    again, ended = on_worker(machine, "worker", "enroll", waybill.gateway, code, "--json")
    assert ended == "2" and "is enrolled already, as typed-1" in again
    other = tmp_path / "other"
    on_worker(other, "worker", "keygen", "--home", "here")
    used, ended = on_worker(other, "worker", "enroll", waybill.gateway, code, "--home", "here", "--json")
    assert ended == "1" and '"EnrolmentRefused"' in used

    shown = waybill.json("worker", "show", "typed-1")
    assert shown in waybill.json("worker", "list")["workers"]
    assert (shown["recipient"], shown["labels"], shown["state"]) == (recipient.strip(), ["big", "gpu-pool"], "active")
    assert "typed-1" in waybill.run("worker", "list").stdout
    assert waybill.json("worker", "label", "typed-1", "small")["labels"] == ["small"]
    assert "labels: small\n" in waybill.run("worker", "show", "typed-1").stdout
    revoked = waybill.json("worker", "revoke", "typed-1")
    assert (revoked["state"], revoked["returned_assignments"]) == ("revoked", [])
    assert waybill.run("worker", "label", "typed-1", "big", expect=1).stderr.startswith(
        "waybill: the worker typed-1 is"
    )
    actions = [entry["action"] for entry in waybill.json("audit", "--hours", "1", "--limit", "1000")["entries"]]
    assert {"worker_invited", "worker_enrolled", "worker_labelled", "worker_revoked"} <= {*actions}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_worker_whose_clock_is_off_is_enrolled_and_heard(waybill: CommandLine, tmp_path: Path, hours: int) -> None:
    """The session is opened, used twice and replaced in a process whose clock is an hour behind or ahead."""
    name = f"off-{hours + 1}"
    clock = variables_of_clock(tmp_path, hours * 3600)
    folder = tmp_path / "machine"
    code = waybill.json("worker", "invite", name)["code"]
    for command in (("keygen",), ("enroll", waybill.gateway, code)):
        assert on_worker(folder, "worker", *command, clock=clock)[1] == "0"
    done = subprocess.run(
        [sys.executable, "-c", BEATS, str(folder / ".waybill-worker")],
        env=worker_environment(folder, clock),
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True,
    )  # fmt: skip
    seconds, beats = done.stdout.split()
    assert abs(float(seconds) - time.time() - hours * 3600) < 600, "its clock was not off"
    assert beats == "3"
    waybill.run("worker", "revoke", name)


def test_a_key_that_others_may_read_enrols_no_machine(waybill: CommandLine, tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    on_worker(machine, "worker", "keygen")
    (machine / ".waybill-worker" / "worker-identity").chmod(0o644)
    output, ended = on_worker(machine, "worker", "enroll", waybill.gateway, "wbw_" + "0" * 40, "--json")
    assert ended == "2" and "chmod 600" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("worker", "invite", "Gpu"), "lower-case letters"),
        (("worker", "invite", "codes"), "choose another name"),
        (("worker", "invite", "--label", "a b"), "a label has"),
        (("worker", "invite", "--expires", "8d"), "7d at most"),
        (("worker", "show", "nobody-here"), "there is no worker nobody-here"),
        (("worker", "enroll", "file:///etc", "wbw_x"), "not the URL of a gateway"),
    ],
    ids=["upper case", "reserved", "bad label", "too long", "unknown", "no gateway"],
)
def test_what_does_not_fit_is_said(
    waybill: CommandLine, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    command = waybill.with_environment(WAYBILL_WORKER_HOME=tmp_path / "worker")
    assert words in command.run(*arguments, expect=None).stderr


def test_a_key_is_made_in_the_folder_that_the_variable_names_and_nothing_is_started(alone: CommandLine) -> None:
    command = alone.with_environment(WAYBILL_WORKER_HOME=alone.home / "worker")
    assert command.json("worker", "keygen")["identity_file"] == str(alone.home / "worker" / "worker-identity")
    assert not (alone.home / "postgres").exists()
