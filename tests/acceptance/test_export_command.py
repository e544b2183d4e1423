"""``waybill export`` and ``waybill exports``, as a user types them, and what a kill leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg

from blocks.exports.query_role import ROLE
from tests.acceptance.conftest import CommandLine
from tests.stack_driver import eventually


def test_an_export_is_made_shown_copied_and_removed(on_postgres: CommandLine, tmp_path: Path) -> None:
    document, copy = tmp_path / "report.txt", tmp_path / "names.csv"
    document.write_text("Some words.")
    on_postgres.run("files", "put", document)
    made = on_postgres.json("export", "names", "--query", "select filename from artifacts", "-o", copy)
    assert made["job_id"].startswith("exp_") and len(made["job_id"]) == 20
    assert (made["state"], made["rows"], made["size"]) == ("completed", 1, copy.stat().st_size)
    assert {"job_id", "filename", "file_id", "rows", "size", "expires_at", "state"} <= made.keys()
    assert "report.txt" in copy.read_text()
    assert made["filename"].startswith(f"names_{made['job_id']}_") and made["filename"].endswith(".csv")
    shown = on_postgres.json("exports", "show", made["job_id"])
    assert shown == made
    (listed,) = on_postgres.json("exports", "list")["exports"]
    assert listed == {name: value for name, value in made.items() if name != "location"}
    assert on_postgres.json("exports", "rm", made["job_id"])["removed"][0]["state"] == "deleted"
    again = on_postgres.json("exports", "rm", made["job_id"], expect=1)
    assert again["failed"][0]["job_id"] == made["job_id"]
    assert on_postgres.json("files", "list", "--kind", "export")["files"] == []


def test_what_a_command_exports_is_an_event_like_that_of_a_run(on_postgres: CommandLine, database_url: str) -> None:
    loopback = on_postgres.with_environment(WAYBILL_ALLOW_PRIVATE_WEBHOOKS="127.0.0.0/8")
    loopback.json("webhooks", "add", "http://127.0.0.1:9/hook")
    made = on_postgres.json("export", "facts")
    failed = on_postgres.json("export", "mine", "--query", "select nonsense", expect=1)
    with psycopg.connect(database_url) as connection:
        recorded = connection.execute(
            "select event_type, convert_from(body, 'UTF8')::jsonb #>> '{data, job_id}', state"
            "  from webhook_events join webhook_deliveries using (event_id) order by recorded_at"
        ).fetchall()
    # `waybill export` sends nothing: the next dispatcher does.
    assert recorded == [
        ("export_completed", made["job_id"], "pending"),
        ("export_failed", failed["job_id"], "pending"),
    ]
    said = on_postgres.run("export", "mine", "--query", "select nonsense", expect=1)
    assert "waybill: the export failed: the database refuses the query" in said.stderr


def test_what_cannot_be_exported_is_wrong_use_and_what_fails_is_a_failure(on_postgres: CommandLine) -> None:
    for arguments in (
        ("secrets",),
        ("documents", "--format", "exe"),
        ("documents", "--database", "sales"),
        ("mine", "--query", "select 1", "--database", "sales"),
        ("mine", "--query", "select 1", "--keep-for", "never"),
        ("documents", "-o", "-"),
    ):
        assert "error" in on_postgres.json("export", *arguments, expect=2)
    failed = on_postgres.json("export", "mine", "--query", "select * from public.api_keys", expect=1)
    assert failed["state"] == "failed" and failed["error"]


def test_an_expired_export_in_a_folder_is_deleted_by_expire_and_by_rm(
    on_postgres: CommandLine, database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    here = on_postgres.with_environment(WAYBILL_EXPORT_STORAGE_PATH=str(folder))
    first, second = (here.json("export", "facts", "--keep-for", "1h")["job_id"] for _ in "ab")
    with psycopg.connect(database_url) as connection:
        connection.execute("update export_jobs set expires_at = now()")
    assert here.json("exports", "show", second)["state"] == "deleted"
    assert len(list(folder.iterdir())) == 2
    assert here.json("exports", "rm", first, expect=1)["failed"][0]["job_id"] == first
    assert [second in path.name for path in folder.iterdir()] == [True]
    would_end = {one["job_id"]: one["state"] for one in here.json("expire", "--dry-run")["exports"]}
    assert would_end[second] == "completed" and len(list(folder.iterdir())) == 1
    ended = {one["job_id"]: one["state"] for one in here.json("expire")["exports"]}
    assert ended[second] == "deleted" and list(folder.iterdir()) == []


def test_an_export_that_is_killed_fails_and_leaves_nothing(
    on_postgres: CommandLine, database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    command_line = on_postgres.with_environment(EXPORT_STORAGE_PATH=folder)
    query = "select n, pg_sleep(0.001)::text from generate_series(1, 1000000) n"
    arguments = [sys.executable, "-m", "waybill", "export", "slow", "--query", query]
    scratch = on_postgres.home / "scratch" / "exports"
    with psycopg.connect(database_url, autocommit=True) as connection:
        with subprocess.Popen(arguments, env=command_line.environment, stdout=subprocess.DEVNULL) as killed:
            try:
                eventually(lambda: list(scratch.glob("*/*")), "the export writes")
            finally:
                killed.send_signal(signal.SIGKILL)
        connection.execute("update export_jobs set claimed_until = clock_timestamp()")
        (job,) = command_line.json("exports", "list")["exports"]
        assert job["state"] == "failed" and "ended before" in job["error"]
        assert list(scratch.iterdir()) == [] and not folder.exists()
        sessions = "select count(*) from pg_stat_activity where usename = %s and datname = current_database()"
        eventually(lambda: connection.execute(sessions, [ROLE]).fetchone() == (0,), "its query is over")
