"""One run on several machines: a home, a worker and processes of its own each; database, storage and key are shared.

One machine loses its power in the middle, and a third one joins: nothing is lost, and nothing is there twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest

from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PATIENCE_SECONDS, eventually, plain_environment, prefect_login, prefect_variables
from tests.storage_keys import IDENTITY

ROOT = Path(__file__).parents[2]
# Starting workers, and a process for each slice, on a machine that does other things too.
_STEP_SECONDS = 3 * PATIENCE_SECONDS
_SLICES, _SLICE_SIZE = 4, 3


@dataclass
class Machine:
    """A machine, as far as one computer can be several."""

    home: Path
    environment: dict[str, str]
    worker: subprocess.Popen[bytes] | None = None

    def start(self, pool: str) -> None:
        with (self.home.parent / f"{self.home.name}.log").open("wb") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--limit", "1"],
                env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip

    def loses_power(self) -> None:
        """End the worker and all that it has started, at once; none of them can say a word."""
        if self.worker is not None:
            with suppress(psutil.NoSuchProcess):
                processes = [psutil.Process(self.worker.pid), *psutil.Process(self.worker.pid).children(recursive=True)]
                for one in processes:
                    with suppress(psutil.NoSuchProcess):
                        one.suspend()
                for one in processes:
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
            self.worker.wait(PATIENCE_SECONDS)

    def may_go_on(self) -> None:
        """Let the documents go on that linger on this machine."""
        self.home.mkdir(exist_ok=True)
        (self.home / "go").touch()

    def is_in_the_middle(self) -> bool:
        return (self.home / "attempts").exists()

    def log(self) -> str:
        path = self.home.parent / f"{self.home.name}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""


@pytest.fixture
def machines(prefect_alone: str, database_url: str, tmp_path: Path) -> Iterator[list[Machine]]:
    """Four machines: three for workers, and one for the command."""
    identity = tmp_path / "storage-identity"
    identity.write_text(IDENTITY.text)
    identity.chmod(0o600)
    shared = {
        **plain_environment(),
        **prefect_variables(prefect_alone),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "WAYBILL_DATABASE_URL": database_url,
        "WAYBILL_STORAGE_URL": str(tmp_path / "storage"),
        "WAYBILL_STORAGE_IDENTITY_FILE": str(identity),
        # A worker runs flows in folders of their own.
        "PYTHONPATH": str(ROOT),
        "WAYBILL_EXTRA_STAGES": "tests.stages.hostile:HOSTILE",
        "WAYBILL_SLICE_SIZE": str(_SLICE_SIZE),
        "WAYBILL_WORKERS": "2",
    }
    made: list[Machine] = []
    for name in ("first", "second", "third", "command"):
        own = {"WAYBILL_HOME": str(tmp_path / name), "PREFECT_HOME": str(tmp_path / f"prefect-{name}")}
        made.append(Machine(tmp_path / name, shared | own))
    yield made
    for machine in made:
        machine.loses_power()


def write_documents(folder: Path) -> list[Path]:
    """Of each slice the last document lingers: the others are stored, and it is under way."""
    folder.mkdir()
    documents = [folder / f"{number:02}.txt" for number in range(_SLICES * _SLICE_SIZE)]
    for number, path in enumerate(documents):
        path.write_text(f"{'linger' if number % _SLICE_SIZE == _SLICE_SIZE - 1 else 'fine'} {number}")
    return documents


def new_pool(prefect_api: str) -> str:
    name = f"machines-{uuid4()}"
    body = {"name": name, "type": "process"}
    httpx.post(
        f"{prefect_api}/work_pools/", json=body, auth=prefect_login(), timeout=PATIENCE_SECONDS
    ).raise_for_status()
    return name


def rows(database_url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(statement.encode(), values).fetchall()


# Five processes that import Prefect for each of them, one after the other.
@pytest.mark.timeout(2400)
@PREFECT_ALONE
def test_one_machine_dies_in_the_middle_and_another_joins(
    machines: list[Machine], prefect_alone: str, database_url: str, tmp_path: Path
) -> None:
    first, second, third, command = machines
    documents = write_documents(tmp_path / "documents")
    pool = new_pool(prefect_alone)
    printed = tmp_path / "command.json"
    with (tmp_path / "command.log").open("wb") as log, printed.open("wb") as report_file:
        running = subprocess.Popen(
            [sys.executable, "-m", "waybill", "process", str(tmp_path / "documents"), "--stages", "6", "--spread", pool,
             "--json"],
            env=command.environment, stdout=report_file, stderr=log,
        )  # fmt: skip
    try:
        for machine in (first, second):
            machine.start(pool)
        both = (first, second)

        def is_begun() -> bool:
            return running.poll() is not None or all(one.is_in_the_middle() for one in both)

        eventually(is_begun, "both work", _STEP_SECONDS)
        assert running.poll() is None, (tmp_path / "command.log").read_text()[-2000:]
        first.loses_power()
        third.may_go_on()
        third.start(pool)
        second.may_go_on()

        def is_over() -> bool:
            # A minute passes for the lease of the machine that is gone.
            rows(database_url, "update run_leases set renewed_at = 'epoch' where home = %s returning 1", dead_home)
            return running.poll() is not None

        dead_home = (first.home / "home-id").read_text().strip()
        eventually(is_over, "the run is over", _STEP_SECONDS)
    finally:
        running.kill()
        running.wait(PATIENCE_SECONDS)
    said = f"{(tmp_path / 'command.log').read_text()[-2000:]}\n{second.log()}\n{third.log()}"
    assert running.returncode == 0, said
    report = json.loads(printed.read_bytes())
    assert report["state"] == "completed"
    assert (report["counts"]["documents"], report["counts"]["failed"]) == (len(documents), 0)
    assert (third.home / "leases").is_dir(), "the third machine took no slice"
    # Each document is stored once, and processed once.
    stored = rows(
        database_url,
        "select source_file, kind, count(*) from artifacts where state = 'available' group by 1, 2 order by 1, 2",
    )
    assert stored == [(str(path), kind, 1) for path in documents for kind in ("stage_output", "upload")]
    assert rows(database_url, "select distinct state from artifacts") == [("available",)]
    delivered = rows(
        database_url, "select count(distinct file_id) from run_outputs where run_id = %s", report["run_id"]
    )
    assert delivered == [(2 * len(documents),)]
    slices = rows(database_url, "select state, attempt from slices order by attempt, number")
    assert slices == [("completed", 1)] * (_SLICES - 1) + [("completed", 2)]
    assert rows(database_url, "select count(*) from run_leases") == [(0,)]
    assert nothing_else_is_stored(tmp_path / "storage", database_url)


def nothing_else_is_stored(storage: Path, database_url: str) -> bool:
    """Whether the storage has the files of the catalogue, their manifests, and no other."""
    locations = {row[0] for row in rows(database_url, "select location from artifacts")}
    found = {path.relative_to(storage).as_posix() for path in storage.rglob("*") if path.is_file()}
    others = {path for path in found - locations if not any(path.startswith(one) for one in locations)}
    return locations <= found and not others
