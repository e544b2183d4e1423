"""How long a sweep of a large storage takes, and whether its memory stays flat.

Sweeps local storages of 1/10 of the files and of all of them, each file with blob, manifest and row and one in a
hundred without its row, in a process of its own; and walks the same folders with `os.walk` and `stat`, the least that
any comparison has to do. Prints seconds, the ratio of the two, and the rise in peak memory. Exit code 1 when it rises
by more than the bar.

    python -m benchmarks.sweep_storage [--files 100000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.expiry_storage import make_files
from blocks.catalog import Catalog
from blocks.catalog.migrate import migrate
from blocks.custody import Custody
from blocks.custody.sweep import sweep
from blocks.keys import StorageKeys
from blocks.settings import Settings
from blocks.storage import open_backend
from waybill.stack import running_stack

# Of the large storage over the small one.
MAX_RISE_MIB = 16
_ROWS = """
    insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, media_type, location, size,
                           sha256, stored_size, stored_sha256, expires_at)
    select right(path, 32)::uuid, 'available', 'upload', 'a', 'a', hash, 'text/plain', path, 200, hash, 200, hash,
           now() + interval '1 day'
      from unnest(%s::text[]) as path, decode(repeat('a', 64), 'hex') as hash
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the files are made; default: the temporary folder")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(asyncio.run(sweep_once(**json.loads(sys.stdin.read())))))
        return 0
    peaks: list[float] = []
    for files in (arguments.files // 10, arguments.files):
        with tempfile.TemporaryDirectory(prefix="waybill-bench-", dir=arguments.folder) as name:
            folder = Path(name)
            blobs = make_files(folder / "store", files)
            with running_stack(Settings(home=folder / "home"), prefect=False) as addresses:
                migrate(addresses.database_url)
                with psycopg.connect(addresses.database_url) as connection:
                    connection.execute(_ROWS, [[blob for number, blob in enumerate(blobs) if number % 100]])
                walked = walk(folder / "store")
                found = in_child(folder / "store", addresses.database_url)
        ratio = walked / found["seconds"]
        print(
            f"{files:,} files: sweep {found['seconds']:.2f} s, walk {walked:.2f} s, ratio {ratio:.2f}; "
            f"peak {found['peak_mib']:.0f} MiB; {found['waiting']:,} waiting"
        )
        peaks.append(found["peak_mib"])
    rise = peaks[1] - peaks[0]
    print(f"rise of the peak with ten times the files: {rise:.0f} MiB (bar {MAX_RISE_MIB})")
    return 0 if rise <= MAX_RISE_MIB else 1


def walk(root: Path) -> float:
    started = time.perf_counter()
    for folder, _, names in os.walk(root):
        for name in names:
            os.stat(f"{folder}/{name}")  # noqa: PTH116 -- the bare call is what is measured
    return time.perf_counter() - started


def in_child(store: Path, database_url: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sweep_storage", "--child"],
        input=json.dumps({"store": str(store), "database_url": database_url}),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def sweep_once(store: str, database_url: str) -> dict[str, Any]:
    async with Catalog.open(database_url) as catalog:
        custody = Custody(catalog=catalog, backend=open_backend(store), keys=StorageKeys(recipient=None))
        started = time.perf_counter()
        report = await sweep(custody)
        elapsed = time.perf_counter() - started
    assert report.stopped is None, report.stopped
    assert not report.removed.count and not report.missing.count, report.view()
    waiting = report.waiting.count + report.untouched.count
    return {"seconds": elapsed, "peak_mib": peak_mib(), "waiting": waiting}


def peak_mib() -> float:
    """The peak of this program alone: `ru_maxrss` would include that of the process which started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
