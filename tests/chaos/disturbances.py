"""What happens to a world: each disturbance acts, waits, and puts right what it has done to the machine.

What it has done to the product, the product puts right itself: nothing here starts again what `waybill up` keeps
running, except `up` itself.
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import psycopg

from tests.chaos.load import Load
from tests.chaos.world import World, kill
from tests.other_clock import EVEN_MEASURES, clock_libraries
from tests.stack_driver import StackCommand

# Longer than a heartbeat of a lease, shorter than what makes a client give up.
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 10.0
# What a full disk still has: too little for a segment of Postgres's log.
_LEFT_BYTES = 512 * 1024
_KEPT_RUNNING = ("gateway", "dispatcher", "flow server", "Prefect server", "Postgres")
# A schema revision of the future, as a downgraded program meets it.
_FUTURE = "9999"


@dataclass(frozen=True)
class Place:
    """What a disturbance may touch."""

    world: World
    load: Load
    chance: random.Random
    second_checkout: Path


Act = Callable[[Place], str]
"""Does it and undoes it; the answer says what it was done to, or is empty when there was nothing to do it to."""


def kill_server(place: Place) -> str:
    """SIGKILL one of the processes that `waybill up` keeps running."""
    role = place.chance.choice(_KEPT_RUNNING)
    process = place.world.roles().get(role)
    return role if process is not None and kill(process) else ""


def kill_up(place: Place) -> str:
    """SIGKILL `waybill up` itself, and start it again."""
    with place.world.changing:
        place.world.kill()
        time.sleep(place.chance.uniform(0, 2))
        place.world.start()
    return "up"


def kill_of_run(place: Place) -> str:
    """SIGKILL a flow run, or one of the processes below it."""
    found = [*place.world.flow_runs(), *place.world.workers()]
    return "a flow run or a worker" if found and kill(place.chance.choice(found)) else ""


def kill_command(place: Place) -> str:
    """SIGKILL `waybill process`."""
    for command in place.load.commands:
        if command.poll() is None:
            command.kill()
            return "waybill process"
    return ""


def cancel_run(place: Place) -> str:
    """Cancel the newest run that was asked for over HTTP, as a person does in Prefect's UI."""
    found = [one for one in place.load.ledger.ingests if not one.status]
    if not found:
        return ""
    one, server = found[-1], f"http://127.0.0.1:{place.world.ui_port}/api"
    one.cancelled = True
    with suppress(httpx.HTTPError):
        user, _, password = (place.world.home / "prefect-api-auth").read_text().strip().partition(":")
        body = {"state": {"type": "CANCELLING"}, "force": False}
        url = f"{server}/flow_runs/{one.run_id}/set_state"
        httpx.post(url, json=body, auth=(user, password), timeout=5).raise_for_status()
        return one.name
    return ""


def end_sessions(place: Place) -> str:
    """End some of Postgres's sessions, as a failover or a firewall does."""
    found = list(place.world.backends())
    chosen = place.chance.sample(found, min(len(found), 3))
    return f"{len(chosen)} sessions" if [process for process in chosen if kill(process, signal.SIGTERM)] else ""


def stop_process(place: Place) -> str:
    """SIGSTOP one process, and SIGCONT it later."""
    found = place.world.roles()
    role = place.chance.choice(sorted(found)) if found else ""
    if not role or not kill(found[role], signal.SIGSTOP):
        return ""
    try:
        wait(place)
    finally:
        kill(found[role], signal.SIGCONT)
    return role


def few_descriptors(place: Place) -> str:
    """Leave a process hardly a descriptor to open."""
    return _limited(place, resource.RLIMIT_NOFILE, lambda process: process.num_fds() + 2)


def little_memory(place: Place) -> str:
    """Leave a process hardly any memory to allocate."""
    return _limited(place, resource.RLIMIT_DATA, _data_bytes)


