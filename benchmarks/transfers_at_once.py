"""Many transfers at once: whether all complete, how evenly, and what the gateway has left for others meanwhile.

A gateway in a process of its own, with Postgres, and workers enrolled at it. 200 transfers of 5 MB begin at the same
moment, half of them downloads by the workers, each confirmed with its hash, and half uploads by tus, encrypted for the
storage and verified. `/health` is asked twenty times a second. In turn with it the same clients fetch the same files
from nginx, and PUT them there: a noisy machine shows in both. Prints, for each direction and for all, how many
completed, median and 99th percentile of the time until then, and their ratio; also the rise of the gateway's peak
memory. Exit code 1 when a bar is missed.

    python -m benchmarks.transfers_at_once [--transfers 200] [--workers 20] [--mb 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from benchmarks.gateway_download import verdict
from benchmarks.load.busy_clients import Moved, Wanted, run_at_once
from benchmarks.load.health_asked import MAX_HEALTH_SECONDS, health_asked
from blocks.access import READ, WRITE, Actor, create_key
from blocks.age import X25519Identity, parse_recipient, seal
from blocks.catalog import Catalog, Draft
from blocks.catalog.migrate import migrate
from blocks.custody import Custody
from blocks.keys import load_storage_keys
from blocks.settings import Settings
from blocks.storage import open_backend
from tests.gateway import gateway_process
from tests.nginx_server import running_nginx
from waybill.services.workers import enroll_worker, invite_worker
from waybill.stack import running_stack

MAX_RATIO = 3.0
MAX_RISE_MIB = 100
_OPERATOR = Actor(actor="cli:benchmark")
_WARM_UP = 20


@dataclass(frozen=True, kw_only=True)
class Place:
    """What is in custody before the transfers: *files* with their hashes, the names of *workers*, and a *key*."""

    files: list[tuple[str, str]]
    workers: list[str]
    key: str
    size: int
    sealed: Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--transfers", type=int, default=200)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--mb", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        folder = Path(name)
        (folder / "target").mkdir()
        settings = Settings(home=folder / "home")
        with running_stack(settings, prefect=False) as addresses:
            migrate(addresses.database_url)
            size = int(arguments.mb * 1e6)
            place = asyncio.run(prepared(settings, addresses.database_url, folder, size, arguments.workers))
            with (
                gateway_process(settings.home, addresses.database_url) as gateway,
                running_nginx(folder, puts=True) as nginx,
            ):
                run_at_once(transfers(gateway.url, place, _WARM_UP))
                gateway.forget_peak()
                before = gateway.peak_mib()
                found: dict[str, list[list[Moved]]] = {"nginx": [], "gateway": []}
                health: list[float] = []
                for number in range(arguments.rounds):
                    found["nginx"].append(run_at_once(plain(nginx, place, arguments.transfers)))
                    for written in (folder / "target").iterdir():
                        written.unlink()
                    wanted = transfers(gateway.url, place, arguments.transfers)
                    with health_asked(f"{gateway.url}/health") as took:
                        found["gateway"].append(run_at_once(wanted))
                    health += took
                    print(f"round {number}: {shown(found['gateway'][-1])}", file=sys.stderr)
                return report(found, health, gateway.peak_mib() - before)


async def prepared(settings: Settings, database_url: str, folder: Path, size: int, workers: int) -> Place:
    """Store a file for each worker, enrol the workers, and seal a file as a sender does."""
    content = os.urandom(size)
    async with Catalog.open(database_url) as catalog:
        keys = load_storage_keys(settings)
        custody = Custody(catalog=catalog, backend=open_backend(settings.resolved_storage_url), keys=keys)
        files: list[tuple[str, str]] = []
        names: list[str] = []
        for number in range(workers):
            draft = Draft(kind="upload", filename="part.bin", source_file="part.bin", document_sha256="d" * 64,
                          media_type="application/octet-stream", keep_for=timedelta(days=1))  # fmt: skip
            artifact = await custody.take(draft, content)
            files.append((str(artifact.file_id), hashlib.sha256(content).hexdigest()))
            async with catalog.transaction() as connection:
                code = await invite_worker(
                    connection, name=None, labels=["gpu"], lasts=timedelta(hours=1), by=_OPERATOR
                )
                recipient = X25519Identity.generate().recipient.text
                name, client = f"gpu-{number}", Actor(actor="anonymous", client="127.0.0.1")
                made = await enroll_worker(
                    connection, code.text, name=name, recipient=recipient, version="1", client=client
                )
                names.append(made.name)
        async with catalog.connection() as connection:
            key = await create_key(connection, name="benchmark", scopes=[READ, WRITE])
    assert keys.encrypted_for is not None
    sealed = folder / "sealed"
    sealed.write_bytes(b"".join(seal([content], [parse_recipient(keys.encrypted_for)])))
    return Place(files=files, workers=names, key=key.text, size=size, sealed=sealed)


def transfers(url: str, place: Place, count: int) -> list[Wanted]:
    """Prepare *count* transfers, downloads and uploads in turn, for one worker after the other."""
    wanted: list[Wanted] = []
    sealed_size = place.sealed.stat().st_size
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {place.key}"}, timeout=60) as client:
        for number in range(count):
            which = number // 2 % len(place.workers)
            file_id, sha256 = place.files[which]
            if is_download(number):
                given = {"direction": "download", "file_id": file_id, "worker": place.workers[which]}
            else:
                given = {"direction": "upload", "filename": "part.bin"}
            answer = client.post("/api/v1/transfers", json=given)
            assert answer.status_code == 201, answer.text
            made = answer.json()
            if is_download(number):
                report = {"sha256": sha256, "size": place.size}
                wanted.append(
                    Wanted(method="get", url=made["url"], token=made["token"], size=made["size"], report=report)
                )
            else:
                wanted.append(
                    Wanted(method="tus", url=made["url"], token=made["token"], size=sealed_size, path=str(place.sealed))
                )
    return wanted


def plain(url: str, place: Place, count: int) -> list[Wanted]:
    """The same bytes from and to nginx."""
    path, size = place.sealed, place.sealed.stat().st_size
    return [
        Wanted(method="get", url=f"{url}/{path.name}", size=size)
        if is_download(number)
        else Wanted(method="put", url=f"{url}/target/{number}", size=size, path=str(path))
        for number in range(count)
    ]


def is_download(number: int) -> bool:
    return number % 2 == 0


def shown(moved: list[Moved]) -> str:
    median, high = median_and_p99(moved)
    return f"median {median:.2f} s, p99 {high:.2f} s, refusals {sum(one.refusals for one in moved)}"


def median_and_p99(moved: list[Moved]) -> tuple[float, float]:
    seconds = [one.seconds for one in moved]
    return statistics.median(seconds), statistics.quantiles(seconds, n=100, method="inclusive")[98]


def report(found: dict[str, list[list[Moved]]], health: list[float], rise: float) -> int:
    held: list[bool] = []
    print(f"medians of {len(found['gateway'])} rounds      completed   median      p99   p99/median   refusals")
    for server, rounds in found.items():
        for kind, first, step in (("down", 0, 2), ("up", 1, 2), ("all", 0, 1)):
            each = [moved[first::step] for moved in rounds]
            median, high = [statistics.median(one) for one in zip(*map(median_and_p99, each), strict=True)]
            ratio = statistics.median(high / median for median, high in map(median_and_p99, each))
            failed = [one.error for moved in each for one in moved if one.error]
            count = sum(map(len, each))
            refusals = sum(one.refusals for moved in each for one in moved)
            verdicts = ""
            if server == "gateway":
                held += [not failed, ratio <= MAX_RATIO]
                verdicts = f"   bar {MAX_RATIO:g}: {verdict(all(held[-2:]))}"
            print(
                f"  {server:8} {kind:5}        {count - len(failed):6} of {count:<5} {median:6.2f} s {high:6.2f} s"
                f"   {ratio:6.2f}   {refusals:8}{verdicts}"
            )
            for error in failed[:3]:
                print(f"    {error}")
    held += [rise < MAX_RISE_MIB, max(health) < MAX_HEALTH_SECONDS]
    high = statistics.quantiles(health, n=100, method="inclusive")[98]
    print(f"  rise in the gateway's peak memory  {rise:6.1f} MiB   bar {MAX_RISE_MIB}: {verdict(held[-2])}")
    print(
        f"  /health, {len(health)} times: median {1000 * statistics.median(health):.1f} ms, p99 {1000 * high:.1f} ms, "
        f"slowest {1000 * max(health):.1f} ms   bar {1000 * MAX_HEALTH_SECONDS:g}: {verdict(held[-1])}"
    )
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
