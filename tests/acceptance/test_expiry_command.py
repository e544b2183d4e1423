"""`waybill expire` in homes where more is at work: other commands on the same files, and clocks that are wrong."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from blocks.catalog import Artifact
from blocks.open_custody import open_custody
from blocks.settings import Settings
from tests.acceptance.conftest import CommandLine
from tests.gateway.process import gateway_process
from tests.integration.custody_place import draft
from tests.other_clock import variables_of_clock
from tests.stack_driver import PATIENCE_SECONDS, StackCommand, end_everything, private_directory

HOUR_SECONDS = 3600
# Enough that the other commands work for some seconds, in which several clean-ups begin and end.
KEPT, GOING = 80, 160
# Of each clean-up next to them.
AT_ONCE = 40


# Odd rows -------------------------------------------------------------------------------------------------------------


def test_a_row_that_names_no_place_for_bytes_is_ended_by_a_rule_and_by_a_request(
    on_postgres: CommandLine, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("A letter.\n")
    by_rule, by_request = [on_postgres.json("files", "put", tmp_path / "letter.txt")["file_id"] for _ in range(2)]
    with psycopg.connect(database_url) as connection:
        connection.execute("update artifacts set location = '../' || file_id")
        connection.execute("update artifacts set expires_at = now() where file_id = %s", [by_rule])
    said = {by_rule: on_postgres.run("expire").stderr, by_request: on_postgres.run("files", "rm", by_request).stderr}
    for file_id, text in said.items():
        assert text.count(f"location='../{file_id}': ") == 1 and "no stored bytes can be there" in text
    for file_id in said:
        assert on_postgres.json("expire", "--explain", file_id)["state"] == "deleted"
    assert on_postgres.json("expire")["counts"]["failed"] == 0


# Clocks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_an_hour_off_decides_about_no_file(
    hours: int, on_postgres: CommandLine, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("A letter.\n")
    over, ends_soon = [on_postgres.json("files", "put", tmp_path / "letter.txt")["file_id"] for _ in range(2)]
    with psycopg.connect(database_url) as connection:
        # Ahead of it, the one clock would end both, and behind it the other one neither.
        for file_id, minutes in ((over, -30), (ends_soon, 30)):
            statement = "update artifacts set expires_at = now() + make_interval(mins => %s) where file_id = %s"
            connection.execute(statement, [minutes, file_id])
    key = on_postgres.json("keys", "create", "reader", "--scopes", "read")["key"]
    clock = variables_of_clock(tmp_path, hours * HOUR_SECONDS)
    environment = {**on_postgres.environment, **clock}

    def waybill(*arguments: str, expect: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "waybill", *arguments, "--json"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == expect, done.stderr
        return json.loads(done.stdout)

    shown = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], env=environment, capture_output=True, check=True
    )
    assert abs(float(shown.stdout) - time.time() - hours * HOUR_SECONDS) < HOUR_SECONDS / 4

    with gateway_process(on_postgres.home, database_url, **clock) as gateway:
        for file_id, status in ((over, 410), (ends_soon, 200)):
            answer = httpx.get(
                f"{gateway.url}/api/v1/files/download/{file_id}", headers={"Authorization": f"Bearer {key}"},
                timeout=PATIENCE_SECONDS,
            )  # fmt: skip
            assert answer.status_code == status, answer.text
    assert waybill("files", "get", over, "-o", str(tmp_path / "x"), expect=1)["error"]["code"] == "ArtifactGone"
    assert waybill("expire", "--explain", over)["readable"] is False
    report = waybill("expire")
    assert [one["file_id"] for one in report["removed"]] == [over]
    assert waybill("expire")["counts"]["removed"] == 0
    waybill("files", "get", ends_soon, "-o", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_text() == "A letter.\n"


# Next to other commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def running(run_folder: Path) -> Iterator[tuple[CommandLine, str]]:
    """A home whose Postgres runs, and the address of that."""
    with private_directory() as folder:
        commands = CommandLine(folder / "home", run_folder)
        with StackCommand(commands.home) as stack:
            yield commands, stack.answer()["database_url"]
            stack.leave()
        assert end_everything(commands.home) == []


def put_many(home: Path, database_url: str, count: int) -> list[Artifact]:
    """Store files as one process does that stores many."""

    async def store() -> list[Artifact]:
        async with open_custody(Settings(home=home, database_url=database_url)) as custody:
            return [await custody.take(draft(), f"content {number}".encode()) for number in range(count)]

    return asyncio.run(store())


def read_all(home: Path, database_url: str, files: list[Artifact]) -> list[bytes]:
    async def read() -> list[bytes]:
        async with open_custody(Settings(home=home, database_url=database_url), stores=False) as custody:
            return [await custody.read(await custody.get(one.file_id)) for one in files]

    return asyncio.run(read())


def test_clean_ups_next_to_a_rotation_rebuilds_and_a_backup_lose_nothing_and_leave_nothing(
    running: tuple[CommandLine, str], tmp_path: Path
) -> None:
    waybill, database_url = running
    files = put_many(waybill.home, database_url, KEPT + GOING)
    kept, going = files[::3], [one for number, one in enumerate(files) if number % 3]
    contents = {one.file_id: f"content {number}".encode() for number, one in enumerate(files)}

    def start(*arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "waybill", *map(str, arguments), "--json"],
            env=waybill.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, output + errors
        return json.loads(output)

    rotation, backup = start("keys", "rotate-storage"), start("backup", tmp_path / "backup")
    reports: list[dict[str, Any]] = []
    for first in range(0, GOING, AT_ONCE):
        ids = [one.file_id for one in going[first : first + AT_ONCE]]
        with psycopg.connect(database_url) as connection:
            connection.execute("update artifacts set expires_at = now() where file_id = any(%s)", [ids])
        clean_up, rebuild = start("expire"), start("catalog", "rebuild")
        reports.append(ended(clean_up))
        rebuilt = ended(rebuild)
        assert (rebuilt["restored"], rebuilt["failed"]) == (0, [])
    assert (ended(rotation)["failed"], ended(backup)["problems"]) == ([], [])
    reports.append(ended(start("expire")))
    assert [one["failed"] for one in reports] == [[]] * len(reports)
    assert sum(one["counts"]["removed"] + one["counts"]["finished"] for one in reports) == GOING
    assert reports[-1]["counts"]["removed"] == 0

    with psycopg.connect(database_url) as connection:
        states = dict(connection.execute("select file_id, state from artifacts").fetchall())
    assert states == {one.file_id: "available" if one in kept else "deleted" for one in files}
    assert read_all(waybill.home, database_url, kept) == [contents[one.file_id] for one in kept]
    on_disk = [path for path in (waybill.home / "artifacts").rglob("*") if path.is_file()]
    assert len(on_disk) == KEPT, "each with its manifest inside, and nothing else"
    assert waybill.json("doctor")["problems"] == 0
