"""A remote worker on a host of its own, which reaches the gateway and nothing else: the walk-through of its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.stack_driver import PATIENCE_SECONDS, end_everything, eventually, plain_environment, private_directory
from tests.two_hosts import Host, can_have_hosts

pytestmark = pytest.mark.skipif(not can_have_hosts(), reason="network namespaces take root and ip")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "remote-workers.md"
# Starting servers, workers and flow runs, each on a machine that does other things too.
_STEP_SECONDS = 3 * PATIENCE_SECONDS
SECRET_SENTENCE = "The vermilion lighthouse keeps its ledgers under the seventh stair"
DOCUMENT = f"# Ledger\n\n{SECRET_SENTENCE}.\n\nFerries leave at five.\n"


@dataclass
class Shell:
    """One shell for all blocks of the page, as a reader has."""

    folder: Path
    process: subprocess.Popen[str]
    done: int = field(default=0)

    def run(self, block: str) -> None:
        """Run a block to its end; each of its commands must succeed."""
        self.done += 1
        marker = self.folder / f"block-{self.done}"
        assert self.process.stdin is not None
        self.process.stdin.write(f"{block}\ntouch {marker}\n")
        self.process.stdin.flush()
        eventually(lambda: marker.exists() or self.process.poll() is not None, f"block {self.done} ends", _STEP_SECONDS)
        assert marker.exists(), self.output()

    def output(self) -> str:
        logs = [self.folder / name for name in ("shell.log", "up.log", "worker.log")]
        return "\n".join(f"== {log.name}\n{log.read_text()[-4000:]}" for log in logs if log.exists())


@dataclass(frozen=True)
class TwoHosts:
    """What the walk-through has made: a server with `waybill up`, and a worker."""

    server: Host
    worker: Host
    shell: Shell

    @property
    def home(self) -> Path:
        return self.shell.folder / ".waybill"

    @property
    def worker_home(self) -> Path:
        return self.shell.folder / "worker-home"

    def on_server(self, *arguments: str) -> str:
        """Run a command of the home to its end and return what it prints."""
        done = subprocess.run(
            self.server.command(sys.executable, "-m", "waybill", *arguments), cwd=self.shell.folder,
            env={**plain_environment(), "WAYBILL_PUBLIC_URL": "http://10.203.0.1:8000"},
            capture_output=True, text=True, timeout=_STEP_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + self.shell.output()
        return done.stdout


def walk_through() -> list[str]:
    """The blocks of the page's section, with names that no other run of this test has."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.split("## Try it: two hosts on one machine", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    return [re.sub(r"\bwb(-server|-worker)", rf"wb{os.getpid()}\1", block) for block in blocks]


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    names = [f"wb{os.getpid()}-{role}" for role in ("server", "worker")]
    with private_directory() as folder:
        waybill = folder / "bin" / "waybill"
        waybill.parent.mkdir()
        waybill.write_text(f'#!/bin/sh\nexec {sys.executable} -m waybill "$@"\n')
        waybill.chmod(0o755)
        (folder / "samples").symlink_to(ROOT / "samples")
        environment = plain_environment()
        environment["PATH"] = f"{folder / 'bin'}:{environment['PATH']}"
        with (folder / "shell.log").open("w") as log:
            process = subprocess.Popen(
                ["bash", "-eo", "pipefail"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log,
                text=True, start_new_session=True,
            )  # fmt: skip
        shell = Shell(folder, process)
        *steps, ending = walk_through()
        try:
            for block in steps:
                shell.run(block)
            yield TwoHosts(Host(names[0], "10.203.0.1", "wb0"), Host(names[1], "10.203.0.2", "wb1"), shell)
            shell.run(f"set +e\n{ending}")  # a test has revoked the worker, which has ended
        finally:
            process.kill()
            process.communicate()
            for name in names:
                for one in processes_on(name):
                    one.kill()
                subprocess.run(["ip", "netns", "delete", name], capture_output=True)
            end_everything(folder / ".waybill")


def test_the_page_shows_a_document_that_goes_through_the_worker(hosts: TwoHosts) -> None:
    said = (hosts.shell.folder / "shell.log").read_text()
    assert "1 of 1 documents" in said or "snow-clearance-handbook" in said
    listed = json.loads(hosts.on_server("files", "list", "--stage", "1", "--json"))["files"]
    shown = json.loads(hosts.on_server("files", "show", listed[0]["file_id"], "--json"))
    assert shown["report"]["worker"] == "gpu-1"
    assert json.loads(hosts.on_server("worker", "list", "--json"))["workers"][0]["last_seen_at"] is not None


def test_the_worker_reaches_the_gateway_and_nothing_else(hosts: TwoHosts) -> None:
    address = hosts.server.address
    assert hosts.worker.reaches(address, 8000)
    postgres = int((hosts.home / "postgres" / "postmaster.pid").read_text().splitlines()[3])
    prefect = int(str(json.loads((hosts.home / "stack.json").read_text())["prefect_server"]["port"]))
    for port in (postgres, prefect):
        assert not hosts.worker.reaches(address, port)
        assert not hosts.worker.reaches("127.0.0.1", port)


def test_nothing_of_a_document_or_of_the_server_stays_on_the_worker(hosts: TwoHosts, tmp_path: Path) -> None:
    source = tmp_path / "ledger.md"
    source.write_text(DOCUMENT)
    run_on = ("--run-on", "markdown-conversion=gpu-pool")
    report = json.loads(hosts.on_server("process", str(source), "--stages", "1-3", *run_on, "--json"))
    assert report["state"] == "completed", report
    (converted,) = [one for one in report["documents"][0]["artifacts"] if one["stage"] == 1]
    assert SECRET_SENTENCE in hosts.on_server("files", "get", converted["file_id"], "-o", "-")

    secrets = secrets_of(hosts.home)
    assert len(secrets) >= 6
    # It hands the last output over, and tidies up after that.
    eventually(lambda: list((hosts.worker_home / "scratch").iterdir()) == [], "nothing is left to work on")
    for path in files_below(hosts.worker_home):
        assert_clean(content_of(path), secrets, str(path))
    # Python itself runs from the project's folder on both hosts; only the home is the server's.
    for process in processes_on(hosts.worker.name):
        assert_clean(content_of(Path(f"/proc/{process.pid}/environ")), secrets, f"environment of {process.pid}")
        for mapped in mapped_files(process.pid):
            if mapped.is_relative_to(hosts.worker_home) or mapped.is_relative_to("/dev/shm"):
                assert_clean(content_of(mapped), secrets, str(mapped))
    assert (hosts.worker_home / "worker-identity").read_bytes().count(b"AGE-SECRET-KEY-") == 1


def test_a_revoked_worker_ends(hosts: TwoHosts) -> None:
    """The last of the module: afterwards there is no worker."""
    hosts.on_server("worker", "revoke", "gpu-1")
    eventually(lambda: not processes_on(hosts.worker.name), "the worker has ended", _STEP_SECONDS)
    said = (hosts.shell.folder / "worker.log").read_text()
    assert "the worker gpu-1 is revoked" in said and "Traceback" not in said


def secrets_of(home: Path) -> list[bytes]:
    """What gives access to the server, and the document: keys, the API key, Prefect's credential, the home's path."""
    found = [SECRET_SENTENCE, str(home)]
    for name in ("storage-identity", "link-keys", "api-key", "prefect-api-auth"):
        words = re.findall(r"[A-Za-z0-9_+/=-]{24,}", (home / name).read_text())
        found += [word for word in words if not word.startswith("age1")]  # a public key
    return [secret.encode() for secret in found]


def files_below(folder: Path) -> list[Path]:
    found = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def content_of(path: Path) -> bytes:
    """What a file has, or that of a process; nothing when it has just gone."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def assert_clean(content: bytes, secrets: list[bytes], where: str) -> None:
    for secret in secrets:
        assert secret not in content, f"{where} holds {secret[:8]!r}..."


def processes_on(namespace: str) -> list[psutil.Process]:
    """What runs on a host."""
    try:
        inode = Path(f"/run/netns/{namespace}").stat().st_ino
    except FileNotFoundError:
        return []
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if Path(f"/proc/{process.pid}/ns/net").stat().st_ino == inode:
                found.append(process)
        except OSError:
            continue
    return found


def mapped_files(pid: int) -> set[Path]:
    lines = content_of(Path(f"/proc/{pid}/maps")).decode().splitlines()
    paths = {Path(parts[5]) for line in lines if len(parts := line.split(maxsplit=5)) == 6 and parts[5][0] == "/"}
    return {path for path in paths if path.is_file()}
