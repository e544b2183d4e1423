"""The stored bytes of a large file over HTTP: how fast next to nginx, and what that takes.

One file (5 GB by default) is served as it lies by the gateway's server, and by nginx with `sendfile`. curl downloads it
from both in turn, whole, and in four ranges at once. Meanwhile the gateway's `/health` is asked twenty times a second.
Prints medians, their ratios, the rise in the gateway's peak memory, and the slowest answer of `/health`; also how many
cores one download keeps busy, curl and gateway together, because ranges at once cannot be faster than the cores that
are left over allow. Exit code 1 when a bar is missed.

    python -m benchmarks.transfer_download [--size 5000000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.custody_throughput import write_source
from benchmarks.gateway_download import WARM_UP_BYTES, fetched, verdict
from tests.gateway import ServerProcess, bare_process
from tests.nginx_server import running_nginx
from waybill.gateway.http.conditional_requests import requested_range
from waybill.gateway.http.file_range_response import FileRangeResponse

MIN_RATIO = 0.8
MIN_PARALLEL_RATIO = 1.5
MAX_RISE_MIB = 64
MAX_HEALTH_SECONDS = 0.1
HEALTH_PAUSE_SECONDS = 0.05
RANGES = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=5_000_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        source = Path(name) / "payload"
        write_source(source, arguments.size)
        with bare_process(stored_bytes, str(source)) as gateway, running_nginx(source.parent) as nginx:
            urls = {"nginx": f"{nginx}/{source.name}", "gateway": f"{gateway.url}/{source.name}"}
            for url in urls.values():
                fetched(url, min(WARM_UP_BYTES, arguments.size), "--range", f"0-{WARM_UP_BYTES - 1}")
            gateway.forget_peak()
            before = gateway.peak_mib()
            cores: list[float] = []
            with health_asked(f"{gateway.url}/health") as health:
                speeds = measure(urls, arguments.size, arguments.rounds, gateway, cores)
            return report(speeds, gateway.peak_mib() - before, health, statistics.median(cores))


def stored_bytes(path: str) -> ASGIApp:
    """*path*, whole or a range of it, and `/health`."""
    source, size = Path(path), Path(path).stat().st_size

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/health":
            await PlainTextResponse("ok")(scope, receive, send)
            return
        wanted = [value.decode() for name, value in scope["headers"] if name == b"range"]
        part = requested_range(wanted, size)
        start, stop = (part.start, part.stop) if part else (0, size)
        headers = {"Content-Range": part.content_range(size)} if part else {}
        status = 206 if part else 200
        response = FileRangeResponse(source, offset=start, count=stop - start, status_code=status, headers=headers)
        await response(scope, receive, send)

    return app


def measure(
    urls: dict[str, str], size: int, rounds: int, gateway: ServerProcess, cores: list[float]
) -> dict[str, list[float]]:
    """Bytes per second of each download; into *cores*, how many of them the whole one from the gateway kept busy."""
    speeds: dict[str, list[float]] = {"nginx": [], "gateway": [], "nginx, ranges": [], "gateway, ranges": []}
    for number in range(rounds):
        for name, url in urls.items():
            began, busy = time.perf_counter(), cpu_seconds(gateway)
            speeds[name].append(fetched(url, size))
            if name == "gateway":
                cores.append((cpu_seconds(gateway) - busy) / (time.perf_counter() - began))
            speeds[f"{name}, ranges"].append(in_ranges(url, size))
        print(f"round {number} " + ", ".join(f"{n}: {v[-1] / 1e9:.3f}" for n, v in speeds.items()), file=sys.stderr)
    return speeds


def cpu_seconds(gateway: ServerProcess) -> float:
    """What *gateway*, and the children of this process that have ended, have used of processors."""
    fields = Path(f"/proc/{gateway.pid}/stat").read_text().rpartition(")")[2].split()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + ended.ru_utime + ended.ru_stime


def in_ranges(url: str, size: int) -> float:
    """Bytes per second of one download in ranges at once."""
    edges = [size * number // RANGES for number in range(RANGES + 1)]
    began = time.perf_counter()
    with ThreadPoolExecutor(RANGES) as threads:
        parts = [
            threads.submit(fetched, url, beyond - first, "--range", f"{first}-{beyond - 1}")
            for first, beyond in pairwise(edges)
        ]
        for part in parts:
            part.result()
    return size / (time.perf_counter() - began)


@contextmanager
def health_asked(url: str) -> Generator[list[float]]:
    """Ask *url* again and again during the block; the seconds that each answer took."""
    took: list[float] = []
    ending = threading.Event()

    def ask() -> None:
        with httpx.Client() as client:
            client.get(url)
            while not ending.wait(HEALTH_PAUSE_SECONDS):
                began = time.perf_counter()
                client.get(url).raise_for_status()
                took.append(time.perf_counter() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        ending.set()
        asking.join()


def report(speeds: dict[str, list[float]], rise: float, health: list[float], cores: float) -> int:
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    ratio, parallel = medians["gateway"] / medians["nginx"], medians["gateway, ranges"] / medians["gateway"]
    print(f"medians of {len(speeds['gateway'])}:")
    for name, speed in medians.items():
        print(f"  {name:37} {speed / 1e9:6.3f} GB/s")
    room = len(os.sched_getaffinity(0)) / cores
    is_parallel = parallel >= MIN_PARALLEL_RATIO or room < MIN_PARALLEL_RATIO
    held = [ratio >= MIN_RATIO, rise < MAX_RISE_MIB, max(health, default=0.0) < MAX_HEALTH_SECONDS, is_parallel]
    print(f"  gateway to nginx                      {ratio:6.2f}        bar {MIN_RATIO}: {verdict(held[0])}")
    print(f"  {RANGES} ranges at once to one              {parallel:6.2f}        {parallel_verdict(parallel, room)}")
    print(f"  cores that one keeps busy             {cores:6.2f}        of {len(os.sched_getaffinity(0))}")
    print(f"  nginx, {RANGES} ranges at once to one       {medians['nginx, ranges'] / medians['nginx']:6.2f}")
    print(f"  rise in peak memory                   {rise:6.1f} MiB    bar {MAX_RISE_MIB}: {verdict(held[1])}")
    slowest = 1000 * max(health, default=0.0)
    print(f"  slowest of {len(health):5} /health              {slowest:6.1f} ms     bar 100: {verdict(held[2])}")
    return 0 if all(held) else 1


def parallel_verdict(parallel: float, room: float) -> str:
    if parallel < MIN_PARALLEL_RATIO and room < MIN_PARALLEL_RATIO:
        return f"bar {MIN_PARALLEL_RATIO}: cores allow {room:.2f}"
    return f"bar {MIN_PARALLEL_RATIO}: {verdict(parallel >= MIN_PARALLEL_RATIO)}"


if __name__ == "__main__":
    sys.exit(main())
