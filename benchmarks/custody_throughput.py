"""How fast a large file goes into custody and out again, and what memory that takes.

One file (5 GB by default) through `Custody.take` and `Custody.fetch`, stored as it is and encrypted, each way in a
process of its own, in turn with what a person would use instead: `sha256sum` and `cp` of the same file, the `age`
command both ways, and Fernet in 8 KiB chunks as one line each, both ways (on a part of the file, since it is slow).
Prints medians, the ratios to the slower of `sha256sum` and `cp`, to `age` and to Fernet (its bar is for the way in and
out together: custody hashes twice on the way in, Fernet's recipe never does), and the rise in peak memory.
`cp` does not wait for the disk, and custody does; `cp + sync` is shown beside it. Exit code 1 when a bar is missed.

    python -m benchmarks.custody_throughput [--gigabytes 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography.fernet import Fernet

from blocks.age import X25519Identity
from blocks.catalog import Catalog, Draft
from blocks.catalog.migrate import migrate
from blocks.custody import Custody
from blocks.keys import StorageKeys
from blocks.settings import Settings
from blocks.storage import CHUNK_BYTES, open_backend
from waybill.stack import running_stack

# Shares of the speed of the slower of sha256sum and cp.
MIN_PLAIN_RATIO, MIN_ENCRYPTED_RATIO = 0.9, 0.8
MIN_FERNET_RATIO = 4.0
MAX_RISE_MIB = 64
COPY_AND_SYNC = 'cp "$0" "$1" && sync "$1"'
FERNET_CHUNK_BYTES = 8 * 1024
FERNET_PART_BYTES = 256 * 1024 * 1024

Results = dict[str, list[float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(asyncio.run(in_and_out(**json.loads(sys.stdin.read())))))
        return 0
    size = int(arguments.gigabytes * 1e9)
    with tempfile.TemporaryDirectory(prefix="waybill-bench-", dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        source = folder / "source"
        write_source(source, size)
        with running_stack(Settings(home=folder / "home"), prefect=False) as addresses:
            migrate(addresses.database_url)
            speeds, rises = measure(folder, source, addresses.database_url, arguments.rounds)
    return report(speeds, rises, size)


def write_source(path: Path, size: int) -> None:
    """Bytes that nothing can compress or skip."""
    with path.open("wb") as stream:
        while size > 0:
            piece = os.urandom(min(CHUNK_BYTES, size))
            stream.write(piece)
            size -= len(piece)
        stream.flush()
        os.fsync(stream.fileno())


def measure(folder: Path, source: Path, database_url: str, rounds: int) -> tuple[Results, Results]:
    """Bytes per second of each way, and the rise of each custody process in MiB."""
    speeds: Results = {}
    rises: Results = {}
    identity = X25519Identity.generate()
    key_file = folder / "key.txt"
    key_file.write_text(identity.text + "\n")
    target, sealed, key = folder / "target", folder / "sealed", Fernet.generate_key()
    commands: dict[str, tuple[Callable[[], int], tuple[Path, ...]]] = {
        "sha256sum": (lambda: run(source, "sha256sum", str(source)), ()),
        "cp": (lambda: run(source, "cp", str(source), str(target)), (target,)),
        "cp + sync": (lambda: run(source, "sh", "-c", COPY_AND_SYNC, str(source), str(target)), (target,)),
        "Fernet, encrypt": (lambda: fernet_encrypt(key, source, sealed), ()),
        "Fernet, decrypt": (lambda: fernet_decrypt(key, sealed, target), (target, sealed)),
    }
    if shutil.which("age"):
        recipient = identity.recipient.text
        commands["age, encrypt"] = (
            lambda: run(source, "age", "-r", recipient, "-o", str(sealed), str(source)),
            (),
        )
        commands["age, decrypt"] = (
            lambda: run(source, "age", "-d", "-i", str(key_file), "-o", str(target), str(sealed)),
            (target, sealed),
        )
    for number in range(rounds):
        for name, (act, made) in commands.items():
            note(speeds, name, number, timed(act))
            for path in made:
                path.unlink(missing_ok=True)
        for way, text in (("plain", None), ("encrypted", identity.text)):
            outcome = in_child(folder, source, database_url, text)
            note(speeds, f"store, {way}", number, outcome["store"])
            note(speeds, f"load, {way}", number, outcome["load"])
            rises.setdefault(way, []).append(outcome["rise_mib"])
    return speeds, rises


def note(speeds: Results, name: str, number: int, speed: float) -> None:
    speeds.setdefault(name, []).append(speed)
    print(f"round {number} {name}: {speed / 1e9:.3f} GB/s", file=sys.stderr)


def timed(act: Callable[[], int]) -> float:
    """Bytes per second; *act* returns how many it worked on."""
    started = time.perf_counter()
    size = act()
    return size / (time.perf_counter() - started)


def run(source: Path, *command: str) -> int:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return source.stat().st_size


def fernet_encrypt(key: bytes, source: Path, target: Path) -> int:
    """The usual recipe: each chunk becomes a token, one a line."""
    cipher, done = Fernet(key), 0
    with source.open("rb") as plain, target.open("wb") as tokens:
        while done < FERNET_PART_BYTES and (chunk := plain.read(FERNET_CHUNK_BYTES)):
            tokens.write(cipher.encrypt(chunk) + b"\n")
            done += len(chunk)
    return done


def fernet_decrypt(key: bytes, source: Path, target: Path) -> int:
    cipher, done = Fernet(key), 0
    with source.open("rb") as tokens, target.open("wb") as plain:
        for token in tokens:
            done += plain.write(cipher.decrypt(token))
    return done


def in_child(folder: Path, source: Path, database_url: str, identity: str | None) -> dict[str, float]:
    given = {"database_url": database_url, "folder": str(folder), "source": str(source), "identity": identity}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.custody_throughput", "--child"],
        input=json.dumps(given), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome: dict[str, float] = json.loads(done.stdout)
    return outcome


async def in_and_out(database_url: str, folder: str, source: str, identity: str | None) -> dict[str, float]:
    """One file in and out, in this process; speeds in bytes per second and how far the peak of memory rose."""
    store, target, path = Path(folder) / "store", Path(folder) / "loaded", Path(source)
    one = X25519Identity.from_text(identity) if identity else None
    keys = StorageKeys(recipient=one.recipient if one else None, identities=(one,) if one else ())
    draft = Draft(kind="upload", filename="x", source_file="x", document_sha256="d" * 64, media_type="x/y",
                  keep_for=timedelta(days=1))  # fmt: skip
    size = path.stat().st_size  # noqa: ASYNC240 - nothing else runs on this loop
    async with Catalog.open(database_url) as catalog:
        custody = Custody(catalog=catalog, backend=open_backend(str(store)), keys=keys)
        small = await custody.take(draft, b"what is imported on first use has been imported")
        await custody.read(small)
        before = peak_mib()
        started = time.perf_counter()
        artifact = await custody.take(draft, path)
        stored = time.perf_counter()
        await custody.fetch(artifact, target)
        loaded = time.perf_counter()
        rise = peak_mib() - before
        assert target.stat().st_size == size
        await custody.remove(artifact.file_id)
    target.unlink()
    return {"store": size / (stored - started), "load": size / (loaded - stored), "rise_mib": rise}


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def report(speeds: Results, rises: Results, size: int) -> int:
    median = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"{size / 1e9:.1f} GB, medians of {len(speeds['cp'])}:")
    for name, speed in median.items():
        print(f"  {name:20} {speed / 1e9:7.3f} GB/s")
    base = min(("sha256sum", "cp"), key=lambda name: median[name])
    good = True
    for way, least in (("plain", MIN_PLAIN_RATIO), ("encrypted", MIN_ENCRYPTED_RATIO)):
        for direction in ("store", "load"):
            good &= told(f"{direction}, {way}, to {base}", median[f"{direction}, {way}"] / median[base], least)
    ways = (("store", "encrypt"), ("load", "decrypt"))
    for direction, other in ways:
        for program in ("Fernet", "age"):
            if f"{program}, {other}" in median:
                ratio = median[f"{direction}, encrypted"] / median[f"{program}, {other}"]
                print(f"  {f'{direction}, encrypted, to {program}':36} {ratio:6.2f}")
    ours, fernets = (
        sum(1 / median[name] for name in names)
        for names in ([f"{direction}, encrypted" for direction, _ in ways], [f"Fernet, {other}" for _, other in ways])
    )
    good &= told("in and out, encrypted, to Fernet", fernets / ours, MIN_FERNET_RATIO)
    for way, values in rises.items():
        rise = max(values)
        good &= rise < MAX_RISE_MIB
        verdict = "held" if rise < MAX_RISE_MIB else "MISSED"
        print(f"  {f'rise in peak memory, {way}':36} {rise:6.1f} MiB   bar {MAX_RISE_MIB}: {verdict}")
    return 0 if good else 1


def told(what: str, ratio: float, least: float) -> bool:
    """Print a ratio and its bar; whether it was held."""
    held = ratio >= least
    print(f"  {what:36} {ratio:6.2f}   bar {least}: {'held' if held else 'MISSED'}")
    return held


if __name__ == "__main__":
    sys.exit(main())
