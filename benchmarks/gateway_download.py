"""A large file out of custody over HTTP: how fast, and what memory that takes.

One file (5 GB by default) is stored encrypted and downloaded by curl from a gateway in a process of its own, by a
signed link: decrypted, authenticated and compared with its checksum on the way. In turn with it, curl downloads the
same file, as it is, through Starlette's `FileResponse` on the same server with the same settings, which does none of
that. Prints medians, their ratio and the rise in the gateway's peak memory. Exit code 1 when a bar is missed.

    python -m benchmarks.gateway_download [--gb 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from starlette.responses import FileResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.custody_throughput import write_source
from blocks.catalog import Artifact, Catalog, Draft
from blocks.catalog.migrate import migrate
from blocks.custody import Custody
from blocks.keys import load_storage_keys
from blocks.links import Links
from blocks.settings import Settings
from blocks.storage import open_backend
from tests.gateway import ServerProcess, bare_process, gateway_process
from waybill.stack import running_stack

MIN_RATIO = 0.9
MAX_RISE_MIB = 64
WARM_UP_BYTES = 10_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gb", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        folder = Path(name)
        source = folder / "source"
        write_source(source, int(arguments.gb * 1e9))
        settings = Settings(home=folder / "home")
        with running_stack(settings, prefect=False) as addresses:
            migrate(addresses.database_url)
            artifact = asyncio.run(stored(settings, addresses.database_url, source))
            with (
                gateway_process(settings.home, addresses.database_url) as gateway,
                bare_process(plain_file, str(source)) as bare,
            ):
                link = Links.of(replace(settings, public_url=gateway.url))
                url = link.to_download(artifact, timedelta(hours=1)).url
                return report(*measure(gateway, url, bare, artifact, arguments.rounds))


async def stored(settings: Settings, database_url: str, source: Path) -> Artifact:
    """The file in custody, encrypted for the key of the home."""
    draft = Draft(kind="upload", filename="large.bin", source_file="large.bin", document_sha256="d" * 64,
                  media_type="application/octet-stream", keep_for=timedelta(days=1))  # fmt: skip
    async with Catalog.open(database_url) as catalog:
        backend = open_backend(settings.resolved_storage_url)
        artifact = await Custody(catalog=catalog, backend=backend, keys=load_storage_keys(settings)).take(draft, source)
    assert artifact.encrypted_for is not None
    return artifact


def plain_file(path: str) -> ASGIApp:
    """Starlette's own way to send *path*."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await FileResponse(path)(scope, receive, send)

    return app


def measure(
    gateway: ServerProcess, url: str, bare: ServerProcess, artifact: Artifact, rounds: int
) -> tuple[list[float], list[float], float]:
    """Bytes per second of each download, custody's and the plain file's, and the rise of the gateway's peak in MiB."""
    for address in (url, bare.url):
        fetched(address, WARM_UP_BYTES, "--range", f"0-{WARM_UP_BYTES - 1}")
    gateway.forget_peak()
    before = gateway.peak_mib()
    ours: list[float] = []
    plain: list[float] = []
    for number in range(rounds):
        for name, speeds, address in (("plain file", plain, bare.url), ("custody", ours, url)):
            speeds.append(fetched(address, artifact.size))
            print(f"round {number} {name}: {speeds[-1] / 1e9:.3f} GB/s", file=sys.stderr)
    return ours, plain, gateway.peak_mib() - before


def fetched(url: str, size: int, *options: str) -> float:
    """Bytes per second of one download by curl."""
    began = time.perf_counter()
    done = subprocess.run(
        ["curl", "-sSf", "-o", "/dev/null", "-w", "%{size_download}", *options, url], capture_output=True, check=False
    )
    seconds = time.perf_counter() - began
    assert (done.returncode, done.stdout) == (0, str(size).encode()), done.stderr
    return size / seconds


def report(ours: list[float], plain: list[float], rise: float) -> int:
    ratio = statistics.median(ours) / statistics.median(plain)
    print(f"medians of {len(ours)}:")
    print(f"  out of custody, decrypted and checked {statistics.median(ours) / 1e9:6.3f} GB/s")
    print(f"  the plain file, by FileResponse       {statistics.median(plain) / 1e9:6.3f} GB/s")
    print(f"  ratio                                 {ratio:6.2f}        bar {MIN_RATIO}: {verdict(ratio >= MIN_RATIO)}")
    held = rise < MAX_RISE_MIB
    print(f"  rise in peak memory                   {rise:6.1f} MiB    bar {MAX_RISE_MIB}: {verdict(held)}")
    return 0 if held and ratio >= MIN_RATIO else 1


def verdict(held: bool) -> str:
    return "held" if held else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
