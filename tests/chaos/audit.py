"""What must be true of a world when all is calm again, whatever happened to it before.

`waybill doctor` looks from the inside: rows, blobs, runs, events, processes. This looks from the outside as well: what
clients were promised, what the receiver of webhooks got, and what still runs when everything was stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.chaos.load import Ledger
from tests.chaos.world import World
from tests.stack_driver import eventually

# Retries of deliveries and the reconciler's next look; the last of a burst of runs.
_CALM_SECONDS = 300.0

# Deliveries that still wait.
_WAITING = "select count(*) from webhook_deliveries where state not in ('delivered', 'dead')"
_EVENTS = """
    select e.event_id, e.event_type, e.task_id, e.body from webhook_events e
     where exists (select 1 from webhook_deliveries d where d.event_id = e.event_id and d.state = 'delivered')
"""
_DEAD = "select count(*) from webhook_deliveries where state = 'dead'"
_OUTPUTS = """
    select a.stage, count(*) from run_outputs o join artifacts a on a.file_id = o.file_id
     where o.run_id = %s and a.state = 'available' group by a.stage
"""
_COMMANDED = """
    select source_file from artifacts where kind = 'stage_output' and state = 'available' and stage = 2
"""
_ENDS = ("task_completed", "task_failed", "task_cancelled", "task_crashed")


@dataclass
class Audit:
    """Counts, and findings in words; without findings the world is sound."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    findings: list[str] = field(default_factory=list[str])


def audit(world: World, ledger: Ledger) -> Audit:
    """Look at a calm world whose clients have finished and whose `up` still runs."""
    result = Audit(findings=list(ledger.findings))
    # Postgres may just be coming back from the last disturbance.
    eventually(lambda: _answers(world), "the database answers", _CALM_SECONDS)
    with psycopg.connect(world.database, autocommit=True) as connection:
        _await_events(connection, ledger, result)
        _check_ingests(connection, ledger, result)
        _check_commands(connection, ledger, result)
        _check_webhooks(connection, world, result)
    _ask_doctor(world, result)
    result.counts |= {"reads with the right content": ledger.reads}
    return result


def _answers(world: World) -> bool:
    try:
        psycopg.connect(world.database).close()
    except psycopg.Error:
        return False
    return True


def _await_events(connection: psycopg.Connection, ledger: Ledger, result: Audit) -> None:
    def is_quiet() -> bool:
        return all(_ends(connection, one.run_id) for one in ledger.ingests) and not _count(connection, _WAITING)

    try:
        eventually(is_quiet, "all events are recorded and delivered", _CALM_SECONDS)
    except AssertionError:
        result.findings.append(f"{_count(connection, _WAITING)} deliveries still wait after {_CALM_SECONDS} s of calm")
    if dead := _count(connection, _DEAD):
        result.findings.append(f"{dead} deliveries are dead although the receiver takes them")


def _check_ingests(connection: psycopg.Connection, ledger: Ledger, result: Audit) -> None:
    """Every accepted document has its outputs, or its run has ended otherwise and has one event that says so."""
    ends = Counter[str]()
    for one in ledger.ingests:
        found = _ends(connection, one.run_id)
        if one.status == "crashed" and len(found) == 2 and found[0] == "task_crashed":
            # Prefect heard nothing of it for 75 s, as when its server was away; it lived, or went on, and ended.
            one.status = found[1].removeprefix("task_")
            ends["taken for crashed before"] += 1
        ends[one.status] += 1
        stages = dict(connection.execute(_OUTPUTS, [one.run_id]).fetchall())
        if one.status == "completed":
            if missing := [stage for stage in range(1, one.stages + 1) if not stages.get(stage)]:
                result.findings.append(f"run {one.run_id} of {one.name} is completed without stages {missing}")
        elif one.status == "failed":
            failures = _events(connection, one.run_id, "stage_failed", "stage_chain_completed", "task_failed")
            if not any(one.name in json.dumps(body) for body in failures):
                result.findings.append(f"run {one.run_id} of {one.name} failed and no event names the document")
        elif not (one.status == "cancelled" and one.cancelled):
            # A run whose process was killed goes on, four times.
            result.findings.append(f"run {one.run_id} of {one.name} ended as {one.status}")
        if not found or found[-1] != f"task_{one.status}":
            result.findings.append(f"run {one.run_id} is {one.status}; its events say {found}")
    result.counts |= {f"runs over HTTP {end}": count for end, count in ends.items()}


def _check_commands(connection: psycopg.Connection, ledger: Ledger, result: Audit) -> None:
    stored = {row[0] for row in connection.execute(_COMMANDED).fetchall()}
    if missing := [source for source in ledger.commanded if source not in stored]:
        result.findings.append(f"{len(missing)} documents of commands have no output, such as {missing[0]}")
    result.counts["documents of commands"] = len(ledger.commanded)


def _check_webhooks(connection: psycopg.Connection, world: World, result: Audit) -> None:
    """What was delivered has arrived, with the body that was recorded; repeated ones are the same."""
    arrived: dict[str, set[bytes]] = {}
    times = Counter[str]()
    for request in world.receiver.received(f"/{world.folder.name}"):
        arrived.setdefault(request.event_id, set()).add(request.body)
        times[request.event_id] += 1
    recorded = {row[0]: bytes(row[3]) for row in connection.execute(_EVENTS).fetchall()}
    if lost := recorded.keys() - arrived.keys():
        result.findings.append(f"{len(lost)} events are marked as delivered and never arrived, such as {min(lost)}")
    if strange := [event for event, bodies in arrived.items() if bodies != {recorded.get(event)}]:
        result.findings.append(f"{len(strange)} events arrived with another body than recorded, such as {strange[0]}")
    result.counts |= {
        "events delivered": len(recorded),
        "requests at the receiver": sum(times.values()),
        "events that arrived more than once": sum(1 for count in times.values() if count > 1),
    }


def _ask_doctor(world: World, result: Audit) -> None:
    done = world.run("doctor", "--deep", "--json")
    try:
        report: dict[str, Any] = json.loads(done.stdout)
        problems = [
            f"doctor: {check['name']}: {found['message']} {found['examples']}"
            for check in report["checks"]
            for found in check["findings"]
            if found["status"] == "problem"
        ]
    except (ValueError, KeyError):
        result.findings.append(f"doctor exit {done.returncode}: {done.stdout[-500:]} {done.stderr[-1000:]}")
        return
    result.findings += problems
    result.counts |= _flat("doctor", report["counts"])
    if done.returncode and not problems:
        result.findings.append(f"doctor ended with {done.returncode} and names no problem")


def _flat(name: str, counts: dict[str, Any]) -> dict[str, int]:
    """The numbers of a report, by their path in it."""
    found: dict[str, int] = {}
    for part, count in counts.items():
        if isinstance(count, dict):
            found |= _flat(f"{name}: {part}", count)
        elif isinstance(count, int):
            found[f"{name}: {part}"] = count
    return found


def _ends(connection: psycopg.Connection, run_id: str) -> list[str]:
    statement = "select event_type from webhook_events where task_id = %s and event_type = any(%s) order by occurred_at"
    return [row[0] for row in connection.execute(statement, [run_id, list(_ENDS)]).fetchall()]


def _events(connection: psycopg.Connection, run_id: str, *kinds: str) -> list[Any]:
    statement = "select body from webhook_events where task_id = %s and event_type = any(%s)"
    return [json.loads(bytes(row[0])) for row in connection.execute(statement, [run_id, list(kinds)]).fetchall()]


def _count(connection: psycopg.Connection, statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return int(row[0])
