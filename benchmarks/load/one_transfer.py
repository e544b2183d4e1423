"""One transfer of a large file, by curl or by our own client, and what it cost."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

RANGES = 4
Headers = tuple[str, ...]


@dataclass(frozen=True)
class Took:
    """Seconds of a transfer, and MiB by which the peak memory of our client rose."""

    seconds: float
    rise_mib: float = 0.0


def bearer(token: str) -> Headers:
    """Return the options of curl that send *token*."""
    return ("-H", f"Authorization: Bearer {token}")


def curl_down(url: str, size: int, *options: str, into: str = "/dev/null") -> Took:
    """Fetch *url*, *size* bytes, with curl."""
    began = time.perf_counter()
    command = ["curl", "-sSf", "-o", into, "-w", "%{size_download}", *options, url]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, str(size).encode()), done.stderr
    return Took(time.perf_counter() - began)


def curl_ranges(url: str, size: int, *options: str) -> Took:
    """Fetch *url* in `RANGES` ranges at once, each with a curl of its own."""
    edges = [size * number // RANGES for number in range(RANGES + 1)]
    began = time.perf_counter()
    with ThreadPoolExecutor(RANGES) as threads:
        parts = [
            threads.submit(curl_down, url, beyond - first, *options, "--range", f"{first}-{beyond - 1}")
            for first, beyond in pairwise(edges)
        ]
        for part in parts:
            part.result()
    return Took(time.perf_counter() - began)


def curl_up(url: str, path: Path, *options: str) -> Took:
    """Send *path* with one PUT of curl."""
    began = time.perf_counter()
    command = ["curl", "-sSf", "-o", "/dev/null", *options, "-T", str(path), url]
    subprocess.run(command, check=True)
    return Took(time.perf_counter() - began)


def client(**given: Any) -> Took:
    """Run our client in a process of its own, whose memory and time begin after its imports; see `run_client`."""
    command = [sys.executable, "-c", "from benchmarks.load.one_transfer import run_client; run_client()"]
    done = subprocess.run(command, check=True, input=json.dumps(given).encode(), stdout=subprocess.PIPE)
    return Took(**json.loads(done.stdout))


def run_client() -> None:
    """One download (*key* is an age identity) or upload (*key* is a recipient), in this process."""
    import httpx

    from blocks.age import X25519Identity, parse_recipient
    from blocks.hand_over import Declared, download, upload

    given = json.loads(sys.stdin.read())
    url, token, path, sha256 = given["url"], given["token"], Path(given["path"]), given["sha256"]

    async def run() -> None:
        if given["direction"] == "up":
            state, declared = Path(given["state"]), Declared(content_sha256=sha256)
            recipients = [parse_recipient(given["key"])]
            await upload(url, token, path, recipients=recipients, state=state, declared=declared)
            return
        async with httpx.AsyncClient(timeout=60) as control:
            identities, ranges = [X25519Identity.from_text(given["key"])], given["ranges"]
            await download(control, url, token, path, identities=identities, expected_sha256=sha256, ranges=ranges)

    Path("/proc/self/clear_refs").write_text("5")
    before, began = _peak_mib(), time.perf_counter()
    asyncio.run(run())
    took = time.perf_counter() - began
    print(json.dumps({"seconds": took, "rise_mib": _peak_mib() - before}))


def _peak_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not say what this process has had")
