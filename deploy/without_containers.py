"""Run what `compose.yaml` describes on one Linux machine without containers: a network namespace for each service.

Each copy of a service is a host of its own, with its address, its own home and the volumes of the file; nothing of one
listens where another could reach it on 127.0.0.1. It serves to try a topology out, and the tests to prove the file.
Needs root and the command `ip`. Postgres is the one that Waybill carries.

    python deploy/without_containers.py FOLDER [SERVICE=COPIES ...]      until Ctrl-C, such as: worker=2 gateway=2
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from waybill.stack.account import server_account
from waybill.stack.postgres_cluster import make_cluster, postgres_binaries

PROJECT = Path(__file__).resolve().parents[1]
COMPOSE = PROJECT / "deploy" / "compose.yaml"
# Volumes are mounted here in a mount namespace of each process, so the machine's own folder stays as it is.
_MOUNTED = Path("/srv")
# Starting a dozen processes on a machine that does other things too.
_READY_SECONDS = 600.0
_STOP_SECONDS = 60.0


@dataclass
class Copy:
    """One copy of a service: a process on a host of its own."""

    service: str
    name: str
    namespace: str
    address: str
    process: subprocess.Popen[bytes] | None = None


@dataclass
class Topology:
    """The running services. `start`, `stop` and `kill` act on single copies, as an operator does."""

    folder: Path
    values: dict[str, str]
    network: str
    label: str
    services: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    copies: list[Copy] = field(default_factory=list[Copy])

    def copies_of(self, service: str) -> list[Copy]:
        """Return the copies of *service* that were started, in order."""
        return [copy for copy in self.copies if copy.service == service]

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables that the file gives to *service*, with the values of this topology."""
        given = cast("dict[str, str]", self.services[service].get("environment") or {})
        return {name: expanded(str(value), self.values) for name, value in given.items()}

    def add(self, service: str) -> Copy:
        """Make a host for one more copy of *service*; nothing runs on it yet."""
        number = len(self.copies) + 2
        name = f"{service}-{len(self.copies_of(service)) + 1}"
        copy = Copy(service, name, f"{self.label}{number}", f"{self.network}.{number}")
        _ip("netns", "add", copy.namespace)
        self.copies.append(copy)
        inside, outside = f"{self.label}i{number}", f"{self.label}o{number}"
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", copy.namespace)
        _ip("link", "set", outside, "master", f"{self.label}br", "up")
        _ip("-n", copy.namespace, "address", "add", f"{copy.address}/24", "dev", inside)
        _ip("-n", copy.namespace, "link", "set", "lo", "up")
        _ip("-n", copy.namespace, "link", "set", inside, "up")
        return copy

    def start(self, copy: Copy) -> subprocess.Popen[bytes]:
        """Start the command of the copy's service on its host, and return it."""
        hosts = Path("/etc/netns") / copy.namespace / "hosts"
        hosts.parent.mkdir(parents=True, exist_ok=True)
        known = [f"{one.address} {one.service} {one.name}" for one in self.copies]
        hosts.write_text("\n".join(["127.0.0.1 localhost", *known, ""]))
        command = shlex.split(str(self.services[copy.service]["command"]))
        if copy.service == "postgres":
            command = self._postgres_command(copy, command)
        copy.process = self._run(copy, command)
        return copy.process

    def _run(self, copy: Copy, command: list[str]) -> subprocess.Popen[bytes]:
        """Start *command* on the host of *copy*, with its volumes and variables; its output is in FOLDER/NAME.log."""
        home = self.folder / "homes" / copy.name
        home.mkdir(parents=True, exist_ok=True)
        mounts = {_MOUNTED / "waybill" / "home": home, **self._volumes(copy.service)}
        lines = [f"mount -t tmpfs tmpfs {_MOUNTED}"]
        for target, source in mounts.items():
            lines.append(f"mkdir -p {target} && mount --bind {shlex.quote(str(source))} {target}")
        script = " && ".join([*lines, f"exec {shlex.join(command)}"])
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "WAYBILL_HOME": str(_MOUNTED / "waybill" / "home"),
            **({"LANG": os.environ["LANG"]} if "LANG" in os.environ else {}),
            **self.environment(copy.service),
        }
        with (self.folder / f"{copy.name}.log").open("ab") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", copy.namespace, "sh", "-c", script],
                cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def stop(self, copy: Copy) -> int:
        """End the copy as `docker stop` does: SIGTERM, and SIGKILL for what is left after the service's time."""
        return self._end(copy, signal.SIGTERM)

    def kill(self, copy: Copy) -> int:
        """End every process of the copy at once, as a machine that loses its power does."""
        return self._end(copy, signal.SIGKILL)

    def log(self, copy: Copy) -> str:
        """Return what the copy has printed."""
        path = self.folder / f"{copy.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _end(self, copy: Copy, number: signal.Signals) -> int:
        if copy.process is None:
            return 0
        if number == signal.SIGKILL:
            _kill_namespace(copy.namespace)
        else:
            os.kill(copy.process.pid, number)
        try:
            code = copy.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        _kill_namespace(copy.namespace)
        copy.process.wait()
        copy.process = None
        return code

    def _volumes(self, service: str) -> dict[Path, Path]:
        found: dict[Path, Path] = {}
        for line in cast("list[str]", self.services[service].get("volumes") or []):
            source, target, *_ = line.split(":")
            if target.startswith(str(_MOUNTED)):
                found[Path(target)] = self.folder / "volumes" / source
                found[Path(target)].mkdir(parents=True, exist_ok=True)
        return found

    def _postgres_command(self, copy: Copy, command: list[str]) -> list[str]:
        """Return the command of the service for the Postgres of the wheel, whose cluster is made here at first."""
        data = self.folder / "postgres"
        account = server_account(data.parent)
        if not data.exists():
            make_cluster(data, account)
            rules = data / "pg_hba.conf"
            # The cluster of the wheel refuses connections over TCP, and the first rule that fits counts.
            kept = [line for line in rules.read_text().splitlines() if not line.rstrip().endswith("reject")]
            rules.write_text("\n".join([*kept, f"host all all {self.network}.0/24 scram-sha-256", ""]))
        options = [*command[1:], "-c", f"listen_addresses={copy.address}", "-c", f"unix_socket_directories={data}"]
        server = [str(postgres_binaries() / "postgres"), "-D", str(data), *options]
        if account is None:
            return server
        groups = f"--groups={','.join(map(str, sorted(account.groups)))}" if account.groups else "--clear-groups"
        return ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", groups, *server]


