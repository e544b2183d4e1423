"""Secrets stay in their files: no log, output, command line or database of a stack in use has one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from blocks.hand_over.session import WorkerSession
from blocks.hand_over.worker_home import WorkerHome
from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.stack_driver import PATIENCE_SECONDS
from waybill.stack.postgres_cluster import postgres_binaries
from waybill.stack.postgres_socket import socket_directory

pytestmark = WITH_UP

# In the environment of commands, and in the URLs that they are given.
# Of this run alone: the command lines of the whole machine are searched.
MARK, URL_MARK = (f"{begin}-0f-th1s-t3st-{secrets.token_hex(8)}" for begin in ("s3cr3t-m4rk", "p4ssw0rd"))
SAMPLE = Path("samples/visitor-guide.html")


def secrets_of_home(home: Path) -> dict[str, str]:
    """The secret parts of every secret file, by where they are from."""
    found = {"first API key": (home / "api-key").read_text().strip().rpartition("_")[2]}
    for name in ("storage-identity", "webhook-identity"):
        for number, text in enumerate(re.findall(r"AGE-SECRET-KEY-\S+", (home / name).read_text())):
            found[f"{name} {number}"] = text
    for key in json.loads((home / "link-keys").read_text())["keys"]:
        found[f"link key {key['id']}"] = key["secret"]
    found["Prefect credential"] = (home / "prefect-api-auth").read_text().strip()
    return found


def databases(home: Path) -> str:
    """Everything in both databases, as text."""
    socket = str(socket_directory(home / "postgres"))
    program = [str(postgres_binaries() / "pg_dump"), "--host", socket, "--username", "postgres", "--data-only"]
    dumps = [
        subprocess.run([*program, name], capture_output=True, text=True, check=True, errors="replace").stdout
        for name in ("waybill", "prefect")
    ]
    assert all(dumps)
    return "".join(dumps)


def command_lines() -> str:
    lines: list[str] = []
    for process in psutil.process_iter():
        try:
            lines += process.cmdline()
        except psutil.Error:
            continue
    return "\n".join(lines)


def texts_below(folder: Path) -> dict[str, str]:
    """The files below a folder that processes work in: some of them may be gone in a moment."""
    found: dict[str, str] = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):
                if path.is_file():
                    found[str(path)] = path.read_text(errors="replace")
    return found


def secrets_of_worker(waybill: CommandLine, run: Callable[..., str], folder: Path) -> dict[str, str]:
    """What a remote worker has once it was enrolled and has talked to the gateway."""
    worker = waybill.with_environment(WAYBILL_WORKER_HOME=folder)
    code = waybill.run("worker", "invite", "marked-1").stdout.strip()
    run(worker, "worker", "keygen")
    enrolled = worker.run("worker", "enroll", waybill.gateway, "-", given=f"{code}\n")
    assert code not in enrolled.stdout + enrolled.stderr
    run(waybill, "worker", "list")

    async def beat() -> str:
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            session = WorkerSession(WorkerHome(folder), client)
            await session.heartbeat(version="1")
            await client.post(session.url("/workers/enroll"), json={"code": code, "recipient": "x"})
            return await session.token()

    (identity,) = re.findall(r"AGE-SECRET-KEY-\S+", (folder / "worker-identity").read_text())
    session = asyncio.run(beat())
    run(waybill, "worker", "revoke", "marked-1")
    return {
        "enrolment code": code.removeprefix("wbw_"),
        "key of a worker": identity,
        "session of a worker": session.rpartition(".")[2],
    }


def test_no_secret_leaves_its_file(waybill: CommandLine, tmp_path: Path) -> None:
    marked = waybill.with_environment(
        WAYBILL_PASSPHRASE=MARK, WAYBILL_STORAGE_OPTIONS=json.dumps({"secret": MARK, "key": MARK})
    )
    outputs: list[str] = []

    def run(command: CommandLine, *arguments: object, expect: int | None = 0) -> str:
        done = command.run(*arguments, expect=expect)
        outputs.extend((done.stdout, done.stderr))
        return done.stdout

    known = {"mark": MARK, "password in a URL": URL_MARK}
    # What is printed because it was asked for, and only there.
    added = waybill.json("webhooks", "add", "http://127.0.0.1:9/hook")
    known["webhook secret"] = added["secret"].removeprefix("whsec_")
    known["created key"] = waybill.run("keys", "create", "marked").stdout.strip().rpartition("_")[2]
    artifact = waybill.json("files", "put", SAMPLE)
    link = waybill.run("files", "share", artifact["file_id"]).stdout.strip().splitlines()[-1]
    known["signature of a link"] = re.split(r"token=", link)[1].rpartition(".")[2]
    known |= secrets_of_home(waybill.home)
    known |= secrets_of_worker(waybill, run, tmp_path / "worker")

    # Its own gateway, which has nothing there: a source whose URL has a password.
    source = waybill.gateway.replace("http://", f"http://user:{URL_MARK}@") + "/nothing.txt"
    run(marked, "process", SAMPLE, source, "--stages", "1", expect=1)
    for command in (("files", "verify", "--all"), ("webhooks", "list"), ("keys", "list"), ("audit",)):
        run(marked, *command)
    for url in (f"postgresql://waybill:{MARK}@127.0.0.1:9/none", f"postgresql://waybill:{MARK}@[broken"):
        run(waybill.with_environment(WAYBILL_DATABASE_URL=url), "files", "list", expect=None)
    with httpx.Client(base_url=waybill.gateway, timeout=PATIENCE_SECONDS) as client:
        assert client.get(link).status_code == 200
        client.get(f"/api/v1/files/download/{artifact['file_id']}?token={MARK}")
        client.get("/api/v1/files/list", headers={"Authorization": f"Bearer {MARK}"})
        client.get("/api/v1/files/list", headers={"Authorization": f"Bearer wb_{'0' * 12}_{known['created key']}"})

    searched = {
        "the output of commands": "\n".join(outputs),
        "the output of up": (waybill.home / "up.log").read_text(),
        "the databases": databases(waybill.home),
        "command lines": command_lines(),
        **texts_below(waybill.home / "logs"),
        **texts_below(waybill.home / "prefect"),
    }
    found = [(what, where) for what, secret in known.items() for where, text in searched.items() if secret in text]
    # The one exception, which is documented: Prefect keeps the parameters of a run.
    found.remove(("password in a URL", "the databases"))
    assert found == []
    # They are where they belong, for this account alone.
    for name in ("api-key", "storage-identity", "webhook-identity", "link-keys", "prefect-api-auth"):
        status = (waybill.home / name).stat()
        assert (status.st_mode & 0o077, status.st_uid) == (0, os.geteuid())
    waybill.run("webhooks", "remove", added["endpoint_id"])
