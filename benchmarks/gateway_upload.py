"""A large file into custody over HTTP: how fast, and what memory that takes.

One file (5 GB by default) is uploaded by curl as a form, with an API key, to a gateway in a process of its own: parsed,
hashed, encrypted, stored, synced to disk and catalogued. In turn with it, curl uploads the same file to Starlette's own
form parser on the same server with the same settings, which puts it into a temporary file and does none of the rest;
and `sha256sum`, `cp` and `cp` with a sync of the same file. Prints medians, ratios and the rise in the gateway's peak
memory. Exit code 1 when a bar is missed.

    python -m benchmarks.gateway_upload [--gb 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.custody_throughput import COPY_AND_SYNC, write_source
from benchmarks.gateway_download import verdict
from blocks.access import WRITE, create_key
from blocks.catalog import Catalog
from blocks.catalog.migrate import migrate
from blocks.settings import Settings
from tests.gateway import ServerProcess, bare_process, gateway_process
from waybill.stack import running_stack

# Of the slower of sha256sum and cp: the same share as for a file that is on this machine already.
MIN_RATIO = 0.8
MAX_RISE_MIB = 64
WARM_UP_BYTES = 10_000_000

Results = dict[str, list[float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gb", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        folder = Path(name)
        source = folder / "source.bin"
        write_source(source, int(arguments.gb * 1e9))
        settings = Settings(home=folder / "home")
        with running_stack(settings, prefect=False) as addresses:
            migrate(addresses.database_url)
            key = asyncio.run(made_key(addresses.database_url))
            with (
                gateway_process(settings.home, addresses.database_url) as gateway,
                bare_process(form_parser) as bare,
            ):
                return report(*measure(gateway, key, bare, source, arguments.rounds))


async def made_key(database_url: str) -> str:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        return (await create_key(connection, name="benchmark", scopes=[WRITE])).text


def form_parser(_: str) -> ASGIApp:
    """Starlette's own way to take a file in."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with Request(scope, receive).form() as form:
            size = getattr(form["file"], "size", None)
        await Response(json.dumps({"size": size}), status_code=201)(scope, receive, send)

    return app


def measure(gateway: ServerProcess, key: str, bare: ServerProcess, source: Path, rounds: int) -> tuple[Results, float]:
    """Bytes per second of each way, and the rise of the gateway's peak in MiB."""
    small, copy = source.with_name("small.bin"), source.with_name("copy")
    small.write_bytes(bytes(WARM_UP_BYTES))
    into_custody(gateway, key, small)
    uploaded(bare.url, small)
    gateway.forget_peak()
    before = gateway.peak_mib()
    ways: dict[str, Callable[[], float]] = {
        "sha256sum": lambda: timed("sha256sum", str(source)),
        "cp": lambda: timed("cp", str(source), str(copy)),
        "cp + sync": lambda: timed("sh", "-c", COPY_AND_SYNC, str(source), str(copy)),
        "form parser": lambda: uploaded(bare.url, source)[0],
        "into custody": lambda: into_custody(gateway, key, source),
    }
    found: Results = {name: [] for name in ways}
    for number in range(rounds):
        for name, seconds in ways.items():
            found[name].append(source.stat().st_size / seconds())
            copy.unlink(missing_ok=True)
            print(f"round {number} {name}: {found[name][-1] / 1e9:.3f} GB/s", file=sys.stderr)
    return found, gateway.peak_mib() - before


def timed(*command: str) -> float:
    """Seconds."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def uploaded(url: str, path: Path, *options: str) -> tuple[float, dict[str, Any]]:
    """Seconds that curl takes to upload *path*, and the answer."""
    began = time.perf_counter()
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", *options, "-F", f"file=@{path}", url], capture_output=True, check=False
    )
    seconds = time.perf_counter() - began
    body, _, status = done.stdout.rpartition(b"\n")
    assert (done.returncode, status) == (0, b"201"), (done.stdout, done.stderr)
    answer: dict[str, Any] = json.loads(body)
    assert answer["size"] == path.stat().st_size
    return seconds, answer


def into_custody(gateway: ServerProcess, key: str, path: Path) -> float:
    """Seconds. The file is deleted afterwards."""
    authorization = ("-H", f"Authorization: Bearer {key}")
    seconds, answer = uploaded(f"{gateway.url}/api/v1/files/upload", path, *authorization)
    url = f"{gateway.url}/api/v1/files/{answer['file_id']}"
    subprocess.run(["curl", "-sSf", "-X", "DELETE", *authorization, url], check=True, stdout=subprocess.DEVNULL)
    return seconds


def report(found: Results, rise: float) -> int:
    median = {name: statistics.median(speeds) for name, speeds in found.items()}
    print(f"medians of {len(found['into custody'])}:")
    for name, speed in median.items():
        print(f"  {name:28} {speed / 1e9:6.3f} GB/s   into custody is {median['into custody'] / speed:5.2f} of it")
    base = min(("sha256sum", "cp"), key=lambda name: median[name])
    ratio, held = median["into custody"] / median[base], rise < MAX_RISE_MIB
    print(f"  {f'ratio to {base}':28} {ratio:6.2f}        bar {MIN_RATIO}: {verdict(ratio >= MIN_RATIO)}")
    print(f"  {'rise in peak memory':28} {rise:6.1f} MiB    bar {MAX_RISE_MIB}: {verdict(held)}")
    return 0 if held and ratio >= MIN_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
