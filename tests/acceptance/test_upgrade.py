"""A home whose Prefect database an earlier version has written, under the present one."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import psycopg

from blocks.settings import Settings
from tests.acceptance.conftest import CommandLine
from tests.stack_driver import PATIENCE_SECONDS, StackCommand, left_running, prefect_login
from waybill.stack import running_stack
from waybill.stack.postgres_cluster import postgres_binaries

DATABASES = Path(__file__).parents[1] / "upgrades"


def test_the_history_that_prefect_3_8_8_has_written_is_migrated_and_found(alone: CommandLine) -> None:
    with running_stack(Settings(home=alone.home), prefect=False) as stack:
        database_url = stack.database_url.replace("/waybill?", "/prefect?")
        restore(DATABASES / "prefect-3.8.8.sql.gz", database_url)
        assert not has_table_of_3_9(database_url)

    was: dict[str, dict[str, Any]] = json.loads((DATABASES / "prefect-3.8.8.json").read_text())
    with StackCommand(alone.home, "--prefect") as command:
        api = command.answer()["prefect_api_url"]
        status = alone.json("status", was["status"]["task_id"])
        assert {name: status[name] for name in was["status"]} == was["status"]
        assert alone.json("status", was["history"]["task_id"], "--history") == was["history"]
        assert has_table_of_3_9(database_url)
        # Asks for the indexes that came with 3.9, over states that 3.8.8 has written.
        observed = httpx.get(
            f"{api}/observed-states",
            params={"query": "reu"},
            auth=prefect_login(alone.home),
            timeout=PATIENCE_SECONDS,
        ).json()
        assert [state["state_name"] for state in observed] == ["Reused"]
        assert command.leave() == 0
    assert left_running(alone.home) == []


def has_table_of_3_9(database_url: str) -> bool:
    with psycopg.connect(database_url) as connection:
        return connection.execute("select to_regclass('automation_held_event')").fetchone() != (None,)


def restore(dump: Path, database_url: str) -> None:
    """Run *dump*, of which every statement must succeed, in an empty database."""
    command = [postgres_binaries() / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", database_url]
    done = subprocess.run(command, input=gzip.decompress(dump.read_bytes()), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
