"""Expiries that are killed by SIGKILL, at a named step or at a random moment, and what the next run makes of them.

The first part is the process that is killed. Run as a program, this is the long form: every step, and random moments.

    python -m tests.fault.kill_expiry [--files 2000] [--kills 50]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from blocks.access import Actor
from blocks.catalog import Catalog
from blocks.custody import Custody
from blocks.custody.manifest import is_manifest_path, manifest_path
from blocks.keys import StorageKeys
from blocks.retention import RetentionPolicy, execution
from blocks.storage import new_blob_path, open_backend
from blocks.webhooks.event_links import EventLinks
from tasks.expiry import run_retention
from tests.fault.killed_command import sessions_end

STEPS = ("plan", "tombstones", "bytes", "manifests", "rows")
"""Where the process ends itself: after the plan is stored, and after each step of its second batch."""
# What the process prints when everything is imported and open: from here on it is worth killing.
_BEGINS = "begins"
_PLAIN = StorageKeys(recipient=None, identities=())


# The process that is killed -------------------------------------------------------------------------------------------


def end_at(step: str) -> None:
    """Let this process kill itself after *step* of the second batch that comes to it."""
    passed = dict.fromkeys(STEPS, 0)

    def reached(name: str) -> None:
        passed[name] += 1
        if name == step and passed[name] == (1 if name == "plan" else 2):
            os.kill(os.getpid(), signal.SIGKILL)

    def after(owner: Any, name: str, mark: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        async def wrapped(*arguments: Any, **options: Any) -> Any:
            found = await original(*arguments, **options)
            reached(mark)
            return found

        setattr(owner, name, wrapped)

    after(execution, "start_plan", "plan")
    after(execution, "_entomb", "tombstones")
    after(execution, "_finish_files", "rows")


def end_in_storage(backend: Any, step: str) -> None:
    """Let this process kill itself when the bytes, or the manifests, of its second batch are deleted.

    Whether they come in one call or in two.
    """
    original, calls = backend.delete_many, {"bytes": 0, "manifests": 0}

    def delete_many(paths: Sequence[str], *arguments: Any, **options: Any) -> Any:
        blobs = [path for path in paths if not is_manifest_path(path)]
        found = original(blobs, *arguments, **options)
        if blobs:
            calls["bytes"] += 1
        if blobs and step == "bytes" and calls["bytes"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        manifests = [path for path in paths if is_manifest_path(path)]
        found |= original(manifests, *arguments, **options)
        if manifests:
            calls["manifests"] += 1
        if manifests and step == "manifests" and calls["manifests"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    if step in calls:
        backend.delete_many = delete_many


async def expire(url: str, storage: str, step: str) -> dict[str, Any]:
    backend = open_backend(storage)
    if step:
        end_at(step)
        end_in_storage(backend, step)
    async with Catalog.open(url) as catalog:
        custody = Custody(catalog=catalog, backend=backend, keys=_PLAIN)
        print(_BEGINS, flush=True)
        policy = RetentionPolicy(max_files=1_000_000, max_share=1)
        report = await run_retention(custody, policy, by=Actor(actor="cli:test"), links=EventLinks(None))
    return {"finished": report.finished, "failed": len(report.failed)}


# What kills it, and looks ---------------------------------------------------------------------------------------------


class Store:
    """A catalogue and a storage folder with files that have to go and files that have to stay."""

    def __init__(self, url: str, folder: Path, *, going: int, staying: int) -> None:
        self.url, self.folder = url, folder
        self.going = self._fill(going, "-1 day")
        self.staying = self._fill(staying, "1 day")

    def _fill(self, count: int, expires_in: str) -> dict[UUID, bytes]:
        """Write files with their rows, quickly, as custody would have stored them unencrypted."""
        contents = {uuid4(): os.urandom(50) for _ in range(count)}
        rows: list[tuple[Any, ...]] = []
        for number, (file_id, content) in enumerate(contents.items()):
            path, sha256 = new_blob_path("upload", file_id), hashlib.sha256(content).digest()
            blob = self.folder / path
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            (self.folder / manifest_path(path)).write_bytes(b"{}")
            source = f"/letters/{number // 7}.txt"
            rows.append(
                (file_id, f"{number}.txt", source, sha256, sha256, sha256, len(content), len(content), path, expires_in)
            )
        with psycopg.connect(self.url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.executemany(
                """
                insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, sha256,
                                       stored_sha256, size, stored_size, location, media_type, expires_at)
                values (%s, 'available', 'upload', %s, %s, %s, %s, %s, %s, %s, %s, 'text/plain',
                        clock_timestamp() + %s::interval)
                """,
                rows,
            )
        return contents

    def start(self, step: str = "") -> subprocess.Popen[str]:
        """Start an expiry and wait until it begins."""
        given = json.dumps([self.url, str(self.folder), step])
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.kill_expiry", "--child", given], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline().strip() == _BEGINS
        return process

    def finish(self) -> dict[str, Any]:
        """Run an expiry to its end."""
        process = self.start()
        output, _ = process.communicate()
        assert process.returncode == 0
        return json.loads(output)

    def check(self) -> None:
        """What had to go is gone, what had to stay is readable, nothing is left over, and each file has one event."""
        assert self.states() == {"deleted": len(self.going), "available": len(self.staying)}
        blobs = [new_blob_path("upload", file_id) for file_id in self.staying]
        expected = sorted([*blobs, *map(manifest_path, blobs)])
        found = sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())
        assert found == expected
        assert asyncio.run(self._contents()) == self.staying
        assert sorted(self.announced()) == sorted(map(str, self.going))

    def states(self) -> dict[str, int]:
        with psycopg.connect(self.url) as connection:
            return dict(connection.execute("select state, count(*) from artifacts group by state").fetchall())

    def open_plans(self) -> int:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("select count(*) from retention_plans where state = 'executing'").fetchall()
        return int(rows[0][0])

    def announced(self) -> list[str]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(
                "select coalesce(whole_body, body) from webhook_events where event_type = 'files_expired'"
            ).fetchall()
        return [one["file_id"] for (body,) in rows for one in json.loads(body)["data"]["files"]]

    async def _contents(self) -> dict[UUID, bytes]:
        async with Catalog.open(self.url) as catalog:
            custody = Custody(catalog=catalog, backend=open_backend(str(self.folder)), keys=_PLAIN)
            return {file_id: await custody.read(await custody.get(file_id)) for file_id in self.staying}

    def empty(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for table in ("artifacts", "retention_plans", "webhook_events"):
                connection.execute(f"truncate {table} cascade".encode())


def kill_at(store: Store, step: str) -> None:
    """Run an expiry that kills itself at *step*."""
    with sessions_end(store.url):
        process = store.start(step)
        process.communicate()
    assert process.returncode == -signal.SIGKILL, f"it did not come to {step}"


def kill_after(store: Store, seconds: float) -> None:
    with sessions_end(store.url):
        process = store.start()
        time.sleep(seconds)
        process.kill()
        process.communicate()


def long_form(url: str, folder: Path, files: int, kills: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    store = Store(url, folder / "whole", going=files, staying=files // 10)
    begun = time.monotonic()
    store.finish()
    whole = time.monotonic() - begun
    store.check()
    print(f"seed {seed}; {files} files are removed in {whole:.2f} s, with the start of the process")
    left: list[int] = []
    random_moments = [chance.uniform(0, whole) for _ in range(kills)]
    moments: list[tuple[str, Callable[[Store], None]]] = [
        *((step, lambda store, step=step: kill_at(store, step)) for step in STEPS),
        *((f"{at:.3f} s", lambda store, at=at: kill_after(store, at)) for at in random_moments),
    ]
    for number, (name, kill) in enumerate(moments):
        store.empty()
        store = Store(url, folder / str(number), going=files, staying=files // 10)
        kill(store)
        states = store.states()
        left.append(states.get("deleting", 0))
        store.finish()
        store.check()
        print(f"killed at {name}: {states}, then whole", flush=True)
    some = sum(1 for count in left if count)
    print(f"{len(moments)} kills, {some} of them while files were deleted; every second run made it whole")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(asyncio.run(expire(*json.loads(arguments.child)))))
        return
    from blocks.settings import Settings
    from waybill.stack import running_stack

    with (
        tempfile.TemporaryDirectory(prefix="waybill-kill-expiry-") as folder,
        running_stack(Settings(home=Path(folder) / "home"), prefect=False) as addresses,
    ):
        long_form(addresses.database_url, Path(folder), arguments.files, arguments.kills)


if __name__ == "__main__":
    main()
