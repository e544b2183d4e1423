"""Hand-overs of a large file, the whole path: how fast next to nginx, and what that takes on both sides.

One file (5 GB by default) in custody, encrypted. A gateway in a process of its own hands it over, and nginx serves the
same bytes with `sendfile`: to curl, which drops them, whole and by four ranges at once; to curl, which keeps them; and
from the gateway to our client, which decrypts, compares the hash and keeps the content. Up, curl puts the encrypted
file to nginx and to the gateway, which also verifies it and syncs it to the same disk (so there is a row for nginx
with a sync after it); our client encrypts the plain file on its way. Meanwhile `/health` is asked twenty times a
second. Prints medians of all, their ratios, the rises in peak memory, the processors kept busy, how long it took to
prepare a hand-over, and the slowest `/health`. Exit code 1 when a bar is missed.

    python -m benchmarks.transfers [--gb 5] [--rounds 3] [--folder /tmp] [--only up]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.custody_throughput import write_source
from benchmarks.gateway_download import stored, verdict
from benchmarks.load.health_asked import MAX_HEALTH_SECONDS, health_asked
from benchmarks.load.one_transfer import Took, bearer, client, curl_down, curl_ranges, curl_up
from benchmarks.transfer_prepare import MAX_MEDIAN_SECONDS, prepared
from blocks.access import READ, WRITE, create_key
from blocks.age import X25519Identity, parse_recipient, seal
from blocks.catalog import Catalog
from blocks.catalog.migrate import migrate
from blocks.settings import Settings
from tests.gateway import ServerProcess, gateway_process
from tests.nginx_server import running_nginx
from waybill.stack import running_stack

MIN_RATIO = 0.8
MIN_PARALLEL_RATIO = 1.5
MAX_RISE_MIB = 64
PREPARED_TIMES = 20
_PIECE_BYTES = 1 << 20
# Imports, connections and keys of the gateway.
_WARM_UP_BYTES = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Place:
    """The gateway and its file, and the same bytes in *folder*, which nginx serves."""

    gateway: ServerProcess
    nginx: str
    folder: Path
    api: httpx.Client
    file_id: str
    sha256: str
    recipient: str
    identity: X25519Identity = field(default_factory=X25519Identity.generate)

    @property
    def target(self) -> Path:
        return self.folder / "target"

    @property
    def sealed(self) -> Path:
        return self.folder / "sealed"

    def download(self) -> dict[str, Any]:
        """A new hand-over."""
        recipient = self.identity.recipient.text
        return self._prepared({"direction": "download", "file_id": self.file_id, "recipient": recipient})

    def upload(self) -> dict[str, Any]:
        """A new upload."""
        return self._prepared({"direction": "upload", "filename": "large.bin"})

    def _prepared(self, wanted: dict[str, Any]) -> dict[str, Any]:
        answer = self.api.post("/api/v1/transfers", json=wanted)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def remove(self, made: dict[str, Any]) -> None:
        """Delete the file that an upload has become."""
        status = self.api.get(f"/api/v1/transfers/{made['transfer_id']}/status").json()
        assert status["state"] == "completed", status
        assert self.api.delete(f"/api/v1/files/{status['file_id']}").is_success


@dataclass
class Measured:
    """Runs of one kind: each with its seconds, and the processors that curl or client and the gateway kept busy."""

    took: list[Took] = field(default_factory=list[Took])
    cores: list[float] = field(default_factory=list[float])

    @property
    def seconds(self) -> float:
        return statistics.median(one.seconds for one in self.took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gb", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--only", choices=["down", "up"], default=None)
    arguments = parser.parse_args()
    size = int(arguments.gb * 1e9)
    with tempfile.TemporaryDirectory(prefix="waybill-bench-", dir=arguments.folder) as name:
        folder = Path(name)
        (folder / "target").mkdir()
        write_source(folder / "plain", size)
        settings = Settings(home=folder / "home")
        with running_stack(settings, prefect=False) as addresses:
            migrate(addresses.database_url)
            artifact = asyncio.run(stored(settings, addresses.database_url, folder / "plain"))
            assert artifact.encrypted_for is not None
            write_sealed(folder, artifact.encrypted_for)
            key = asyncio.run(made_key(addresses.database_url))
            with (
                gateway_process(settings.home, addresses.database_url) as gateway,
                running_nginx(folder, puts=True) as nginx,
                httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as api,
            ):
                place = Place(
                    gateway=gateway,
                    nginx=nginx,
                    folder=folder,
                    api=api,
                    file_id=str(artifact.file_id),
                    sha256=artifact.sha256,
                    recipient=artifact.encrypted_for,
                )
                os.sync()  # the disk is still writing the files, and the catalogue would wait for it
                preparing = prepared(gateway.url, key, place.file_id, PREPARED_TIMES)
                runs = {name: run for name, run in ways(place).items() if arguments.only in {None, name.split()[0]}}
                warm_up(place)
                gateway.forget_peak()
                before = gateway.peak_mib()
                with health_asked(f"{gateway.url}/health") as health:
                    found = measure(runs, arguments.rounds, place)
                return report(found, size, gateway.peak_mib() - before, health, preparing)


async def made_key(database_url: str) -> str:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        return (await create_key(connection, name="benchmark", scopes=[READ, WRITE])).text


def write_sealed(folder: Path, recipient: str) -> None:
    """Encrypt the plain file for the storage, as a sender does."""
    with (folder / "plain").open("rb") as plain, (folder / "sealed").open("wb") as into:
        for piece in seal(iter(lambda: plain.read(_PIECE_BYTES), b""), [parse_recipient(recipient)]):
            into.write(piece)


def warm_up(place: Place) -> None:
    made = place.download()
    beginning = min(_WARM_UP_BYTES, made["size"])
    curl_down(made["url"], beginning, *bearer(made["token"]), "--range", f"0-{beginning - 1}")
    small, made = place.folder / "small", place.upload()
    small.write_bytes(b"".join(seal([bytes(_WARM_UP_BYTES)], [parse_recipient(place.recipient)])))
    curl_up(made["url"], small, *bearer(made["token"]))
    place.remove(made)


def ways(place: Place) -> dict[str, Callable[[], Took]]:
    """Every way that is measured, by its name in the table."""
    nginx_url, size, target = f"{place.nginx}/sealed", place.sealed.stat().st_size, place.target

    def from_gateway(fetch: Callable[..., Took]) -> Took:
        made = place.download()
        return fetch(made["url"], made["size"], *bearer(made["token"]))

    def to_gateway() -> Took:
        made = place.upload()
        took = curl_up(made["url"], place.sealed, *bearer(made["token"]))
        place.remove(made)
        return took

    def by_client(direction: str, ranges: int = 1) -> Took:
        made = place.download() if direction == "down" else place.upload()
        path, key = (target / "got", place.identity.text) if direction == "down" else (place.folder / "plain", None)
        took = client(
            direction=direction,
            url=made["url"],
            token=made["token"],
            path=str(path),
            key=key or place.recipient,
            sha256=place.sha256,
            ranges=ranges,
            state=str(place.folder / "state"),
        )
        if direction == "up":
            place.remove(made)
        return took

    def to_nginx_and_disk() -> Took:
        took, began = curl_up(f"{place.nginx}/target/put", place.sealed), time.perf_counter()
        subprocess.run(["sync", str(target / "put")], check=True)
        return Took(took.seconds + time.perf_counter() - began)

    return {
        "down nginx to curl": lambda: curl_down(nginx_url, size),
        "down gateway to curl": lambda: from_gateway(curl_down),
        "down nginx to curl, 4 ranges": lambda: curl_ranges(nginx_url, size),
        "down gateway to curl, 4 ranges": lambda: from_gateway(curl_ranges),
        "down nginx to curl, kept": lambda: curl_down(nginx_url, size, into=str(target / "got")),
        "down gateway to client": lambda: by_client("down"),
        "down gateway to client, 4 ranges": lambda: by_client("down", ranges=4),
        "up curl to nginx": lambda: curl_up(f"{place.nginx}/target/put", place.sealed),
        "up curl to nginx, synced": to_nginx_and_disk,
        "up curl to gateway": to_gateway,
        "up client to gateway": lambda: by_client("up"),
    }


def measure(runs: dict[str, Callable[[], Took]], rounds: int, place: Place) -> dict[str, Measured]:
    """Run every way in turn."""
    found = {name: Measured() for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            os.sync()  # what the way before has left for the disk is not this one's
            busy, began = processor_seconds(place.gateway), time.perf_counter()
            found[name].took.append(run())
            found[name].cores.append((processor_seconds(place.gateway) - busy) / (time.perf_counter() - began))
            for written in place.target.iterdir():
                written.unlink()
            print(f"round {number} {name}: {found[name].took[-1].seconds:.2f} s", file=sys.stderr)
    return found


def processor_seconds(gateway: ServerProcess) -> float:
    """What the gateway, and the children of this process that have ended, have used of processors."""
    fields = Path(f"/proc/{gateway.pid}/stat").read_text().rpartition(")")[2].split()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + ended.ru_utime + ended.ru_stime


def report(
    found: dict[str, Measured], size: int, gateway_rise: float, health: list[float], preparing: list[float]
) -> int:
    available, held = len(os.sched_getaffinity(0)), list[bool]()
    print(f"medians of {len(next(iter(found.values())).took)}, {size / 1e9:g} GB, {available} cores:")
    for name, one in found.items():
        cores = statistics.median(one.cores)
        print(f"  {name:34} {size / 1e9 / one.seconds:6.3f} GB/s   {one.seconds:6.2f} s, {cores:.2f} cores busy")

    def show(text: str, value: str, bar: str, is_held: bool) -> None:
        held.append(is_held)
        print(f"  {text:48} {value:>10}   bar {bar}: {verdict(is_held)}")

    for name, base in (
        ("down gateway to curl", "down nginx to curl"),
        ("down gateway to client", "down nginx to curl, kept"),
        ("up curl to gateway", "up curl to nginx"),
        ("up client to gateway", "up curl to nginx"),
    ):
        if name in found:
            ratio = found[base].seconds / found[name].seconds
            show(f"{name}, ratio to nginx", f"{ratio:.2f}", f"{MIN_RATIO}", ratio >= MIN_RATIO)
    for name in ("down gateway to curl", "down gateway to client"):
        if name in found:
            parallel = found[name].seconds / found[f"{name}, 4 ranges"].seconds
            room = available / statistics.median(found[name].cores)
            is_held = parallel >= MIN_PARALLEL_RATIO or room < MIN_PARALLEL_RATIO
            show(f"{name}, 4 ranges to one (cores allow {room:.2f})", f"{parallel:.2f}", "1.5", is_held)
    client_rise = max((one.rise_mib for each in found.values() for one in each.took), default=0.0)
    show("rise in the gateway's peak memory", f"{gateway_rise:.1f} MiB", f"{MAX_RISE_MIB}", gateway_rise < MAX_RISE_MIB)
    show("rise in our client's peak memory", f"{client_rise:.1f} MiB", f"{MAX_RISE_MIB}", client_rise < MAX_RISE_MIB)
    median = statistics.median(preparing)
    show("preparing a hand-over, median", f"{1000 * median:.1f} ms", "20", median < MAX_MEDIAN_SECONDS)
    show(f"slowest of {len(health)} /health", f"{1000 * max(health):.1f} ms", "100", max(health) < MAX_HEALTH_SECONDS)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
