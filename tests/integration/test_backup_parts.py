"""Parts of backup and restore: odd rows, unreadable backups, unfinished homes, programs that end with their caller."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from blocks.catalog import Catalog
from blocks.custody.manifest import manifest_path
from blocks.errors import InvalidOptions, StackUnavailable
from blocks.settings import Settings
from blocks.storage import new_blob_path
from tests.integration.custody_place import Place, draft
from tests.integration.table_poison import FILES
from tests.stack_driver import PATIENCE_SECONDS, eventually
from tests.storage_keys import PLAIN
from waybill.services.backups import Backup, Repository
from waybill.services.doctor.findings import Findings
from waybill.services.doctor.home import check_home
from waybill.services.unfinished_restore import UNFINISHED_RESTORE
from waybill.stack.backup import restore_backup, restoring
from waybill.stack.backup.copy_files import Copied, copy_files
from waybill.stack.backup.make_backup import prune
from waybill.stack.backup.programs import run_watched
from waybill.stack.backup.restore_backup import choose_backup
from waybill.stack.backup.stored_rows import pages_of_stored_files
from waybill.stack.home import prepare_home
from waybill.stack.processes import find

BACKUP = Backup(
    backup_id="one", began_at=datetime.now(UTC), ended_at=datetime.now(UTC), postgres_major=18, schema_version="1",
    waybill_version="1", archive="ab", first_wal="0" * 24, files_are_included=True, files=0, bytes=0,
)  # fmt: skip

# As pg_basebackup does: a fork that would go on alone.
_FORKS = "sleep {seconds} & echo $! > {ready}; wait"


def test_the_output_and_the_exit_code_are_those_of_the_program() -> None:
    done = run_watched(["/bin/sh", "-c", 'echo "out $1"; echo err >&2; cat; exit 7', "sh", "a 'b'"])
    assert (done.returncode, done.stdout, done.stderr) == (7, "out a 'b'\n", "err\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_and_its_forks_end_with_the_process_that_runs_them(tmp_path: Path, number: signal.Signals) -> None:
    # Seconds that no other sleep of this machine has.
    ready, seconds = tmp_path / "ready", f"{100_000 + time.monotonic_ns() % 100_000}.{number}"
    script = "import sys; from waybill.stack.backup.programs import run_watched; run_watched(sys.argv[1:])"
    shell = _FORKS.format(seconds=seconds, ready=ready)
    with subprocess.Popen([sys.executable, "-c", script, "/bin/sh", "-c", shell], stderr=subprocess.DEVNULL) as caller:
        try:
            eventually(ready.exists, "the program runs")
            assert len(find(f"sleep {seconds}")) >= 2
        finally:
            caller.send_signal(number)
            caller.wait(PATIENCE_SECONDS)
    eventually(lambda: not find(f"sleep {seconds}"), "program and fork have ended")


# Odd rows -------------------------------------------------------------------------------------------------------------


async def test_odd_rows_keep_no_other_file_from_being_backed_up_and_restored(database_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", database_url=database_url)  # type: ignore[arg-type]
    repository = Repository(tmp_path / "repository")
    repository.begin("1")
    async with Catalog.open(database_url) as catalog:
        place = Place.at(catalog, tmp_path / "home" / "artifacts")
        healthy = [await place.custody.take(draft(), b"healthy")]
        odd: list[str] = []
        for way, poison in FILES.items():
            victim = await place.custody.take(draft(), b"odd")
            if way.startswith("artifacts.location"):
                odd.append(str(victim.file_id))
            here = poison.replace("'../../../etc/passwd'", f"'../{victim.file_id}'")
            with psycopg.connect(database_url) as connection:
                connection.execute(here.encode(), {"victim": victim.file_id})
        healthy.append(await place.custody.take(draft(), b"healthy too"))
        # A path that leads out of the repository to a file that is there.
        (tmp_path / odd[0]).write_bytes(b"outside")
        copied = Copied()
        await copy_files(settings, repository, copied)
        assert {one.location for one in healthy} <= copied.sums.keys()
        assert {one for one in odd if one not in " ".join(copied.problems)} == set()

        unreadable = healthy.pop()
        shutil.rmtree(tmp_path / "home")
        (repository.files / unreadable.location).unlink()
        (repository.files / unreadable.location).mkdir()
        restored = await restore_backup(settings, repository, BACKUP, on_step=lambda _: None)
        assert place.backend.size(healthy[0].location) == healthy[0].stored_size
        assert place.has_inline_manifest(healthy[0].location)
        assert {one for one in [*odd, str(unreadable.file_id)] if one not in " ".join(restored.missing)} == set()


# Files that move or go meanwhile --------------------------------------------------------------------------------------


async def test_what_moves_is_copied_from_its_new_place_and_what_goes_is_no_problem(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the page with their rows was read."""
    settings = Settings(home=tmp_path / "home", database_url=database_url)  # type: ignore[arg-type]
    repository = Repository(tmp_path / "repository")
    repository.begin("1")
    async with Catalog.open(database_url) as catalog:
        place = Place.at(catalog, tmp_path / "home" / "artifacts", PLAIN)
        goes, moves, lost, stays = [await place.custody.take(draft(), f"{n}".encode()) for n in range(4)]

        async def pages_before(catalog: Catalog) -> AsyncIterator[list[dict[str, Any]]]:
            async for rows in pages_of_stored_files(catalog):
                await place.custody.remove(goes.file_id)
                target = replace(moves, location=new_blob_path("upload", uuid4()))
                place.backend.publish(target.location, [b"1"])
                place.custody.publish_manifest(target)
                place.backend.delete(moves.location)
                async with catalog.connection() as connection:
                    statement = b"update artifacts set location = %s where file_id = %s"
                    await connection.execute(statement, [target.location, moves.file_id])
                place.backend.delete(lost.location)
                yield rows

        monkeypatch.setattr("waybill.stack.backup.copy_files.pages_of_stored_files", pages_before)
        copied = Copied()
        await copy_files(settings, repository, copied)
        moved = await place.custody.get(moves.file_id)
    assert copied.sums.keys() == {
        path for one in (moved, stays) for path in (one.location, manifest_path(one.location))
    }
    assert copied.problems == [f"{lost.file_id}: {lost.location} or its manifest is not in the storage"]