@contextmanager
def running(folder: Path, copies: Mapping[str, int]) -> Iterator[Topology]:
    """Run the services of the file for the length of the block, each service as often as *copies* says, or once.

    The block begins when `setup` has ended and every gateway answers.
    """
    values = {
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "PREFECT_AUTH": f"waybill:{secrets.token_hex(16)}",
        **{name: value for name, value in os.environ.items() if name in {"WAYBILL_STORAGE_URL", "WAYBILL_PUBLIC_URL"}},
    }
    network = f"10.204.{os.getpid() % 250 + 1}"
    topology = Topology(folder, values, network, f"wd{os.getpid() % 100_000}")
    topology.services = cast("dict[str, dict[str, Any]]", yaml.safe_load(COMPOSE.read_text())["services"])
    with ExitStack() as ending:
        ending.callback(_remove, topology)
        _ip("link", "add", f"{topology.label}br", "type", "bridge")
        _ip("address", "add", f"{network}.1/24", "dev", f"{topology.label}br")
        _ip("link", "set", f"{topology.label}br", "up")
        for service in topology.services:
            for _ in range(copies.get(service, 1)):
                topology.add(service)
        _start_in_order(topology)
        yield topology


def _start_in_order(topology: Topology) -> None:
    (postgres,) = topology.copies_of("postgres")
    topology.start(postgres)
    _make_databases(topology)
    (prefect,) = topology.copies_of("prefect")
    topology.start(prefect)
    (setup,) = topology.copies_of("setup")
    if topology.start(setup).wait(_READY_SECONDS):
        raise RuntimeError(f"setup failed:\n{topology.log(setup)[-4000:]}\n{topology.log(prefect)[-2000:]}")
    for copy in topology.copies:
        if copy.process is None:
            topology.start(copy)
    for copy in topology.copies_of("gateway"):
        wait_for(lambda copy=copy: _answers(copy.address, 8000), f"{copy.name} answers")


