"""Backup and restore, by destroying homes: all that a home promised holds in the restored one."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from blocks.access import parse_key
from blocks.access.api_key import digest
from blocks.errors import InvalidOptions
from blocks.links import Links
from blocks.settings import Settings
from tests.acceptance.conftest import CommandLine
from tests.stack_driver import PATIENCE_SECONDS, StackCommand, end_everything, eventually
from waybill.services.backups import Backup, Repository
from waybill.stack.backup.archived_log import last_commit, recovery_target
from waybill.stack.backup.restore_backup import choose_backup, why_missing
from waybill.stack.backup.wal_receiver import wal_receiver
from waybill.stack.postgres import EmbeddedPostgres


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="waybill-backup-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def original(folder: Path, run_folder: Path) -> Iterator[CommandLine]:
    """A home whose Postgres runs for the length of the module."""
    commands = CommandLine(folder / "home", run_folder)
    with StackCommand(commands.home) as stack:
        stack.answer()
        yield commands
        stack.leave()
    assert end_everything(commands.home) == []


def put(waybill: CommandLine, folder: Path, name: str) -> dict[str, Any]:
    (folder / name).write_text(f"This is {name}.\n")
    return waybill.json("files", "put", folder / name)


def content(waybill: CommandLine, file_id: str, target: Path) -> str:
    waybill.run("files", "get", file_id, "-o", target, "--force")
    return hashlib.sha256(target.read_bytes()).hexdigest()


def kill_a_backup(waybill: CommandLine, repository: Path) -> None:
    """Kill `waybill backup` when it has begun to write, and before it can read which files there are."""
    with psycopg.connect(_url(waybill)) as connection:
        connection.execute("lock table artifacts in access exclusive mode")
        killed = subprocess.Popen(
            [sys.executable, "-m", "waybill", "backup", str(repository)], env=waybill.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        eventually(lambda: list((repository / "backups").glob(".*.partial")), "a backup is under way")
        killed.send_signal(signal.SIGKILL)
        killed.wait(PATIENCE_SECONDS)


def assert_key_is_known(key: str, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select key_id, secret_sha256 from api_keys").fetchone()
    presented = parse_key(key)
    assert presented is not None
    assert row == (presented.key_id, digest(presented.secret))


def test_a_destroyed_home_comes_back_as_it_was_at_any_moment(
    original: CommandLine, folder: Path, tmp_path: Path
) -> None:
    repository = folder / "repository"
    first = put(original, tmp_path, "first.txt")
    key = original.json("keys", "create", "robot", "--scopes", "read")
    original.json("webhooks", "add", "http://127.0.0.1:9/hook")
    link = original.json("files", "share", first["file_id"])
    early = original.json("backup", repository)
    assert (early["files"], early["new_files"], early["problems"]) == (1, 1, [])
    assert "is inside of the home" in original.json("backup", original.home / "b", expect=2)["error"]["message"]

    # Killed in the middle: the earlier backup stays, and the next one clears up.
    kill_a_backup(original, repository)
    assert [one.backup_id for one in Repository(repository).backups()] == [early["backup_id"]]

    second = put(original, tmp_path, "second.txt")
    late = original.json("backup", repository)
    assert (late["files"], late["new_files"], late["kept"]) == (2, 1, 2)
    assert list((repository / "backups").glob(".*")) == []
    sums = repository / "backups" / late["backup_id"] / "files.sha256"
    assert subprocess.run(["sha256sum", "--quiet", "-c", sums], cwd=repository).returncode == 0
    moment = datetime.now(UTC).isoformat()
    original.run("files", "rm", second["file_id"])
    third = put(original, tmp_path, "third.txt")
    # Takes the log of the deletion and of the third file into the archive, as `waybill up` does all the time.
    last = original.json("backup", repository)
    archived = datetime.now(UTC).isoformat()
    committed = last_commit(repository / "wal" / last["archive"])
    assert committed is not None
    assert datetime.fromisoformat(moment) < committed < datetime.now(UTC)
    (repository / "files" / Path(last_location(original, third)).relative_to(original.home / "artifacts")).unlink()

    # Back at the moment before the deletion.
    then = replace(original, home=folder / "then")
    restored = then.json("restore", repository, "--at", moment)
    assert (restored["backup"]["backup_id"], restored["files"]) == (late["backup_id"], 2)
    assert restored["missing"] == []
    assert restored["restored_to"] == restored["at"]
    assert restored["doctor"]["problems"] == 0
    with StackCommand(then.home) as stack:
        database_url = stack.answer()["database_url"]
        for one in (first, second):
            assert content(then, one["file_id"], tmp_path / "copy") == one["sha256"]
        assert [one["url"] for one in then.json("webhooks", "list")["endpoints"]] == ["http://127.0.0.1:9/hook"]
        assert_key_is_known(key["key"], database_url)
        stack.leave()
    links = Links.of(Settings(home=then.home))
    assert links.check_download(link["url"].partition("token=")[2], UUID(first["file_id"]))
    assert "holds something already" in then.json("restore", repository, expect=2)["error"]["message"]

    # To the last archived moment: the deletion is there, and the file whose copy is lost is named and marked.
    now = replace(original, home=folder / "now")
    restored = now.json("restore", repository, expect=1)
    assert restored["backup"]["backup_id"] == last["backup_id"]
    assert [one["file_id"] for one in now.json("files", "list")["files"]] == [third["file_id"], first["file_id"]]
    (line,) = restored["missing"]
    assert third["file_id"] in line
    assert "stored after" not in line
    # To the last change that the log has, which is after the last file. The backup archives the log at its very end.
    assert third["created_at"] <= restored["restored_to"] <= archived
    status = {check["name"]: check["status"] for check in restored["doctor"]["checks"]}
    assert (status["damaged"], status["blobs"], status["orphans"]) == ("problem", "ok", "ok")
    for home in (then.home, now.home):
        assert end_everything(home) == []


def test_a_file_that_a_backup_lacks_is_named_with_the_cause() -> None:
    made = datetime(2026, 11, 29, 3, tzinfo=UTC)
    backup = Backup(
        backup_id="b", began_at=made, ended_at=made, postgres_major=18, schema_version="1", waybill_version="1",
        archive="a", first_wal="0", files_are_included=True, files=0, bytes=0,
    )  # fmt: skip
    before, after = made - timedelta(hours=1), made + timedelta(hours=1)
    assert "already before" in why_missing({"created_at": before, "damage": "there is no such blob"}, backup)
    assert "was missing or damaged when" in why_missing({"created_at": before, "damage": None}, backup)
    assert "stored after it" in why_missing({"created_at": after, "damage": None}, backup)


def last_location(waybill: CommandLine, one: dict[str, Any]) -> str:
    return waybill.json("files", "show", one["file_id"])["location"]


def test_a_backup_folder_that_goes_away_stops_nothing_and_is_reported(original: CommandLine, folder: Path) -> None:
    repository = folder / "mounted"
    made = original.json("backup", repository)
    said: list[str] = []

    def backups() -> dict[str, Any]:
        checks = original.run("doctor", "--json", expect=None).stdout
        return next(check for check in json.loads(checks)["checks"] if check["name"] == "backups")

    with wal_receiver(original.home, said.append) as receiver:
        receiver.keep_running()
        eventually(lambda: _slot(original)[1], "the log is received")
        repository.rename(folder / "unmounted")
        receiver.stop()  # with its file open it would notice with the next sixteen megabytes only
        eventually(lambda: receiver.keep_running() or said, "the missing folder is reported")  # type: ignore[func-returns-value]
        assert str(repository) in said[0]
        assert "is not there" in backups()["findings"][0]["message"]
        (folder / "unmounted").rename(repository)
        eventually(lambda: receiver.keep_running() or _slot(original)[1], "it goes on")  # type: ignore[func-returns-value]
        assert len(said) == 1
    assert backups()["status"] == "ok"
    # What Postgres does when it has kept as much log as it may: the archive has a gap.
    with psycopg.connect(_url(original), autocommit=True) as connection:
        eventually(lambda: not _slot(original)[1], "the receiver has gone")
        connection.execute("select pg_drop_replication_slot('waybill_backup')")
    assert "gap" in backups()["findings"][0]["message"]
    again = original.json("backup", repository)
    assert again["archive"] != made["archive"]
    assert backups()["status"] == "ok"


def _url(waybill: CommandLine) -> str:
    return EmbeddedPostgres(waybill.home).url("waybill")


def _slot(waybill: CommandLine) -> tuple[str, bool]:
    with psycopg.connect(_url(waybill)) as connection:
        # Beside it there may still be the slot of a base backup that has just ended.
        statement = "select wal_status, active from pg_replication_slots where slot_name = 'waybill_backup'"
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row


def test_what_cannot_be_restored_or_used_is_refused(original: CommandLine, folder: Path, tmp_path: Path) -> None:
    repository = folder / "refused"
    made = original.json("backup", repository, "--keep", "1")
    again = original.json("backup", repository, "--keep", "1")
    assert (again["kept"], again["removed"]) == (1, 1)
    elsewhere = replace(original, home=folder / "elsewhere")

    def refused(*arguments: object, waybill: CommandLine = elsewhere) -> str:
        return waybill.json(*arguments, expect=2)["error"]["message"]

    assert "is no backup repository" in refused("restore", tmp_path)
    assert "the oldest backup" in refused("restore", repository, "--at", made["began_at"])
    # Nothing was archived after now, and nothing is written to find that out.
    possible = refused("restore", repository, "--at", "2999-01-01").partition("possible, ")[2]
    match = re.fullmatch(f"from {re.escape(again['ended_at'])} to (.*)", possible)
    assert match is not None, possible
    end, chosen = datetime.fromisoformat(match[1]), choose_backup(Repository(repository), None)
    assert chosen.ended_at <= end < datetime.now(UTC)
    # Without a later commit Postgres would not stop there, so it replays all of the log.
    assert recovery_target(Repository(repository), chosen, end) is None
    with pytest.raises(InvalidOptions, match="nothing of"):
        recovery_target(Repository(repository), chosen, end + timedelta(microseconds=1))
    assert "is no time" in refused("restore", repository, "--at", "yesterday")
    within = replace(original, home=repository / "backups" / "home")
    assert "holds the backups" in refused("restore", repository, waybill=within)
    assert "nothing to back up" in refused("backup", folder / "of-nothing")
    (tmp_path / "something").touch()
    assert "holds something else" in refused("backup", tmp_path, waybill=original)
    description = repository / "backups" / again["backup_id"] / "backup.json"
    text = description.read_text()
    for changed, why in (
        (text.replace('"postgres_major": 18', '"postgres_major": 12'), "of Postgres 12"),
        (text.replace(again["schema_version"], "9999"), "schema version 9999"),
        ("{", "cannot be read"),
    ):
        description.write_text(changed)
        assert why in refused("restore", repository)
    description.write_text(text)
    stored = tmp_path / "stored.txt"
    stored.write_text("encrypted for the key of the home")
    original.json("files", "put", stored)
    key = original.home / "storage-identity"
    key.rename(folder / "key")
    assert "encrypted for age1" in refused("backup", repository, "--keep", "1", waybill=original)
    (folder / "key").rename(key)
    (repository / "repository.json").write_text('{"waybill_backups": 1, "cluster": "7"}')
    assert "another home" in refused("backup", repository, waybill=original)
    outside = original.with_environment(WAYBILL_DATABASE_URL="postgresql:///elsewhere")
    assert "WAYBILL_DATABASE_URL" in refused("backup", repository, waybill=outside)
    assert not elsewhere.home.exists() and not within.home.exists() and not (folder / "of-nothing").exists()
