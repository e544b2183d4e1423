"""The local stack as several commands of one home see it: started, shared, left, and nothing stays behind."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import prefect
import psycopg
import pytest

from blocks.errors import StackUnavailable
from blocks.settings import Settings
from tests.stack_driver import (
    PATIENCE_SECONDS,
    StackCommand,
    eventually,
    left_running,
    prefect_login,
    processes_of,
)
from waybill.stack import prefect_server, running_stack
from waybill.stack.databases import create_prefect_database, sqlalchemy_url
from waybill.stack.external import check_prefect_api, lost_records_warning
from waybill.stack.machine_memory import machine_memory_bytes
from waybill.stack.postgres_cluster import shared_buffers_mb
from waybill.stack.processes import identify


def query(url: str, statement: str) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def postgres_pid(url: str) -> int:
    return int(query(url, "select pg_read_file('postmaster.pid')").split()[0])


def call_prefect(home: Path, api_url: str, path: str, body: dict[str, Any]) -> Any:
    answer = httpx.post(f"{api_url}{path}", json=body, auth=prefect_login(home), timeout=PATIENCE_SECONDS)
    answer.raise_for_status()
    return answer.json()


def test_a_first_start_gives_a_migrated_database_and_the_end_leaves_no_process_and_no_socket(home: Path) -> None:
    with running_stack(Settings(home=home), prefect=False) as stack:
        assert stack.started == ("postgres",)
        assert stack.prefect_api_url is None
        assert query(stack.database_url, "select count(*) from artifacts") == 0
        assert query(stack.database_url, "show fsync") == "on"
        assert query(stack.database_url, "show listen_addresses") == ""
        cache_mb = shared_buffers_mb(machine_memory_bytes())
        assert query(stack.database_url, "select pg_size_bytes(current_setting('shared_buffers'))") == cache_mb << 20
        assert any("postgres" in line for line in processes_of(home))
    assert left_running(home) == []
    assert list(home.rglob(".s.PGSQL*")) == []


def test_what_was_written_is_there_at_the_next_start(home: Path) -> None:
    with running_stack(Settings(home=home), prefect=False) as stack, psycopg.connect(stack.database_url) as connection:
        connection.execute("create table kept as select 42 as number")
    with running_stack(Settings(home=home), prefect=False) as stack:
        assert query(stack.database_url, "select number from kept") == 42


def test_the_home_is_closed_to_others(home: Path) -> None:
    with running_stack(Settings(home=home), prefect=False):
        for directory in (home, home / "postgres", home / "logs"):
            assert stat.S_IMODE(directory.stat().st_mode) & 0o007 == 0
        files = [path for path in home.iterdir() if path.is_file()]
        assert files
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_the_environment_points_to_the_stack_inside_and_is_as_before_outside(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_RUNNER_POLL_FREQUENCY", "7")
    monkeypatch.delenv("WAYBILL_DATABASE_URL", raising=False)
    before = dict(os.environ)
    with running_stack(Settings(home=home), prefect=False) as stack:
        assert os.environ["WAYBILL_DATABASE_URL"] == stack.database_url
        assert os.environ["WAYBILL_HOME"] == str(home)
        assert os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] == "false"
        assert os.environ["PREFECT_RUNNER_POLL_FREQUENCY"] == "7", "what the user has set stays"
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["x" * 150, "mit Leerzeichen, Komma und Ümläut 漢字 %41 'q' \"q\""])
def test_a_home_with_a_long_or_unusual_path_works(directory: Path, name: str) -> None:
    home = directory / name
    with running_stack(Settings(home=home), prefect=False) as stack:
        assert query(stack.database_url, "select count(*) from artifacts") == 0
    assert left_running(home) == []


def test_a_second_command_shares_and_the_last_one_out_stops(home: Path) -> None:
    with StackCommand(home) as first, StackCommand(home) as second:
        one = first.answer()
        two = second.answer()
        assert sorted([one["started"], two["started"]]) == [[], ["postgres"]]
        pid = postgres_pid(one["database_url"])
        assert first.leave() == 0
        assert postgres_pid(two["database_url"]) == pid
        assert second.leave() == 0
    assert left_running(home) == []


def test_commands_that_start_and_end_at_the_same_moment_get_one_server_and_leave_none(home: Path) -> None:
    with StackCommand(home) as a, StackCommand(home) as b, StackCommand(home) as c, StackCommand(home) as d:
        commands = [a, b, c, d]
        urls = {command.answer()["database_url"] for command in commands}
        assert len(urls) == 1
        # A server that forks has its own name for a moment in its child too.
        eventually(lambda: len([line for line in processes_of(home) if f"-D {home}" in line]) == 1, "one server runs")
        for command in commands:
            assert command.process.stdin is not None
            command.process.stdin.close()
        assert [command.process.wait(PATIENCE_SECONDS) for command in commands] == [0, 0, 0, 0]
    assert left_running(home) == []


def test_a_database_that_the_user_names_is_migrated_used_and_left_running(
    tmp_path: Path, empty_database_url: str
) -> None:
    settings = Settings(home=tmp_path / "home", database_url=empty_database_url)  # pyright: ignore[reportArgumentType]
    with running_stack(settings, prefect=False) as stack:
        assert stack.started == ()
        assert stack.database_url == empty_database_url
        assert query(empty_database_url, "select count(*) from artifacts") == 0
    assert query(empty_database_url, "select 1") == 1
    assert not (tmp_path / "home" / "postgres").exists()


def test_prefect_gets_a_database_next_to_the_one_that_the_user_names(postgres: Any, empty_database_url: str) -> None:
    name = query(empty_database_url, "select current_database()") + "_prefect"
    try:
        for _ in range(2):
            assert query(create_prefect_database(empty_database_url), "select current_database()") == name
    finally:
        postgres.execute(f"drop database {name}")


def test_a_role_that_may_not_create_databases_is_told_what_to_do(postgres: Any, empty_database_url: str) -> None:
    postgres.execute("create role modest login")
    try:
        with pytest.raises(StackUnavailable, match=r"_prefect; have an administrator create it .* PREFECT_API_URL"):
            create_prefect_database(empty_database_url.replace("postgres:@", "modest@"))
    finally:
        postgres.execute("drop role modest")


@pytest.mark.parametrize(
    ("conninfo", "expected"),
    [
        (
            "postgresql://ann:p%40ss%2Fword@db.example:5433/docs?sslmode=require&connect_timeout=3",
            "postgresql+asyncpg://ann:p%40ss%2Fword@db.example:5433/docs?ssl=require",
        ),
        (
            "host='/run/my postgres' port=5433 dbname=docs",
            "postgresql+asyncpg:///docs?host=%2Frun%2Fmy+postgres&port=5433",
        ),
        ("postgresql://ann@[::1]:5433/a%20b", "postgresql+asyncpg://ann@[::1]:5433/a%20b"),
    ],
)
def test_a_postgres_address_is_spelled_the_way_prefect_reads_it(conninfo: str, expected: str) -> None:
    assert sqlalchemy_url(conninfo) == expected


@pytest.mark.parametrize("option", ["sslrootcert=/ca.pem", "options=-csearch_path%3Dx", "target_session_attrs=any"])
def test_an_option_that_prefects_driver_does_not_know_is_refused_and_named(option: str) -> None:
    with pytest.raises(StackUnavailable, match=option.split("=")[0]):
        sqlalchemy_url(f"postgresql://ann:secret@db/docs?{option}")


def test_a_port_that_is_taken_is_named_and_nothing_is_started(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with StackCommand(home, "--prefect", f"--port={port}") as command:
            answer = command.answer()
            assert command.process.wait(PATIENCE_SECONDS) == 1
    assert answer["error"] == "InvalidSettings"
    assert f"port {port} on 127.0.0.1 is taken" in answer["message"]
    assert left_running(home) == []


def test_a_prefect_server_that_does_not_answer_is_named_and_nothing_is_started(home: Path) -> None:
    with StackCommand(home, "--prefect", PREFECT_API_URL="http://user:secret@127.0.0.1:1/api") as command:
        answer = command.answer()
    assert answer["error"] == "StackUnavailable"
    assert "http://127.0.0.1:1/api" in answer["message"]
    assert "secret" not in answer["message"]
    assert left_running(home) == []


def test_a_server_that_does_not_show_its_settings_is_not_warned_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"

        def answer(body: bytes) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        for body in (b"{}", b"[]", b"<html>", b'{"server": {"services": {"task_run_recorder": null}}}'):
            thread = threading.Thread(target=answer, args=[body], daemon=True)
            thread.start()
            assert lost_records_warning(url, within_seconds=PATIENCE_SECONDS) is None
            thread.join()
    assert lost_records_warning(url, within_seconds=PATIENCE_SECONDS) is None, "nothing listens there"


@pytest.mark.parametrize(
    ("path", "version", "why"),
    [
        ("/api", b'"3.1.0"', f"it is Prefect 3.1.0, and this Waybill is made for {prefect.__version__}"),
        ("/api/", None, "it is no Prefect server, or one that is not ready"),
        ("/api", b"<html>", "it is no Prefect server, or one that is not ready"),
        ("", b'"3.1.0"', "a Prefect API address usually ends in /api"),
    ],
)
def test_a_server_that_does_not_know_the_api_is_named_with_its_version(
    path: str, version: bytes | None, why: str
) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = version is not None and self.path == "/api/admin/version"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(version or b"")

        def do_POST(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(StackUnavailable, match="it answers 404; ") as refused:
            check_prefect_api(f"http://127.0.0.1:{server.server_port}{path}", within_seconds=PATIENCE_SECONDS)
        server.shutdown()
    assert why in str(refused.value)


def test_prefect_runs_on_the_same_postgres_and_its_records_outlive_the_command(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50"}
    with StackCommand(home, "--prefect", "--records", **small) as first:
        stack = first.answer()
        assert stack["started"] == ["postgres", "prefect"]
        # What another home that names this server is warned of.
        credential = ":".join(prefect_login(home))
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", credential)
        warning = lost_records_warning(stack["prefect_api_url"], within_seconds=PATIENCE_SECONDS)
        assert "batches of 50" in (warning or "")
        assert first.answer() == {"records": 25}

        # Another home that names this server uses it, and starts none.
        with StackCommand(
            tmp_path / "other", "--prefect",
            PREFECT_API_URL=stack["prefect_api_url"], PREFECT_API_AUTH_STRING=credential,
            WAYBILL_DATABASE_URL=stack["database_url"],
        ) as guest:  # fmt: skip
            answer = guest.answer()
            assert answer["started"] == []
            assert answer["prefect_ui_url"] == stack["prefect_ui_url"]
            assert guest.leave() == 0
        for refused in ({}, {"PREFECT_API_AUTH_STRING": "waybill:another"}):
            with StackCommand(
                tmp_path / "other", "--prefect",
                PREFECT_API_URL=stack["prefect_api_url"], WAYBILL_DATABASE_URL=stack["database_url"], **refused,
            ) as guest:  # fmt: skip
                answer = guest.answer()
            assert answer["error"] == "StackUnavailable"
            assert "set PREFECT_API_AUTH_STRING" in answer["message"]
        # The same home with a credential that is not the running server's.
        chosen = {"PREFECT_SERVER_API_AUTH_STRING": "me:mine", "PREFECT_API_AUTH_STRING": "me:mine"}
        with StackCommand(home, "--prefect", **chosen) as other:
            assert "was started with another credential" in other.answer()["message"]
        # A server that an earlier version has started, and that is in use, asks for none: it is shared until it ends.
        record = json.loads((home / "stack.json").read_text())
        del record["prefect_server"]["credential"]
        (home / "stack.json").write_text(json.dumps(record))
        with StackCommand(home, "--prefect") as newer:
            assert newer.answer()["started"] == []
            assert newer.leave() == 0
        # Left right after the flow: the records are still on their way.
        assert first.leave() == 0
    assert left_running(home) == []

    with StackCommand(home, "--prefect") as second:
        api = second.answer()["prefect_api_url"]
        completed = {"task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        assert call_prefect(home, api, "/task_runs/count", completed) == 25
        assert lost_records_warning(api, within_seconds=PATIENCE_SECONDS) is None
        shown = httpx.get(f"{api}/admin/settings", auth=prefect_login(home), timeout=PATIENCE_SECONDS).json()
        services = shown["server"]["services"]
        assert [services[name]["batch_size"] for name in ("task_run_recorder", "event_persister")] == [200, 500]
        assert second.leave() == 0


def test_a_stop_that_is_killed_half_way_leaves_no_server_to_be_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server drains for a moment and still answers; whoever took it over would lose it under its feet."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        process = identify(server.pid)
        assert process is not None
        record = {"process": asdict(process), "port": 1, "database": "x"}
        (tmp_path / "stack.json").write_text(json.dumps({"prefect_server": record}))
        assert prefect_server.recorded_server(tmp_path) is not None

        def killed(*_: object) -> bool:
            raise SystemExit(137)

        monkeypatch.setattr(prefect_server, "end", killed)
        with pytest.raises(SystemExit):
            prefect_server.stop_server(tmp_path)
        assert prefect_server.recorded_server(tmp_path) is None
        server.communicate(b"\n")