def full_disk(place: Place) -> str:
    """Fill the disk that the home is on."""
    ballast = place.world.home / "ballast"
    try:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while (free := shutil.disk_usage(ballast).free) > _LEFT_BYTES:
                file.write(bytes(min(free - _LEFT_BYTES // 2, 64 * 1024 * 1024)))
        wait(place)
    finally:
        ballast.unlink(missing_ok=True)
    return "the disk of the home"


def jumping_clock(place: Place) -> str:
    """Run everything with a clock that jumps hours ahead and back; afterwards with the machine's again."""
    libraries = clock_libraries(place.world.folder)
    if not libraries:
        return ""
    moment = place.world.folder / "clock"
    moment.write_text("+0\n")
    fake = {
        "LD_PRELOAD": ":".join(libraries),
        "FAKETIME_TIMESTAMP_FILE": str(moment),
        "FAKETIME_CACHE_DURATION": "1",
        **EVEN_MEASURES,
    }
    with place.world.changing:
        place.world.stop()
        place.world.start(variables=fake)
        hours = place.chance.choice((1, 3, 25))
        for jump in (f"+{hours}h", f"-{hours}h", "+0"):
            moment.write_text(f"{jump}\n")
            wait(place)
        place.world.stop()
        place.world.start()
    return f"{hours} h ahead and back"


def restart_postgres(place: Place) -> str:
    """Shut Postgres down as an administrator does: fast, or without a checkpoint."""
    process = place.world.roles().get("Postgres")
    number = place.chance.choice((signal.SIGINT, signal.SIGQUIT))
    return number.name if process is not None and kill(process, number) else ""


def read_only_postgres(place: Place) -> str:
    """Have the server refuse all writes for a while."""
    try:
        _alter(place.world, "on")
        wait(place)
    finally:
        # A server that another disturbance has hit a moment ago comes back first.
        deadline = time.monotonic() + 120
        while True:
            try:
                _alter(place.world, "off")
                break
            except psycopg.Error:
                assert time.monotonic() < deadline, "Postgres does not take its setting back"
                time.sleep(0.5)
    return "Postgres"


def restart_prefect(place: Place) -> str:
    """SIGTERM the Prefect server."""
    process = place.world.roles().get("Prefect server")
    return "Prefect server" if process is not None and kill(process, signal.SIGTERM) else ""


def other_checkout(place: Place) -> str:
    """Stop `up` and start it from another checkout of the same version."""
    with place.world.changing:
        place.world.stop()
        place.world.start(place.second_checkout)
    return "up from the second checkout"


def downgrade(place: Place) -> str:
    """Meet a database that a later version has migrated: refuse it in words, and harm nothing."""
    with place.world.changing:
        place.world.stop()
        with _catalogue(place.world) as connection:
            found = connection.execute("select version_num from waybill_schema_version").fetchone()
            assert found is not None
            try:
                connection.execute("update waybill_schema_version set version_num = %s", [_FUTURE])
                refused = place.world.run("files", "list")
            finally:
                connection.execute("update waybill_schema_version set version_num = %s", [found[0]])
        if refused.returncode == 0 or "Traceback" in refused.stderr:
            place.load.ledger.findings.append(f"a later schema: {refused.returncode} {refused.stderr[-500:]}")
        place.world.start()
    return "a schema of the future"


def wait(place: Place) -> None:
    """Let what was done last for some seconds."""
    time.sleep(place.chance.uniform(_SHORTEST_SECONDS, _LONGEST_SECONDS))


def _limited(place: Place, kind: int, limit: Callable[[psutil.Process], int]) -> str:
    found = {role: process for role, process in place.world.roles().items() if role != "Postgres"}
    role = place.chance.choice(sorted(found)) if found else ""
    if not role:
        return ""
    process = found[role]
    with suppress(psutil.Error, OSError, ValueError):
        before = process.rlimit(kind)
        process.rlimit(kind, (limit(process), before[1]))
        try:
            wait(place)
        finally:
            process.rlimit(kind, before)
        return role
    return ""


def _data_bytes(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return (int(next(line for line in status if line.startswith("VmData")).split()[1]) + 4 * 1024) * 1024


@contextmanager
def _catalogue(world: World) -> Generator[psycopg.Connection]:
    """The catalogue's database, while `up` is stopped."""
    with StackCommand(world.home, **world.variables) as command:
        with psycopg.connect(command.answer()["database_url"], autocommit=True) as connection:
            yield connection
        assert command.leave() == 0


def _alter(world: World, value: str) -> None:
    administrator = world.database.replace("/waybill", "/postgres", 1)
    with psycopg.connect(administrator, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute(f"alter system set default_transaction_read_only = '{value}'".encode())
        connection.execute("select pg_reload_conf()")
