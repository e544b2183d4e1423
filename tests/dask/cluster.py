"""Start a scheduler and workers of Dask, each with its nanny, and install Dask on first use.

Dask is an extra, so the environment of the tests does not have it: it has a folder of its own, behind all others on the
path. What is installed is pinned with hashes in `requirements.lock` beside this file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.made_once import made_once
from tests.stack_driver import PATIENCE_SECONDS, eventually

_LOCK = Path(__file__).with_name("requirements.lock")
_ROOT = Path(__file__).parents[2]
# A slow connection and a busy machine; it takes three seconds here.
_INSTALL_TIMEOUT_SECONDS = 170
# A nanny without its scheduler would wait longer.
_END_SECONDS = 5


def dask_packages() -> Path:
    """The folder with Dask. Safe to call from several processes at once: one of them makes it."""
    return made_once("dask", _LOCK.read_bytes() + sys.version.encode(), _install)


def _install(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    done = subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "-r", str(_LOCK)],
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"Dask could not be installed with pip:\n{done.stderr[-2000:]}")


@dataclass
class Cluster:
    """A scheduler and its workers."""

    address: str
    folder: Path
    environment: Mapping[str, str]
    scheduler: subprocess.Popen[bytes]
    nannies: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def add_worker(self) -> None:
        """Start one more worker with one thread. The runner notices it by itself."""
        name = f"worker-{len(self.nannies)}"
        options = ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", "--name", name]
        options += ["--local-directory", str(self.folder / name)]
        self.nannies.append(self._start("dask_worker", self.address, *options, log=name))

    def worker_pids(self) -> list[int]:
        """The processes that the nannies watch: Dask's workers."""
        found: list[int] = []
        for nanny in self.nannies:
            for child in psutil.Process(nanny.pid).children():
                if "resource_tracker" not in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    def _start(self, module: str, *options: str, log: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *options],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=output,
            )


@contextmanager
def running_cluster(folder: Path, workers: int = 2, **environment: str) -> Iterator[Cluster]:
    """Start a cluster whose workers have the stages of this repository; none of it is left at the end."""
    folder.mkdir(exist_ok=True)
    path = os.pathsep.join((str(_ROOT), str(dask_packages())))
    given = {"PYTHONPATH": path, "WAYBILL_HOME": str(folder / "home"), **environment}
    for name in ("WAYBILL_DATABASE_URL", "PREFECT_API_URL"):  # what no worker of Dask's has
        given.setdefault(name, "")
    said = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(said)]
    cluster = Cluster(address="", folder=folder, environment=given, scheduler=None)  # type: ignore[arg-type]
    with ExitStack() as stack:
        cluster.scheduler = cluster._start("dask_scheduler", *options, log="scheduler")
        stack.callback(_end, [cluster.scheduler])
        eventually(said.exists, "the scheduler to listen", PATIENCE_SECONDS)
        cluster.address = json.loads(said.read_text())["address"]
        stack.callback(lambda: _end(cluster.nannies))
        for _ in range(workers):
            cluster.add_worker()
        yield cluster


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes with all that they have started."""
    children: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            children += psutil.Process(process.pid).children(recursive=True)
        process.terminate()
    for process in processes:
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
