"""A remote worker on a host of its own, which reaches the gateway and nothing else (docs/remote-workers.md)."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.stack_driver import (
    PATIENCE_SECONDS,
    end_everything,
    eventually,
    plain_environment,
    private_directory,
    unused_port,
)
from tests.two_hosts import Host, can_have_hosts, two_hosts

pytestmark = pytest.mark.skipif(not can_have_hosts(), reason="network namespaces take root, ip and /dev/net/tun")

WAYBILL = (sys.executable, "-m", "waybill")
SECRET_SENTENCE = "The vermilion lighthouse keeps its ledgers under the seventh stair"
DOCUMENT = f"# Ledger\n\n{SECRET_SENTENCE}.\n\nFerries leave at five.\n"


@dataclass(frozen=True)
class TwoHosts:
    """A server host with `waybill up`, and a worker host with `waybill worker start`."""

    server: Host
    worker: Host
    home: Path
    worker_home: Path
    worker_log: Path
    worker_process: subprocess.Popen[bytes]
    url: str

    def on_server(self, *arguments: str) -> str:
        """Run a command of the home to its end and return what it prints."""
        done = subprocess.run(
            self.server.command(*WAYBILL, *arguments), env=server_environment(self.home, self.url),
            capture_output=True, text=True, timeout=PATIENCE_SECONDS * 2,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + self.worker_log.read_text()[-3000:]
        return done.stdout


def server_environment(home: Path, url: str) -> dict[str, str]:
    return {**plain_environment(), "WAYBILL_HOME": str(home), "WAYBILL_PUBLIC_URL": url}


@contextmanager
def program(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program until the end of the block, which interrupts it if it has not ended by itself."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    with private_directory() as folder, two_hosts() as (server, worker):
        home, worker_home = folder / "home", folder / "worker"
        port = unused_port()
        url = f"http://{server.address}:{port}"
        up = server.command(
            *WAYBILL, "up", "--host", server.address, "--port", str(port), "--ui-port", str(unused_port())
        )
        up_log, worker_log = folder / "up.log", folder / "worker.log"
        try:
            with program(up, up_log, server_environment(home, url)) as running:
                eventually(
                    lambda: "Ctrl-C" in up_log.read_text() or running.poll() is not None,
                    "up is up",
                    2 * PATIENCE_SECONDS,
                )
                assert running.poll() is None, up_log.read_text()
                invited = subprocess.run(
                    server.command(*WAYBILL, "worker", "invite", "gpu-1", "--label", "gpu-pool"),
                    env=server_environment(home, url), capture_output=True, text=True, check=True,
                )  # fmt: skip
                start = worker.command(*WAYBILL, "worker", "start", url, invited.stdout.strip())
                alone = {**plain_environment(), "WAYBILL_WORKER_HOME": str(worker_home)}
                with program(start, worker_log, alone) as working:
                    eventually(
                        lambda: "takes jobs" in worker_log.read_text() or working.poll() is not None, "it takes jobs"
                    )
                    assert working.poll() is None, worker_log.read_text()
                    yield TwoHosts(server, worker, home, worker_home, worker_log, working, url)
        finally:
            end_everything(home)


def test_the_worker_reaches_the_gateway_and_nothing_else(hosts: TwoHosts) -> None:
    address = hosts.server.address
    assert hosts.worker.reaches(address, int(hosts.url.rpartition(":")[2]))
    postgres = int((hosts.home / "postgres" / "postmaster.pid").read_text().splitlines()[3])
    prefect = int(str(json.loads((hosts.home / "stack.json").read_text())["prefect_server"]["port"]))
    for port in (postgres, prefect):
        assert not hosts.worker.reaches(address, port)
        assert not hosts.worker.reaches("127.0.0.1", port)


def test_a_document_goes_through_and_nothing_of_it_or_of_the_server_stays_on_the_worker(
    hosts: TwoHosts, tmp_path: Path
) -> None:
    source = tmp_path / "ledger.md"
    source.write_text(DOCUMENT)
    report = json.loads(
        hosts.on_server("process", str(source), "--stages", "1-3", "--run-on", "markdown-conversion=gpu-pool", "--json")
    )
    assert report["state"] == "completed", report
    (converted,) = [one for one in report["documents"][0]["artifacts"] if one["stage"] == 1]
    shown = json.loads(hosts.on_server("files", "show", converted["file_id"], "--json"))
    assert shown["report"]["worker"] == "gpu-1"
    assert SECRET_SENTENCE in hosts.on_server("files", "get", converted["file_id"], "-o", "-")

    secrets = secrets_of(hosts.home)
    assert len(secrets) >= 6
    own = (hosts.worker_home / "worker-identity").read_bytes()
    for path in sorted(hosts.worker_home.rglob("*")):
        if path.is_file() and not path.is_symlink():
            assert_clean(path.read_bytes(), secrets, str(path))
    for process in processes_on(hosts.worker):
        assert_clean(Path(f"/proc/{process.pid}/environ").read_bytes(), secrets, f"environment of {process.pid}")
        for mapped in mapped_files(process.pid):
            if mapped.is_relative_to(hosts.worker_home) or mapped.is_relative_to("/dev/shm"):
                assert_clean(mapped.read_bytes(), secrets, str(mapped))
    assert own.count(b"AGE-SECRET-KEY-") == 1
    assert list((hosts.worker_home / "scratch").iterdir()) == []


def test_a_revoked_worker_stops(hosts: TwoHosts) -> None:
    """The last of the module: afterwards there is no worker."""
    hosts.on_server("worker", "revoke", "gpu-1")
    eventually(lambda: hosts.worker_process.poll() is not None, "the worker has ended", 2 * PATIENCE_SECONDS)
    said = hosts.worker_log.read_text()
    assert hosts.worker_process.returncode == 1 and "the worker gpu-1 is revoked" in said
    assert "Traceback" not in said


def secrets_of(home: Path) -> list[bytes]:
    """What gives access to the server, and the document: keys, the API key, Prefect's credential, database and home."""
    found = [SECRET_SENTENCE, str(home)]
    for name in ("storage-identity", "link-keys", "api-key", "prefect-api-auth"):
        words = re.findall(r"[A-Za-z0-9_+/=-]{24,}", (home / name).read_text())
        found += [word for word in words if not word.startswith("age1")]  # a public key
    return [secret.encode() for secret in found]


def assert_clean(content: bytes, secrets: list[bytes], where: str) -> None:
    for secret in secrets:
        assert secret not in content, f"{where} holds {secret[:8]!r}..."


def processes_on(host: Host) -> list[psutil.Process]:
    inode = Path(f"/run/netns/{host.name}").stat().st_ino
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if Path(f"/proc/{process.pid}/ns/net").stat().st_ino == inode:
                found.append(process)
        except OSError:
            continue
    assert found
    return found


def mapped_files(pid: int) -> set[Path]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    paths = {Path(parts[5]) for line in lines if len(parts := line.split(maxsplit=5)) == 6 and parts[5][0] == "/"}
    return {path for path in paths if path.is_file()}
