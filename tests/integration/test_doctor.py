"""The doctor: a sound home has no finding, and a home that is broken in one way has exactly that finding, by name."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect import flow, get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
    WorkPoolCreate,
)
from prefect.runtime import flow_run
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Running

from blocks.access import Actor
from blocks.catalog import Artifact, Catalog, Connection
from blocks.catalog.migrate import LOCK_KEY, newest_version
from blocks.custody.manifest import manifest_path
from blocks.forgetting.names import placeholder
from blocks.keys import StorageKeys, add_identity, load_storage_keys
from blocks.runs.ownership import read_owner
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.progress import Plan, record_plan
from blocks.runs.raised import message_of, was_raised
from blocks.runs.run_lock import hold_run_lock, run_locks
from blocks.runs.slices import add_slices, note_started, read_slices
from blocks.settings import Settings
from blocks.webhooks import registration
from blocks.webhooks.endpoint_queries import BLOCKS_LOCK_KEY
from blocks.webhooks.outbox import Event, add_events, computed_event_id
from blocks.webhooks.outbox.queries import DISPATCHER_SESSION
from blocks.webhooks.secrets import SecretBox
from flows.events.record_run_events import RunEventRecorder, read_history
from flows.processing.slice_runs import slice_deployment, start
from tests.integration.conftest import Workspace
from tests.integration.custody_place import Place, draft
from tests.integration.prefect_runs import begin_now, new_run, put
from tests.integration.table_poison import FILES, WEBHOOKS
from tests.stack_driver import eventually
from tests.stored import stored_paths
from waybill.services.doctor import findings
from waybill.services.doctor.audit import audit_home, audit_servers
from waybill.services.doctor.database import check_database, server_problems
from waybill.services.doctor.findings import CHECKS, Findings, Tolerances
from waybill.services.doctor.home import HomeProcesses, KnownProcess
from waybill.services.doctor.runs import check_output_locks
from waybill.services.doctor.shared import check_shared_limits
from waybill.services.webhooks import rotate_secret
from waybill.stack.home_processes import processes_of

# What is normal for a moment is a finding immediately.
AT_ONCE = Tolerances(
    run_without_process=timedelta(0), event_missing=timedelta(0), unfinished=timedelta(0), delivery_overdue=timedelta(0)
)
QUIET = HomeProcesses(recorded=(), leftovers=(), up_is_running=False)


@dataclass(frozen=True)
class Sound:
    """A home in order: two files of a run, a webhook endpoint, and an event that was delivered to it."""

    place: Place
    settings: Settings
    files: tuple[Artifact, Artifact]

    async def sql(self, statement: str) -> None:
        # As a damaged disk or a careless administrator would: without triggers, and so without foreign keys.
        async with self.place.catalog.transaction() as connection:
            await connection.execute("set local session_replication_role = replica")
            await connection.execute(statement.encode())

    async def examined(self, tolerances: Tolerances = AT_ONCE, **more: Any) -> Findings:
        found = Findings(tolerances=tolerances)
        alive = audit_home(self.settings, QUIET, found)
        given = {"prefect_api_url": None, "is_shared": False, "dispatcher_is_running": True, **more}
        await audit_servers(self.settings, found, living_runs=alive, **given)
        return found

    def path(self, path: str) -> Path:
        return self.place.folder / path


@pytest.fixture
async def sound(database_url: str, tmp_path: Path) -> AsyncIterator[Sound]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    settings = Settings(home=home, database_url=database_url)  # type: ignore[arg-type]
    async with Catalog.open(database_url) as catalog:
        place = Place.at(catalog, home / "artifacts", keys=load_storage_keys(settings))
        async with catalog.transaction() as connection:
            box = SecretBox.of(settings)
            await registration.register(connection, box, origin="registered", url="http://127.0.0.1:9/hook")
            # An endpoint is owed what was recorded ten seconds after it was made.
            await connection.execute("update webhook_endpoints set created_at = created_at - interval '1 hour'")
            await add_events(connection, [_event("one")], lambda _: None)
            await connection.execute("update webhook_deliveries set state = 'delivered', settled_at = now()")
        run_id = uuid4()
        # The manifest of a file that comes in pieces is beside it.
        (reservation,) = await place.custody.reserve([draft(run_id=run_id)])
        upload = await place.custody.fill(reservation, iter([b"content of ", b"upload"]))
        output = await place.custody.take(draft(kind="stage_output", run_id=run_id), b"content of stage_output")
        assert (upload.manifest, output.manifest) == ("separate", "inline")
        yield Sound(place, settings, (upload, output))


def _event(name: str) -> Event:
    return Event(
        event_id=computed_event_id(name), event_type="task_started", task_id=None, source_file=None,
        occurred_at=datetime.now(UTC), data={},
    )  # fmt: skip


def shown(found: Findings) -> dict[str, str]:
    """Checks that are neither ok nor skipped."""
    return {name: status for name in CHECKS if (status := found.status_of(name)) not in {"ok", "skipped"}}


async def test_a_sound_home_has_no_finding_and_is_counted(sound: Sound) -> None:
    found = await sound.examined(deep=True)
    assert shown(found) == {}, found.found
    report = found.as_json()
    assert (report["status"], report["problems"], report["warnings"]) == ("ok", 0, 0)
    assert [one["name"] for one in report["checks"] if one["status"] == "skipped"] == [
        "settings", "slices", "deployment", "shared-limits", "dask", "runs", "run-events", "documents", "backups",
    ]  # fmt: skip
    counts = report["counts"]
    assert (counts["files"], counts["blobs"], counts["manifests"]) == (2, 2, 1)
    assert counts["bytes"] == sum(one.size for one in sound.files)
    assert (counts["events"], counts["deliveries"]) == ({"task_started": 1}, {"delivered": 1})
    assert counts["verified"] == {"verified": 2}
    assert counts["schema"] == newest_version()


Break = Callable[[Sound], Awaitable[object] | object]


def _sql(statement: str) -> Break:
    return lambda sound: sound.sql(statement)


def _cut(sound: Sound) -> None:
    path = sound.path(sound.files[0].location)
    path.write_bytes(path.read_bytes()[:-1])


def _lock_of_a_dead_run(sound: Sound) -> None:
    with pytest.raises(KeyError), hold_run_lock(sound.settings.home, uuid4()):
        raise KeyError


def _scratch(sound: Sound) -> None:
    (sound.settings.scratch / str(uuid4())).mkdir(parents=True)


def _write(path: str) -> Break:
    def write(sound: Sound) -> None:
        target = sound.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"bytes")

    return write


async def _other_collation(sound: Sound) -> None:
    await sound.sql("create collation sorted_once (provider = builtin, locale = 'C.UTF-8')")
    await sound.sql("create index sorted_once_index on artifacts (filename collate sorted_once)")
    await sound.sql("update pg_collation set collversion = '0' where collname = 'sorted_once'")


def _storage_key(sound: Sound) -> Path:
    return sound.settings.resolved_storage_identity_file


BROKEN: dict[str, tuple[Break, str, str]] = {
    "rights": (lambda s: s.settings.home.chmod(0o755), "home", "problem"),
    "key for all": (lambda s: _storage_key(s).chmod(0o604), "key-files stored-keys", "problem"),
    "key for the group": (lambda s: _storage_key(s).chmod(0o640), "key-files stored-keys", "problem"),
    "no storage key": (lambda s: _storage_key(s).unlink(), "stored-keys", "problem"),
    "no webhook key": (lambda s: s.settings.resolved_webhook_identity_file.unlink(), "stored-keys", "problem"),
    "no blob": (lambda s: s.path(s.files[1].location).unlink(), "blobs", "problem"),
    "cut blob": (_cut, "blobs", "problem"),
    "no manifest": (lambda s: s.path(manifest_path(s.files[0].location)).unlink(), "manifests", "problem"),
    "blob without row": (_write(f"outputs/ab/{'ab' * 16}"), "orphans", "problem"),
    "manifest without row": (_write(f"uploads/ab/{'ab' * 16}.waybill"), "orphans", "problem"),
    "deleted row with blob": (
        _sql("update artifacts set state = 'deleted', deleted_at = now() where kind = 'upload'"), "orphans", "problem",
    ),
    "temporary file": (_write(f"uploads/ab/.{'ab' * 16}.0123456789abcdef.partial"), "unfinished", "warning"),
    "marked": (_sql("update artifacts set damaged_at = now(), damage = 'it was changed'"), "damaged", "problem"),
    "pending": (_sql("update artifacts set state = 'pending' where kind = 'upload'"), "unfinished", "warning"),
    "deleting": (_sql("update artifacts set state = 'deleting' where kind = 'upload'"), "unfinished", "warning"),
    "moving": (_sql("update artifacts set spare_location = 'a/x' where kind = 'upload'"), "unfinished", "warning"),
    "no row": (_sql("delete from artifacts where kind = 'stage_output'"), "orphans run-outputs", "problem"),
    "dead run": (_lock_of_a_dead_run, "run-locks", "warning"),
    "scratch": (_scratch, "run-locks", "warning"),
    "old schema": (_sql("update waybill_schema_version set version_num = '0001'"), "schema", "problem"),
    "newer schema": (_sql("update waybill_schema_version set version_num = '9999'"), "schema", "problem"),
    "invalid index": (
        _sql("update pg_index set indisvalid = false where indexrelid = 'artifacts_by_time'::regclass"),
        "indexes", "problem",
    ),
    "collation": (
        _other_collation, "indexes", "problem",
    ),
    "skipped": (
        _sql("insert into skipped_records (kind, id, reason) values ('run', 'a', 'odd')"), "skipped-records", "warning",
    ),
    "future": (_sql("update artifacts set created_at = now() + interval '1 day'"), "clock", "warning"),
    "no delivery": (_sql("delete from webhook_deliveries"), "deliveries", "problem"),
    "due": (
        _sql("update webhook_deliveries set state = 'pending', settled_at = null, due_at = now() - interval '1 hour'"),
        "overdue", "problem",
    ),
    "lease": (
        _sql("update webhook_endpoints set owner = gen_random_uuid(), owned_until = now() - interval '1 hour'"),
        "overdue", "warning",
    ),
    "disabled": (_sql("update webhook_endpoints set state = 'disabled'"), "endpoints", "warning"),
    "held": (
        _sql("update webhook_endpoints set held_until = now() + interval '1 hour', held_because = '503'"),
        "endpoints", "warning",
    ),
    "dead": (_sql("update webhook_deliveries set state = 'dead'"), "dead-deliveries", "warning"),
}  # fmt: skip


@pytest.mark.parametrize("way", BROKEN)
async def test_a_home_that_is_broken_in_one_way_has_that_finding(sound: Sound, way: str) -> None:
    break_it, checks, status = BROKEN[way]
    try:
        if (waiting := break_it(sound)) is not None and hasattr(waiting, "__await__"):
            await waiting  # type: ignore[misc]
        found = await sound.examined()
        assert shown(found) == dict.fromkeys(checks.split(), status), found.found
        assert all(one.remedy and one.message for one in found.found if one.status != "skipped")
    finally:
        sound.settings.home.chmod(0o700)


async def test_changed_bytes_of_the_same_size_are_found_when_every_file_is_read(sound: Sound) -> None:
    path = sound.path(sound.files[0].location)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert shown(await sound.examined()) == {}
    assert shown(await sound.examined(deep=True)) == {"blobs": "problem"}
    # The same audit marked it, and a later one names it once, by its mark.
    found = await sound.examined(deep=True)
    assert shown(found) == {"damaged": "problem"}
    (finding,) = [one for one in found.found if one.check == "damaged"]
    assert "the stored bytes of file" in finding.examples[0]
    assert "source changed" not in finding.examples[0]


async def test_a_file_without_bytes_is_one_finding_whatever_else_is_gone_with_it(sound: Sound) -> None:
    for path in stored_paths(sound.files[0]):
        sound.path(path).unlink()
    found = await sound.examined(deep=True)
    (one,) = [one for one in found.found if one.status == "problem"]
    assert (one.check, one.count) == ("blobs", 1)
    # Without a mark a run would reuse it.
    assert one.remedy.index("files verify") < one.remedy.index("process")


async def test_a_damaged_file_that_was_made_again_is_a_warning_until_it_is_removed(sound: Sound) -> None:
    await sound.sql("update artifacts set damaged_at = now(), damage = 'it was changed'")
    assert shown(await sound.examined()) == {"damaged": "problem"}
    await sound.place.custody.take(draft(), b"content of upload")
    damaged = [one for one in (await sound.examined()).found if one.check == "damaged"]
    assert [(one.status, one.count) for one in damaged] == [("problem", 1), ("warning", 1)]
    await sound.place.custody.take(draft(kind="stage_output", run_id=uuid4()), b"made again")
    assert shown(await sound.examined()) == {"damaged": "warning"}
    for one in sound.files:
        await sound.place.custody.remove(one.file_id)
    assert shown(await sound.examined()) == {}


async def test_a_lost_webhook_key_is_mended_by_the_commands_that_are_shown(sound: Sound) -> None:
    async with sound.place.catalog.transaction() as connection:
        await registration.shared_secret(connection, SecretBox.of(sound.settings))
    sound.settings.resolved_webhook_identity_file.unlink()
    (finding,) = [one for one in (await sound.examined()).found if one.check == "stored-keys"]
    assert "http://127.0.0.1:9/hook" in finding.examples[0]
    commands = sorted(example.rpartition("waybill webhooks rotate ")[2] for example in finding.examples)
    assert commands[0] == "--runs"
    for given in (None, UUID(commands[1])):
        rotated = await rotate_secret(
            sound.place.catalog, sound.settings, given, timedelta(hours=24), by=Actor(actor="cli:test")
        )
        assert rotated.previous_is_lost
    # Also that nothing is kept of the old one, which could not sign during the overlap.
    assert shown(await sound.examined()) == {}


async def test_a_dispatcher_is_known_by_its_session(sound: Sound) -> None:
    found = await sound.examined(up_is_running=True)
    assert shown(found) == {"overdue": "warning"}
    with psycopg.connect(sound.settings.required_database_url, application_name=DISPATCHER_SESSION):
        found = await sound.examined(up_is_running=True)
    assert shown(found) == {}
    assert found.counts["dispatcher"] == "running"


async def test_what_is_normal_for_a_moment_is_no_finding(sound: Sound) -> None:
    _write(f"uploads/ab/.{'ab' * 16}.0123456789abcdef.partial")(sound)
    await sound.sql("update artifacts set state = 'pending' where kind = 'upload'")
    await sound.sql("update webhook_deliveries set state = 'pending', settled_at = null")
    assert shown(await sound.examined(Tolerances())) == {}


async def test_a_file_that_was_not_stored_to_its_end_is_named(sound: Sound) -> None:
    (reservation,) = await sound.place.custody.reserve([replace(draft(), filename="half of it.pdf")])
    (finding,) = [one for one in (await sound.examined()).found if one.check == "unfinished"]
    assert finding.examples[0].startswith(f"{reservation.file_id} half of it.pdf, since 20")


async def test_files_of_earlier_keys_count_as_readable_and_those_of_lost_ones_do_not(sound: Sound) -> None:
    add_identity(sound.settings.resolved_storage_identity_file)
    assert shown(await sound.examined()) == {}
    identities = load_storage_keys(sound.settings).identities
    keys = StorageKeys(recipient=identities[0].recipient, identities=identities[:1])
    await sound.place.with_keys(keys).custody.take(draft(), b"more")
    found = await sound.examined()
    assert sorted(found.counts["recipients"].values()) == [1, 2]


async def test_a_defect_of_one_check_hides_no_other(sound: Sound) -> None:
    sound.path(sound.files[1].location).unlink()
    await sound.sql("alter table webhook_secrets rename to webhook_secrets_away")
    found = await sound.examined()
    assert shown(found) == {"stored-keys": "problem", "blobs": "problem"}


async def test_odd_rows_are_findings_and_keep_no_check_from_the_others(sound: Sound) -> None:
    odd: dict[str, list[str]] = {}
    for way, poison in FILES.items():
        victim = await sound.place.custody.take(draft(), b"odd")
        odd.setdefault(way.split()[0], []).append(str(victim.file_id))
        # No two files have the same location.
        here = poison.replace("'../../../etc/passwd'", f"'../{victim.file_id}'")
        await sound.sql(here.replace("%(victim)s", f"'{victim.file_id}'"))
    link = await sound.place.custody.take(draft(), b"behind a link")
    sound.path(link.location).unlink()
    sound.path(link.location).symlink_to("/etc/passwd")
    box = SecretBox.of(sound.settings)
    for table, key in (("endpoints", "endpoint_id"), ("secrets", "secret_id")):
        for poison in WEBHOOKS[table].values():
            async with sound.place.catalog.transaction() as connection:
                made = await registration.register(connection, box, origin="registered", url="http://127.0.0.1:9/odd")
                await add_events(connection, [_event(str(made))], lambda _: None)
            await sound.sql(poison.replace("%(victim)s", f"'{getattr(made.endpoint, key)}'"))
    for table, key in (("events", "event_id"), ("deliveries", "delivery_id")):
        for number, poison in enumerate(WEBHOOKS[table].values()):
            one = f"(select {key} from webhook_{table} order by {key} offset {number} limit 1)"  # noqa: S608
            await sound.sql(poison.replace("%(victim)s", one))
    sound.path(sound.files[1].location).unlink()
    found = await sound.examined(deep=True)
    assert [one for one in found.found if "could not be examined" in one.message] == []
    problems = [one for one in found.found if one.check == "blobs"]
    named = " ".join(example for one in problems for example in one.examples)
    assert {
        one for one in [*odd["artifacts.location"], str(link.file_id), str(sound.files[1].file_id)] if one not in named
    } == set()
    (without_place,) = [one for one in problems if "no place" in one.message]
    # What is wrong of some is not said of the others.
    assert without_place.count == len(odd["artifacts.location"]) + 1
    assert found.counts["files"] == len(FILES) + 3
    json.dumps(found.as_json(), allow_nan=False)


async def test_a_key_file_that_cannot_be_read_hides_no_other(sound: Sound) -> None:
    sound.settings.resolved_link_keys_file.mkdir(mode=0o700)
    (sound.settings.home / "prefect-api-auth").touch(mode=0o600)
    problems = [one.message for one in (await sound.examined()).found if one.check == "key-files"]
    assert [str(sound.settings.resolved_link_keys_file) in problems[0], "is empty" in problems[1]] == [True, True]
    assert len(problems) == 2


async def test_locks_of_a_session_without_a_living_run(sound: Sound) -> None:
    with psycopg.connect(sound.settings.required_database_url, autocommit=True) as session:
        # Those of a migration and of the sync of blocks are none.
        for key in (LOCK_KEY, BLOCKS_LOCK_KEY):
            session.execute("select pg_advisory_lock(%s)", [key])
        assert shown(await sound.examined()) == {}
        session.execute("select pg_advisory_lock(hashtextextended('a stage key', 0))")
        assert shown(await sound.examined()) == {"output-locks": "warning"}
        assert shown(await sound.examined(is_shared=True)) == {}
        with hold_run_lock(sound.settings.home, uuid4()):
            assert shown(await sound.examined()) == {}
        # Its run may have begun as late, after the run locks were read.
        began_before = Findings(tolerances=AT_ONCE, began_at=datetime.now(UTC) - timedelta(minutes=1))
        async with Catalog.open(sound.settings.required_database_url) as catalog:
            await check_output_locks(catalog, began_before, living_runs=set(), is_shared=False)
        assert began_before.found == []


async def test_a_database_that_answers_late_has_no_wrong_clock(sound: Sound) -> None:
    # It looks at its clock at any moment between the question and the answer.
    for asked, answered in ((0, 40), (-40, 0)):
        times = iter([datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (asked, answered)])
        found = Findings()
        await check_database(sound.place.catalog, found, clock=lambda times=times: next(times))
        assert found.status_of("clock") == "ok", found.found


async def test_clocks_that_differ(sound: Sound) -> None:
    for seconds, status in ((-3600, "problem"), (30, "warning"), (0, "ok")):
        found = Findings()
        ahead = timedelta(seconds=seconds)
        await check_database(sound.place.catalog, found, clock=lambda ahead=ahead: datetime.now(UTC) + ahead)
        assert found.status_of("clock") == status


def test_a_server_that_is_nearly_full_or_read_only_is_reported() -> None:
    good: dict[str, Any] = {
        "recovering": False, "read_only": False, "connections": 3, "places": 100, "transactions": 9, "prepared": 0,
    }  # fmt: skip
    assert server_problems(good) == []
    for change in (
        {"recovering": True}, {"read_only": True}, {"connections": 90}, {"transactions": 2_100_000_000},
        {"prepared": 1},
    ):  # fmt: skip
        assert len(server_problems(good | change)) == 1


def test_living_and_dead_runs_are_seen_without_a_change(tmp_path: Path) -> None:
    assert run_locks(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
    alive, dead = uuid4(), uuid4()
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / f"{dead}.lease").touch()
    with hold_run_lock(tmp_path, alive):
        assert run_locks(tmp_path) == run_locks(tmp_path) == {alive: True, dead: False}


def test_processes_that_no_command_owns_are_found(tmp_path: Path) -> None:
    # Its parent ends immediately, as a killed `waybill up` does.
    program = (
        "import subprocess, sys; print(subprocess.Popen("
        "[sys.executable, '-c', {body!r}, 'waybill.process.'], stdout=subprocess.DEVNULL).pid)"
    )
    body = "import time; time.sleep(600)"
    left = subprocess.run(
        [sys.executable, "-c", program.format(body=body)], env={**os.environ, "WAYBILL_HOME": str(tmp_path)},
        stdout=subprocess.PIPE, text=True, start_new_session=True, check=True,
    )  # fmt: skip
    pid = int(left.stdout)
    try:
        found = Findings()
        eventually(lambda: processes_of(tmp_path).leftovers, "the process is seen")
        with (tmp_path / "up.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            processes = processes_of(tmp_path)
        assert processes.up_is_running
        audit_home(Settings(home=tmp_path), processes, found)
        assert found.status_of("processes") == "problem"
        assert str(pid) in str(found.found)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_recorded_processes_that_have_ended_or_are_full_are_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    gone = KnownProcess(name="dispatch", pid=1, is_running=False)
    full = KnownProcess(name="gateway", pid=2, is_running=True, descriptors=1000, limit=1024)
    for one in (gone, full):
        found = Findings()
        audit_home(Settings(home=tmp_path), HomeProcesses(recorded=[one], leftovers=(), up_is_running=True), found)
        assert shown(found) == {"processes": "warning"}


# Against Prefect ------------------------------------------------------------------------------------------------------


async def of_prefect(workspace: Workspace, settings: Settings, prefect: str, **more: Any) -> Findings:
    workspace.home.mkdir(mode=0o700, exist_ok=True)
    found = Findings(tolerances=AT_ONCE)
    given = {"living_runs": set[str](), "is_shared": False, "dispatcher_is_running": False, **more}
    with pytest.MonkeyPatch.context() as patch:
        # However many runs other tests have left on the server, that of this one is among the examples.
        patch.setattr(findings, "MAX_EXAMPLES", 100_000)
        await audit_servers(settings, found, prefect_api_url=prefect, **given)
    return found


def named(found: Findings, check: str, run_id: object) -> list[str]:
    """What *check* says of one run: other tests have used the same Prefect server."""
    return [text for one in found.found if one.check == check for text in one.examples if str(run_id) in text]


async def test_every_state_has_its_event_once_and_every_document_its_end(
    prefect_server: str, workspace: Workspace, settings: Settings
) -> None:
    begin_now(workspace)
    async with get_client() as client, Catalog.open(workspace.database_url) as catalog:
        run = await new_run(client, Running(), Completed())
        await record_plan(run.id, Plan(documents=1, tasks=2))
        found = await of_prefect(workspace, settings, prefect_server)
        assert len(named(found, "run-events", run.id)) == 2
        assert len(named(found, "documents", run.id)) == 1

        read = await read_history(client, run)
        async with catalog.transaction() as connection:
            await RunEventRecorder(settings).record(connection, read, since=datetime.fromtimestamp(0, UTC))
            ended = {"task_id": run.id, "source_file": "a.pdf", "occurred_at": datetime.now(UTC), "data": {}}
            chain = Event(event_id=computed_event_id(run.id, "chain"), event_type="stage_chain_completed", **ended)
            await add_events(connection, [chain], lambda _: None)
        found = await of_prefect(workspace, settings, prefect_server)
        assert named(found, "run-events", run.id) == []
        assert "have outputs" in str([one for one in found.found if one.check == "documents"])
        assert found.counts["states"]["completed"] >= 1

        async with catalog.transaction() as connection:
            failed = Event(event_id=computed_event_id(run.id, "failed"), event_type="stage_failed", **ended)
            extra = Event(event_id=computed_event_id("extra"), event_type="task_completed", **ended)
            await add_events(connection, [failed, extra], lambda _: None)
        found = await of_prefect(workspace, settings, prefect_server)
        assert named(found, "documents", run.id) == []
        # An event that no state has: it is the newest, so it is a finding once there is a later one.
        await put(client, run, Failed())
        async with catalog.transaction() as connection:
            again = await read_history(client, await client.read_flow_run(run.id))
            await RunEventRecorder(settings).record(connection, again, since=datetime.fromtimestamp(0, UTC))
        found = await of_prefect(workspace, settings, prefect_server)
        assert len(named(found, "run-events", run.id)) == 1


async def test_a_forgotten_document_has_no_outputs_and_is_no_finding(
    prefect_server: str, workspace: Workspace, settings: Settings
) -> None:
    begin_now(workspace)
    async with get_client() as client, Catalog.open(workspace.database_url) as catalog:
        run = await new_run(client, Running(), Completed())
        await record_plan(run.id, Plan(documents=2, tasks=4))
        async with catalog.transaction() as connection:
            for source in (placeholder("1a2b3c4d" * 8), "b.pdf"):
                ended = {"task_id": run.id, "source_file": source, "occurred_at": datetime.now(UTC), "data": {}}
                chain = Event(event_id=computed_event_id(run.id, source), event_type="stage_chain_completed", **ended)
                await add_events(connection, [chain], lambda _: None)
        found = await of_prefect(workspace, settings, prefect_server)
        assert named(found, "documents", run.id) == [f"{run.id}: 1 documents completed, 0 have outputs"]


async def test_leases_that_ran_out_are_reported_with_their_homes(sound: Sound) -> None:
    dead, mine = uuid4(), uuid4()
    async with sound.place.catalog.connection() as connection:
        for run_id in (dead, mine):
            await _lease(connection, run_id)
        await connection.execute("update run_leases set given_up_at = now()")
        await _lease(connection, uuid4())
    # Of this home the file lock knows better.
    with hold_run_lock(sound.settings.home, mine):
        found = await sound.examined()
    (finding,) = [one for one in found.found if one.check == "run-leases"]
    assert (finding.status, finding.count) == ("warning", 1)
    assert finding.examples[0].startswith(f"{dead} of home home-7: silent for ")
    assert "process the same again" in finding.remedy


async def test_documents_of_a_run_that_raised_are_not_missed(
    prefect_server: str, workspace: Workspace, settings: Settings
) -> None:
    begin_now(workspace)

    @flow(name="process-documents")
    async def raises() -> None:
        await record_plan(UUID(str(flow_run.id)), Plan(documents=3, tasks=2))
        raise ValueError("something that no document has caused")

    state = await cast("Awaitable[Any]", raises(return_state=True))
    assert was_raised(state) and message_of(state) == "ValueError: something that no document has caused"
    found = await of_prefect(workspace, settings, prefect_server)
    assert named(found, "documents", state.state_details.flow_run_id) == []


async def test_slices_that_nobody_starts_or_takes_are_reported(
    prefect_server: str, workspace: Workspace, settings: Settings
) -> None:
    pool = f"pool-{uuid4()}"
    async with get_client() as client, Catalog.open(workspace.database_url) as catalog:
        await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        deployment = await slice_deployment(client, pool, await read_owner(settings))
        abandoned, led, cancelled, crashed = [await new_run(client, Running()) for _ in range(4)]
        await put(client, cancelled, Cancelling(), Cancelled())
        # Of a command: nothing goes on with it, as it does with a run of a deployment.
        await put(client, crashed, Crashed())
        for parent in (abandoned, led, cancelled, crashed):
            await add_slices(catalog, parent.id, [[{"text": "a"}], [{"text": "b"}], [{"text": "c"}]])
            async with catalog.connection() as connection:
                first, second, _ = await read_slices(connection, parent.id)
                for one in (first, second):
                    run_id = await start(client, deployment, parent.id, one, of=3, parameters={}, tag="home")
                    await note_started(connection, parent.id, one, run_id)
                if parent.id != led.id:
                    await _lease(connection, run_id)
        async with catalog.connection() as connection:
            await _lease(connection, led.id)
        found = await of_prefect(workspace, settings, prefect_server)
        (left, untaken) = [one for one in found.found if one.check == "slices"]
        assert left.examples == (f"{abandoned.id} {abandoned.name}: 2 slices left, 1 under way",)
        assert "waybill runs cancel" in left.remedy
        assert untaken.examples == (f"2 slices in pool {pool}",) and "prefect worker start" in untaken.remedy
        # With a worker that has taken one, the other one has its turn later.
        async with catalog.connection() as connection:
            (one, _, _) = await read_slices(connection, led.id)
            assert one.run_id is not None
            await _lease(connection, one.run_id)
        found = await of_prefect(workspace, settings, prefect_server)
        assert [one.message for one in found.found if one.check == "slices"] == [left.message]
        for run in (abandoned, led):
            await put(client, run, Completed())


async def test_a_limit_for_all_machines_without_slots_is_reported(
    prefect_server: str, workspace: Workspace, settings: Settings
) -> None:
    own = replace(settings, storage_limit=f"limit-{uuid4()}", language_model_limit=f"limit-{uuid4()}")
    async with get_client() as client:
        # That of the storage has no slots either, which no run asks for while files go to a folder.
        for name in (own.language_model_limit, own.storage_limit):
            await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=0))
        found = await of_prefect(workspace, own, prefect_server)
        (finding,) = [one for one in found.found if one.check == "shared-limits"]
        assert (finding.status, own.language_model_limit in finding.message) == ("problem", True)
        assert f"prefect gcl update {own.language_model_limit}" in finding.remedy
        in_s3 = replace(own, storage_url="s3://bucket/store")
        async with PrefectApi.open(prefect_server) as prefect:
            both = Findings()
            await check_shared_limits(prefect, in_s3, both)
        assert [own.storage_limit in one.message for one in both.found] == [False, True]
        update = GlobalConcurrencyLimitUpdate(limit=1)
        await client.update_global_concurrency_limit(own.language_model_limit, update)
        assert (await of_prefect(workspace, own, prefect_server)).status_of("shared-limits") == "ok"
        for name in (own.language_model_limit, own.storage_limit):
            await client.delete_global_concurrency_limit_by_name(name)
    assert (await of_prefect(workspace, own, prefect_server)).status_of("shared-limits") == "ok"


async def _lease(connection: Connection, run_id: UUID) -> None:
    values = (run_id, uuid4(), "home-7")
    await connection.execute("insert into run_leases (run_id, holder, home) values (%s, %s, %s)", values)


async def test_runs_in_progress_without_a_process_are_stuck(
    prefect_server: str, workspace: Workspace, settings: Settings
) -> None:
    async with get_client() as client:
        running = await new_run(client, Running())
        cancelling = await new_run(client, Running(), Cancelling())
        alive = {str(cancelling.id)}
        found = await of_prefect(workspace, settings, prefect_server, living_runs=alive)
        assert len(named(found, "runs", running.id)) == 1
        assert named(found, "runs", cancelling.id) == []
        assert found.status_of("runs") == "problem"
        elsewhere = await of_prefect(workspace, settings, prefect_server, is_shared=True)
        assert elsewhere.status_of("runs") == "warning"
        patient = Findings()
        await audit_servers(
            settings, patient, living_runs=set(), prefect_api_url=prefect_server, is_shared=False,
            dispatcher_is_running=False,
        )  # fmt: skip
        assert named(patient, "runs", running.id) == []
        for run in (running, cancelling):
            await put(client, run, Completed())