# Unreadable backups ---------------------------------------------------------------------------------------------------


def made(repository: Repository, name: str, age_days: int) -> Backup:
    """A complete backup of one file that only it needs."""
    backup = replace(BACKUP, backup_id=name, ended_at=datetime.now(UTC) - timedelta(days=age_days), archive="ab")
    (repository.folder(name) / "postgres").mkdir(parents=True)
    (repository.folder(name) / "backup.json").write_text(json.dumps(backup.as_json()))
    (repository.folder(name) / "files.sha256").write_text(f"{'0' * 64}  files/{name}\n")
    (repository.files / name).touch()
    return backup


def test_backups_that_cannot_be_read_are_named_and_hide_no_other(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.begin("1")
    readable = [made(repository, "old", 2), made(repository, "new", 1)]
    text = json.dumps(replace(BACKUP, backup_id="odd").as_json())
    values = json.loads(text)
    odd = {
        "empty": "", "cut": text[:50], "list": "[]", "nested": "[" * 100_000, "other name": text,
        "newer": json.dumps({**values, "more": 1}), "zoneless": text.replace("+00:00", ""),
        "leads out": json.dumps({**values, "archive": "../.."}), "no number": json.dumps({**values, "files": "many"}),
    }  # fmt: skip
    for name, content in odd.items():
        made(repository, name, 0)
        (repository.folder(name) / "backup.json").write_text(content)
    (repository.backups_folder / "no folder").touch()
    (repository.backups_folder / "nothing").mkdir()
    (repository.backups_folder / ".DS_Store").touch()
    made(repository, "no list", 0)
    (repository.folder("no list") / "files.sha256").unlink()
    unreadable: list[str] = []
    assert repository.backups(unreadable.append) == readable
    names = {*odd, "no folder", "nothing", "no list"}
    assert [name for name in names if not any(f"/{name} " in one for one in unreadable)] == []
    assert len(unreadable) == len(names)


def test_what_an_unreadable_backup_may_need_is_not_removed(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.begin("1")
    for number in range(4):
        made(repository, f"backup{number}", 9 - number)
    broken = repository.folder("backup0") / "backup.json"
    text = broken.read_text()
    broken.write_text("{")
    unreadable: list[str] = []
    assert prune(repository, 2, unreadable) == 1
    assert ["backup0" in one for one in unreadable] == [True]
    assert [one.backup_id for one in repository.backups()] == ["backup2", "backup3"]
    assert (repository.files / "backup0").exists()
    broken.write_text(text)
    assert prune(repository, 2, []) == 1
    assert sorted(path.name for path in repository.files.iterdir()) == ["backup2", "backup3"]


def test_a_repository_of_unreadable_backups_names_them(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.begin("1")
    (repository.backups_folder / "odd").mkdir()
    said: list[str] = []
    with pytest.raises(InvalidOptions, match=r"no complete backup; the backup .*odd cannot be read"):
        choose_backup(repository, None, said.append)
    assert len(said) == 1


# Unfinished homes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("was_there", [True, False])
def test_a_restore_that_fails_leaves_nothing(tmp_path: Path, was_there: bool) -> None:
    home = tmp_path / "home"
    if was_there:
        home.mkdir()
    with pytest.raises(KeyError), restoring(home):
        prepare_home(home)  # this process may go on with it
        (home / "postgres").mkdir()
        (home / "postgres" / "PG_VERSION").touch()
        raise KeyError
    assert home.exists() == was_there
    assert not was_there or list(home.iterdir()) == []


def test_a_home_whose_restore_was_killed_is_used_by_nothing_and_restored_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / UNFINISHED_RESTORE).write_text("4194305 ended\n")
    (home / "storage-identity").touch()
    with pytest.raises(StackUnavailable, match="its restore is not finished"):
        prepare_home(home)
    found = Findings()
    check_home(Settings(home=home), found)
    assert found.status_of("home") == "problem"
    with restoring(home):
        assert [path.name for path in home.iterdir()] == [UNFINISHED_RESTORE]
        (home / "postgres").mkdir()
        with pytest.raises(StackUnavailable, match="not finished"):
            _as_another_process(home)
    assert [path.name for path in home.iterdir()] == ["postgres"]
    with pytest.raises(InvalidOptions, match="holds something already"), restoring(home):
        raise AssertionError
    assert [path.name for path in home.iterdir()] == ["postgres"]


def _as_another_process(home: Path) -> None:
    mark = home / UNFINISHED_RESTORE
    own = mark.read_text()
    mark.write_text("1 another\n")
    try:
        prepare_home(home)
    finally:
        mark.write_text(own)
