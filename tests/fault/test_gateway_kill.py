"""The gateway is killed with -9 while files come in: nothing half is ever there, and nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import stat
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg

from tests.gateway.up import KILLED_IN_PARTS, Up
from tests.stack_driver import PATIENCE_SECONDS, eventually
from waybill.client import Client

pytestmark = KILLED_IN_PARTS

MIB = 1024 * 1024
FORM = "multipart/form-data; boundary=xx"
HEAD = b'--xx\r\nContent-Disposition: form-data; name="file"; filename="half.bin"\r\n\r\n'
# After each kill 'waybill up' waits twice as long before it starts the gateway again.
KILLS = 2
SEED = int(os.environ.get("WAYBILL_TEST_SEED", "2026"))


def client(up: Up) -> Client:
    return Client(up.url, up.key, patience_seconds=PATIENCE_SECONDS)


def kill(up: Up) -> int:
    """Kill the gateway; the process that it was."""
    pid = up.gateway_pid
    os.kill(pid, signal.SIGKILL)
    return pid


def back(up: Up, killed: int) -> None:
    def answers() -> bool:
        try:
            return httpx.get(f"{up.url}/health", timeout=PATIENCE_SECONDS).is_success and up.gateway_pid != killed
        except (httpx.TransportError, OSError, ValueError):
            return False

    eventually(answers, "another gateway answers")


async def test_an_upload_that_was_under_way_is_not_there_and_the_next_gateway_removes_what_is_left(up: Up) -> None:
    host, port = up.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /api/v1/files/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {up.key}\r\n"
        f"Content-Type: {FORM}\r\nContent-Length: {64 * MIB}\r\n\r\n".encode()
        + HEAD + os.urandom(24 * MIB)
    )  # fmt: skip
    await writer.drain()
    stored = up.home / "artifacts"
    await asyncio.to_thread(eventually, lambda: large_files(stored), "bytes are written")
    with psycopg.connect(f"postgresql://postgres@/waybill?host={up.home / 'postgres'}", autocommit=True) as database:
        # Its writer has not been heard of for an hour.
        database.execute("update artifacts set created_at = created_at - interval '1 hour' where state = 'pending'")
        killed = kill(up)
        await asyncio.to_thread(back, up, killed)
        writer.close()
        with client(up) as waybill:
            assert list(waybill.files_by_source("half.bin")) == []
        unfinished = "select count(*) from artifacts where state in ('pending', 'deleting')"
        await asyncio.to_thread(
            eventually, lambda: database.execute(unfinished).fetchone() == (0,), "no row is left of the upload"
        )
    assert large_files(stored) == []


def large_files(folder: Path) -> list[Path]:
    """Files of more than a MiB; one that goes meanwhile is none."""
    found: list[Path] = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if stat.S_ISREG((status := path.stat()).st_mode) and status.st_size > MIB:
                found.append(path)
    return found


def test_a_request_that_is_sent_again_after_each_kill_is_one_file_and_one_run(up: Up, tmp_path: Path) -> None:
    moments = random.Random(SEED)
    print(f"seed {SEED}")
    answers: list[dict[str, str]] = []
    for number in range(KILLS):
        note = tmp_path / f"note-{number}.md"
        note.write_text(f"# Note {number}\n\nIt is of today.\n" + "More words. " * 20_000)
        pause, killed = moments.uniform(0.0, 0.12), up.gateway_pid
        killer = threading.Timer(pause, kill, [up])
        killer.start()
        with client(up) as waybill:
            answers.append(waybill.ingest(note, stages="1", idempotency_key=f"note-{number}"))
        killer.join()
        back(up, killed)
        with client(up) as waybill:
            assert waybill.ingest(note, stages="1", idempotency_key=f"note-{number}") == answers[-1]
    with client(up) as waybill:
        for number, answer in enumerate(answers):
            assert waybill.wait(answer["task_id"], timeout_seconds=PATIENCE_SECONDS)["status"] == "completed"
            uploads = [f for f in waybill.files_by_source(f"note-{number}.md") if f["kind"] == "upload"]
            assert [upload["file_id"] for upload in uploads] == [answer["file_id"]]
        # Of the runs that were asked for: those of other tests that use the same `up` may still be under way.
        wanted = Counter([*up.run_ids, *(answer["task_id"] for answer in answers)])

        def runs_of(kind: str) -> Counter[str]:
            events = waybill.recent_events()
            return Counter(
                event["task_id"] for event in events if event["event_type"] == kind and event["task_id"] in wanted
            )

        # A run is completed a moment before the event of it is recorded.
        eventually(lambda: runs_of("task_completed").keys() == wanted.keys(), "every run has its last event")
        for kind in ("task_started", "task_completed"):
            assert runs_of(kind) == wanted