def _make_databases(topology: Topology) -> None:
    """Do what the image of Postgres does at its first start: the role, its database, and the files for it."""
    psql = [str(postgres_binaries() / "psql"), "-h", str(topology.folder / "postgres"), "-U", "postgres", "-v",
            "ON_ERROR_STOP=1", "-q"]  # fmt: skip

    def answers() -> bool:
        return subprocess.run([*psql, "-c", "select 1"], capture_output=True, check=False).returncode == 0

    wait_for(answers, "Postgres answers")
    found = subprocess.run(
        [*psql, "-tc", "select 1 from pg_roles where rolname = 'waybill'"], capture_output=True, check=True
    )
    if not found.stdout.strip():
        password = topology.values["POSTGRES_PASSWORD"]
        statements = f"create role waybill login superuser password '{password}'; create database waybill owner waybill"
        for statement in statements.split("; "):
            subprocess.run([*psql, "-c", statement], check=True)
        subprocess.run([*psql, "-d", "waybill", "-f", str(PROJECT / "deploy" / "databases.sql")], check=True)


def expanded(text: str, values: Mapping[str, str]) -> str:
    """Return *text* with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` replaced, as compose does."""

    def replacement(found: re.Match[str]) -> str:
        name, default = found["name"], found["default"]
        if values.get(name):
            return values[name]
        if default is None and found["message"] is not None:
            raise ValueError(f"{name}: {found['message']}")
        return default or ""

    return re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?(?P<message>[^}]*))?\}", replacement, text)


def wait_for(condition: Any, what: str, seconds: float = _READY_SECONDS) -> None:
    """Wait until *condition* holds. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:g} s it is still not so that {what}")
        time.sleep(0.2)


def _answers(address: str, port: int) -> bool:
    import httpx

    try:
        return httpx.get(f"http://{address}:{port}/health", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _kill_namespace(namespace: str) -> None:
    """Kill what runs in a namespace: those processes alone, by their ids."""
    while pids := _ip("netns", "pids", namespace).split():
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def _remove(topology: Topology) -> None:
    for copy in reversed(topology.copies):
        if copy.process is not None:
            topology.kill(copy) if copy.service != "postgres" else topology.stop(copy)
        subprocess.run(["ip", "netns", "delete", copy.namespace], capture_output=True, check=False)
        hosts = Path("/etc/netns") / copy.namespace
        (hosts / "hosts").unlink(missing_ok=True)
        if hosts.exists():
            hosts.rmdir()
    subprocess.run(["ip", "link", "delete", f"{topology.label}br"], capture_output=True, check=False)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, check=True, text=True).stdout


def main() -> int:
    folder, *pairs = sys.argv[1:] or ["--help"]
    if folder in {"-h", "--help"}:
        print(__doc__)
        return 2
    copies = {service: int(count) for service, count in (pair.split("=") for pair in pairs)}
    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)
    with running(place, copies) as topology:
        for copy in topology.copies:
            print(f"{copy.name:14} {copy.address}")
        print(f"API key: {place / 'volumes' / 'keys' / 'api-key'}; logs in {place}; stop with Ctrl-C")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopping")
    return 0


if __name__ == "__main__":
    sys.exit(main())
