"""OpenStack Swift with its S3 API on loopback: a real S3 server with nothing shared and nothing left behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.s3.configuration import ACCESS_KEY, BACK_ENDS, SECRET_KEY, write_configuration
from tests.s3.environment import swift_environment

# It takes two seconds on an idle machine. One whose process has ended is not waited for.
_START_TIMEOUT_SECONDS = 180
_STOP_TIMEOUT_SECONDS = 5
# Another program may take a port between the choice and the start.
_ATTEMPTS = 3

# The kernel ends the servers when the tests are killed and cannot end them; where there is no such call, they stay.
_RUN = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except AttributeError:
    pass
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A running server. `options` are the storage options with which Waybill reaches it."""

    address: str
    pids: tuple[int, ...] = ()
    access_key: str = ACCESS_KEY
    secret_key: str = field(default=SECRET_KEY, repr=False)

    @property
    def options(self) -> dict[str, Any]:
        return {"endpoint_url": self.address, "key": self.access_key, "secret": self.secret_key}

    def client(self) -> Any:
        """A new boto3 client, for looking at the server from outside of what is tested; to be closed."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    def new_bucket(self) -> str:
        """The name of a fresh, empty bucket."""
        name = f"bucket-{uuid4().hex[:12]}"
        self.administrator.create_bucket(Bucket=name)
        return name

    @cached_property
    def administrator(self) -> Any:
        """The client of this object itself, kept as long as the server runs."""
        return self.client()


@contextmanager
def running_s3_server() -> Generator[S3Server]:
    """A server with an empty store of its own; its four processes and its folder are gone afterwards."""
    environment = swift_environment()
    for attempt in range(1, _ATTEMPTS + 1):
        folder = _folder_with_attributes()
        processes: list[subprocess.Popen[bytes]] = []
        try:
            ports = _free_ports()
            write_configuration(folder, environment, ports)
            processes = [_start(environment, folder, name) for name in (*BACK_ENDS, "proxy")]
            if _became_ready(processes, ports["proxy"]):
                server = S3Server(
                    address=f"http://127.0.0.1:{ports['proxy']}", pids=tuple(process.pid for process in processes)
                )
                yield server
                server.administrator.close()
                return
            if attempt == _ATTEMPTS:
                raise RuntimeError(f"the S3 server for tests does not start:\n{_what_they_said(folder)}")
        finally:
            _stop(processes)
            shutil.rmtree(folder, ignore_errors=True)


def _folder_with_attributes() -> Path:
    """A new folder on a file system with extended attributes, in which Swift keeps its metadata."""
    for parent in (tempfile.gettempdir(), "/var/tmp", "/dev/shm", str(Path.cwd() / ".venv")):
        folder = Path(tempfile.mkdtemp(prefix="waybill-s3-", dir=parent))
        try:
            os.setxattr(folder, "user.waybill", b"x")
        except OSError:
            folder.rmdir()
        else:
            return folder
    raise RuntimeError("no file system here has extended attributes, without which Swift cannot store anything")


def _free_ports() -> dict[str, int]:
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in (*BACK_ENDS, "proxy")}
    try:
        return {name: listener.getsockname()[1] for name, listener in listeners.items()}
    finally:
        for listener in listeners.values():
            listener.close()


def _start(environment: Path, folder: Path, name: str) -> subprocess.Popen[bytes]:
    program = str(environment / f"bin/swift-{name}-server")
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [str(environment / "bin/python"), "-W", "ignore", "-c", _RUN, "-W", "ignore", program,
             str(folder / f"etc/{name}.conf"), "-v"],
            # Where the proxy finds its cache.
            env={**os.environ, "PYTHONPATH": str(folder / "etc")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )  # fmt: skip


def _became_ready(processes: list[subprocess.Popen[bytes]], port: int) -> bool:
    """Whether the proxy and, through it, the back ends answer; False as soon as one of the processes has ended."""
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=10):
                pass
            server = S3Server(address=f"http://127.0.0.1:{port}")
            server.administrator.list_buckets()
            server.administrator.close()
        except Exception:  # noqa: BLE001 -- whatever it says while it starts
            time.sleep(0.05)
        else:
            return True
    return False


def _what_they_said(folder: Path) -> str:
    return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1000:]}" for log in sorted(folder.glob("*.log")))


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
